//! Calls over TLS, on loopback, with a certificate that only a test trusts.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::future::pending;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aplomb_examples::batch::{Args, Exit, Stdio, run};
use aplomb_mock::Mock;
use clap::Parser;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

#[allow(dead_code, reason = "its `main` is not called")]
#[path = "../quickstart.rs"]
mod quickstart;

/// For `localhost` and 127.0.0.1, signed by itself, until 2100. The key is used nowhere else.
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBYjCCAQigAwIBAgIBATAKBggqhkjOPQQDAjATMREwDwYDVQQDDAhsb29wYmFj
azAgFw0wMDAxMDEwMDAwMDBaGA8yMDk5MTIzMTIzNTk1OVowEzERMA8GA1UEAwwI
bG9vcGJhY2swWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARi0/HOweSGX5NZ/r9k
RBJfAEJbsuurGqGav3CdQ+gA2U18jDSooCyrsixTSuDb5V7yr/pEE5d75pDWC+BD
nDmoo0swSTAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwDAYDVR0TAQH/BAIw
ADAdBgNVHQ4EFgQUeDZp+xt9SaRsIsSE8o7OUmEqusAwCgYIKoZIzj0EAwIDSAAw
RQIhAOggXkIUbIPGFDeIrSOCl/E7cqM2dQ7qicysfeG/xbo6AiAWmob0vHkEqTup
lGH60wBjBIuiFiUxRJfKCKkUVMJYhw==
-----END CERTIFICATE-----
";
const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgWUY2/yp1iuf5QMNs
mUCeLlMSV/UtgL2fJ8sS2m4KUj2hRANCAARi0/HOweSGX5NZ/r9kRBJfAEJbsuur
GqGav3CdQ+gA2U18jDSooCyrsixTSuDb5V7yr/pEE5d75pDWC+BDnDmo
-----END PRIVATE KEY-----
";

/// Serves a mock over TLS; returns where.
async fn serve() -> (Mock, SocketAddr) {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (mock, listener) = (Mock::builder().build(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = listener.local_addr().unwrap();
    let served = mock.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, mock) = (acceptor.clone(), served.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = service_fn(move |request| mock.clone().call(request));
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (mock, address)
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs a batch of 20 prompts; returns how it ended, and what it wrote to standard error.
async fn batch(base_url: &str) -> (Exit, String) {
    let arguments = format!("batch --base-url {base_url} --model m --input -");
    let args = Args::try_parse_from(arguments.split_whitespace()).unwrap();
    let lines: Vec<_> = (0..20).map(|n| format!("{{\"id\": {n}, \"prompt\": \"say {n}\"}}")).collect();
    let input = lines.join("\n");
    let errors = Log::default();
    let exit = run(args, Stdio::new(io::Cursor::new(input), io::sink(), errors.clone()), pending()).await;
    let errors = String::from_utf8(errors.0.lock().unwrap().clone()).unwrap();
    (exit, errors)
}

#[tokio::test]
async fn a_refused_certificate_ends_a_batch_at_once_and_is_named() {
    let (mock, address) = serve().await;
    let began = Instant::now();
    let (exit, errors) = batch(&format!("https://{address}/v1")).await;
    assert_eq!(exit, Exit::Unanswered);
    assert!(errors.contains("given up: invalid peer certificate"), "{errors}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(mock.stats().seen, 0);
}

#[tokio::test]
async fn https_to_a_plain_port_ends_a_batch_at_once_and_is_named() {
    let server = Mock::builder().start().await.unwrap();
    let (exit, errors) = batch(&format!("https://{}/v1", server.address())).await;
    assert_eq!(exit, Exit::Unanswered);
    assert!(errors.contains("given up: the server does not speak TLS on this port"), "{errors}");
}

#[tokio::test]
async fn a_refused_certificate_and_a_bad_scheme_end_the_quick_start_with_their_cause() {
    let (_, address) = serve().await;
    let began = Instant::now();
    for (url, cause) in [
        (format!("https://{address}/v1"), "invalid peer certificate"),
        ("ftp://127.0.0.1/v1".to_owned(), "scheme"),
    ] {
        let error = quickstart::ask(&url, "m", "k").await.unwrap_err().to_string();
        assert!(error.contains(cause) && error.contains("1 attempt"), "{error}");
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_quick_start_is_answered() {
    let server = Mock::builder().start().await.unwrap();
    let answer = quickstart::ask(&server.openai_base_url(), "m", "k").await.unwrap();
    assert!(answer.starts_with("200 OK, 1 attempt"), "{answer}");
}

const URL: &str = "APLOMB_TEST_BASE_URL";

/// Runs in a process of its own, which trusts the certificate.
#[tokio::test]
async fn child_that_trusts_the_certificate() {
    if let Ok(url) = std::env::var(URL) {
        let (exit, errors) = batch(&url).await;
        assert_eq!(exit, Exit::Answered, "{errors}");
    }
}

#[tokio::test]
async fn a_batch_over_tls_is_answered() {
    let (mock, address) = serve().await;
    let roots = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("loopback.pem");
    std::fs::write(&roots, CERTIFICATE).unwrap();
    let child = tokio::task::spawn_blocking(move || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_trusts_the_certificate"])
            .env("SSL_CERT_FILE", roots)
            .env(URL, format!("https://{address}/v1"))
            .output()
            .unwrap()
    });
    let output = child.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(mock.stats().answered, 20);
}
