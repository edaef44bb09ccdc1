//! The HTTP client, without any aplomb.

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

/// A pooling client for HTTP/1.1, with or without TLS.
pub(crate) type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Whoever does not answer a handshake in this time will not answer at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes a client; one that is `encrypted` reads the certificates it trusts.
pub(crate) fn http(encrypted: bool) -> io::Result<Http> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let tls = HttpsConnectorBuilder::new().with_tls_config(tls(encrypted)?);
    let connector = tls.https_or_http().enable_http1().wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector))
}

/// Trusts the roots of the system, or those of Mozilla where it has none.
fn tls(native: bool) -> io::Result<ClientConfig> {
    let builder = || {
        // Named rather than found: with two providers compiled in, rustls would not know which to take.
        let builder = ClientConfig::builder_with_provider(default_provider().into());
        builder.with_safe_default_protocol_versions().map_err(io::Error::other)
    };
    // Reading those of the system takes a while: not where none will be needed.
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
