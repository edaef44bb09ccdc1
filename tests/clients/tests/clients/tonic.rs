//! tonic 0.14: retry, breaker and limit around its channel, by gRPC's own statuses.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aplomb::circuit_breaker::{CircuitBreakerLayer, CircuitOpen, Trip};
use aplomb::core::{Exponential, GrpcClassifier, Recorded};
use aplomb::find;
use aplomb::rate_limit::{Quota, RateLimitLayer};
use aplomb::retry::RetryLayer;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Bytes, http::uri::PathAndQuery};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Status};
use tower::{Service, ServiceBuilder};

/// Messages are bytes as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put(buf, item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(bytes::Buf::copy_to_bytes(buf, bytes::Buf::remaining(buf))))
    }
}

/// Fails so many calls with this status, then answers with an empty message.
#[derive(Clone)]
struct Flaky {
    fails: u32,
    code: Code,
    seen: Arc<AtomicU32>,
}

impl tonic::server::NamedService for Flaky {
    const NAME: &'static str = "test.Flaky";
}

impl Service<http::Request<Body>> for Flaky {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        let seen = self.seen.fetch_add(1, Ordering::Relaxed);
        let code = if seen < self.fails {
            self.code
        } else {
            Code::Unimplemented
        };
        ready(Ok(Status::new(code, "on purpose").into_http()))
    }
}

/// A server on loopback, and how many calls it has seen.
async fn serve(fails: u32, code: Code) -> (Channel, Arc<AtomicU32>) {
    let seen = Arc::new(AtomicU32::new(0));
    let flaky = Flaky { fails, code, seen: Arc::clone(&seen) };
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    tokio::spawn(Server::builder().add_service(flaky).serve_with_incoming(incoming));
    let endpoint = Endpoint::try_from(format!("http://{address}")).unwrap();
    (endpoint.connect().await.unwrap(), seen)
}

async fn ask<S>(service: S) -> Status
where
    S: tonic::client::GrpcService<Body>,
    S::ResponseBody: tonic::codegen::Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as tonic::codegen::Body>::Error: Into<tonic::codegen::StdError>,
{
    let mut client = Grpc::new(service);
    client.ready().await.map_err(Into::into).unwrap();
    let path = PathAndQuery::from_static("/test.Flaky/Ask");
    client.unary(Request::new(Bytes::from_static(b"hello")), path, Raw).await.unwrap_err()
}

#[tokio::test]
async fn a_call_is_retried_by_its_status_and_limited() {
    let soon = Exponential::new(Duration::from_millis(1));
    for (code, sent) in [
        (Code::Unavailable, 3),
        (Code::ResourceExhausted, 3),
        (Code::Internal, 1),
    ] {
        let (channel, seen) = serve(2, code).await;
        let retry = RetryLayer::new().replay(Recorded::new()).classifier(GrpcClassifier::new()).backoff(soon);
        let limit =
            RateLimitLayer::new([Quota::requests_per_second(1_000)]).classifier(GrpcClassifier::new());
        let service = ServiceBuilder::new()
            .layer(retry)
            .map_request(|request: http::Request<_>| request.map(Body::new))
            .layer(limit)
            .service(channel);
        let status = ask(service).await;
        assert_eq!(seen.load(Ordering::Relaxed), sent, "{code:?}");
        assert_eq!(status.code(), if sent == 3 { Code::Unimplemented } else { code });
    }
}

#[tokio::test]
async fn a_circuit_opens_by_the_status() {
    let (channel, seen) = serve(u32::MAX, Code::Unavailable).await;
    let circuit = CircuitBreakerLayer::new().trip(Trip::consecutive(3)).classifier(GrpcClassifier::new());
    let service = ServiceBuilder::new().layer(circuit).service(channel);
    for _ in 0..3 {
        assert_eq!(ask(service.clone()).await.code(), Code::Unavailable);
    }
    let rejected = ask(service).await;
    assert!(find::<CircuitOpen>(&rejected).is_some(), "{rejected:?}");
    assert_eq!(seen.load(Ordering::Relaxed), 3);
}
