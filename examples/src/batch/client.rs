//! The HTTP client, without aplomb.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls::crypto::ring::default_provider;

/// A client with a connection pool, for HTTP/1.1 with or without TLS.
pub(crate) type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The time limit for a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes a client. One that is `encrypted` trusts the roots of the system.
pub(crate) fn http(encrypted: bool) -> io::Result<Http> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let tls = HttpsConnectorBuilder::new().with_tls_config(tls(encrypted)?);
    let connector = tls.https_or_http().enable_http1().wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector))
}

/// Trusts the `native` roots of the system, or Mozilla's if there are none.
fn tls(native: bool) -> io::Result<ClientConfig> {
    let builder = || {
        // Named explicitly: rustls cannot choose if two providers are compiled in.
        let builder = ClientConfig::builder_with_provider(default_provider().into());
        builder.with_safe_default_protocol_versions().map_err(io::Error::other)
    };
    // Reading the roots of the system takes a while, and plain HTTP needs none.
    let config = if native {
        builder()?.with_native_roots().ok()
    } else {
        None
    };
    let config = match config {
        Some(config) => config,
        None => builder()?.with_webpki_roots(),
    };
    Ok(config.with_no_client_auth())
}
