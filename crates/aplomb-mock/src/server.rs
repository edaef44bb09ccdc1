//! The mock on a socket.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tower_service::Service;

use crate::mock::Mock;
use crate::stats::{PromptStats, Stats};

/// A mock that is served over HTTP/1.1. Dropping it closes all its connections.
#[derive(Debug)]
pub struct Server {
    mock: Mock,
    address: SocketAddr,
    accepting: AbortHandle,
}

impl Server {
    pub(crate) async fn bind(mock: Mock, address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(accept(listener, address, mock.clone())).abort_handle();
        Ok(Self { mock, address, accepting })
    }

    /// Returns the address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns `http://127.0.0.1:PORT`, the base URL for clients of Anthropic.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns `http://127.0.0.1:PORT/v1`, the base URL for clients of OpenAI.
    pub fn openai_base_url(&self) -> String {
        format!("{}/v1", self.base_url())
    }

    /// Returns the mock that is served.
    pub fn mock(&self) -> &Mock {
        &self.mock
    }

    /// Returns what the mock has seen so far.
    pub fn stats(&self) -> Stats {
        self.mock.stats()
    }

    /// Returns what the mock has seen of one prompt so far: zeros for an unknown one.
    pub fn prompt(&self, prompt: &str) -> PromptStats {
        self.mock.prompt(prompt)
    }

    /// Clears the stats, fills the limits and restarts the mock's time. Requests in flight stay in flight.
    pub fn reset(&self) {
        self.mock.reset();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Accepts connections forever, except during outages that refuse them. Dropping it drops them all.
async fn accept(listener: TcpListener, address: SocketAddr, mock: Mock) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        let (refusing, changed) = mock.refusing();
        if refusing {
            listener = None;
            connections.abort_all();
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        let mut changed = pin!(changed);
        loop {
            tokio::select! {
                () = &mut changed => break,
                accepted = next(listener.as_ref()) => match accepted {
                    Ok((stream, _)) => {
                        mock.count_connection();
                        connections.spawn(serve(stream, mock.clone()));
                    }
                    // Most likely out of file descriptors: some will be free soon.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                },
                Some(_) = connections.join_next() => {}
                // The port is not free yet.
                () = tokio::time::sleep(Duration::from_millis(10)), if listener.is_none() && !refusing => break,
            }
        }
    }
}

async fn next(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

async fn serve(stream: TcpStream, mock: Mock) {
    // Failing costs only speed.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| mock.clone().call(request));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let Err(error) = (&mut connection).await else {
        return;
    };
    if is_reset(&error) {
        // Closing a socket that does not linger sends RST instead of FIN.
        let stream = connection.into_parts().io.into_inner();
        let _ = stream.set_zero_linger();
    }
}

/// Returns whether the mock itself failed the call with a reset, or refused it on a connection that was still open.
fn is_reset(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    error.is_user()
        && cause.is_some_and(|cause| {
            matches!(cause.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused)
        })
}
