//! Over every kind of service: promise 6.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aplomb_core::{BoxError, Once, Recorded};
use aplomb_retry::{Retried, Retry, RetryLayer};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tower::util::{BoxCloneService, BoxCloneSyncService};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_layer::Layer;
use tower_service::Service;

use crate::peer::{Peer, request, secs};

/// An HTTP/1 server that answers the first two requests with 503 and all others with 200. Returns its URL and
/// its number of connections.
async fn server() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        let requests = Arc::new(AtomicUsize::new(0));
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let requests = Arc::clone(&requests);
            tokio::spawn(async move {
                let mut read = Vec::new();
                while stream.read_buf(&mut read).await.unwrap() > 0 {
                    if !read.ends_with(b"question") && !read.ends_with(b"0\r\n\r\n") {
                        continue;
                    }
                    read.clear();
                    let (status, body) = match requests.fetch_add(1, Ordering::SeqCst) {
                        0 | 1 => ("503 Service Unavailable", "overloaded"),
                        _ => ("200 OK", "answer"),
                    };
                    let length = body.len();
                    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (url, connections)
}

fn layer() -> RetryLayer {
    RetryLayer::new().backoff(secs(10))
}

#[tokio::test(start_paused = true)]
async fn over_reqwest_on_one_connection() {
    let (url, connections) = server().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut service = layer().layer(client.clone());
    let request = client.post(&url).body("question").build().unwrap();
    let response = service.call(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.extensions().get::<Retried>().unwrap().attempts(), 3);
    assert_eq!(response.text().await.unwrap(), "answer");
    assert_eq!(connections.load(Ordering::SeqCst), 1, "the failed responses were drained");
}

/// The type of a field is one line.
struct Asking {
    client: Retry<reqwest::Client>,
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_reqwest_is_a_field_of_one_line() {
    let (url, _) = server().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut asking = Asking { client: layer().layer(client.clone()) };
    let request = client.post(&url).body("question").build().unwrap();
    assert_eq!(asking.client.call(request).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn around_reqwests_own_request_builder() {
    let (url, _) = server().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = layer().run(|| client.post(&url).body("question").send()).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "answer");
}

#[tokio::test(start_paused = true)]
async fn over_hyper_utils_client_on_one_connection() {
    let (url, connections) = server().await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = Request::post(&url).body(Full::from("question")).unwrap();
    let response = layer().layer(client).oneshot(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "answer");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn over_hyper_utils_client_with_a_stream_for_a_body() {
    let (url, connections) = server().await;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let frames = ["quest", "ion"].map(|part| Ok::<_, Infallible>(http_body::Frame::data(Bytes::from(part))));
    let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
    let request = Request::post(&url).body(body).unwrap();
    let response = layer().replay(Recorded::new()).layer(client).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn over_a_service_that_is_not_send() {
    let calls = Rc::new(std::cell::Cell::new(0));
    let service = {
        let calls = Rc::clone(&calls);
        service_fn(move |request: &'static str| {
            let calls = Rc::clone(&calls);
            async move {
                calls.set(calls.get() + 1);
                if calls.get() < 3 { Err("lost") } else { Ok(request) }
            }
        })
    };
    let service = RetryLayer::new().layer(service);
    assert_eq!(service.oneshot("a").await, Ok("a"));
    assert_eq!(calls.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn over_a_borrowed_service() {
    let calls = AtomicUsize::new(0);
    let borrowed = &calls;
    let service = service_fn(|request: String| async move {
        if borrowed.fetch_add(1, Ordering::SeqCst) < 2 {
            Err("lost")
        } else {
            Ok(request)
        }
    });
    let service = RetryLayer::new().layer(service);
    let call = pin!(service.oneshot("a".to_owned()));
    assert_eq!(call.await.unwrap(), "a");
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn over_boxed_services_and_boxed_itself() {
    let peer = Peer::failing(2, 503);
    let boxed: BoxCloneService<Request<String>, _, BoxError> = BoxCloneService::new(peer.clone());
    let service = BoxCloneService::new(RetryLayer::new().layer(boxed));
    assert_eq!(service.oneshot(request()).await.unwrap().status(), 200);
    let service = BoxCloneSyncService::new(
        ServiceBuilder::new().layer(RetryLayer::new()).service(Peer::failing(2, 503)),
    );
    assert_eq!(service.oneshot(request()).await.unwrap().status(), 200);
    assert_eq!(peer.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_cloned() {
    struct NotClone;
    impl aplomb_core::RequestHead for NotClone {}
    let service = service_fn(|_: NotClone| std::future::ready(Err::<(), _>("lost")));
    let service = RetryLayer::new().replay(Once).layer(service);
    assert_eq!(service.oneshot(NotClone).await, Err("lost"));
}

#[test]
fn services_and_futures_are_send_and_sync_where_the_inner_service_is() {
    fn is_send<T: Send>(_: &T) {}
    fn is_sync<T: Sync>(_: &T) {}
    let mut service = RetryLayer::new().observer(|_: &aplomb_core::Event| ()).layer(Peer::failing(0, 503));
    is_send(&service);
    is_sync(&service);
    is_sync(&RetryLayer::new());
    is_send(&service.call(request()));
    assert!(format!("{:?}", service.call(request())).contains("fresh"));
}
