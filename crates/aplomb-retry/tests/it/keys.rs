//! Idempotency keys.

use std::sync::{Arc, Mutex};

use aplomb_core::{BoxError, RequestHead};
use aplomb_retry::RetryLayer;
use http::{HeaderName, Method, Request, Response};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

use crate::peer::{Peer, request, secs};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The keys that a server sees in `calls` calls.
async fn keys(layer: RetryLayer, calls: usize) -> Vec<Option<String>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let server = {
        let seen = Arc::clone(&seen);
        service_fn(move |request: Request<String>| {
            let key = request.headers().get(KEY).map(|key| key.to_str().unwrap().to_owned());
            seen.lock().unwrap().push(key);
            std::future::ready(Ok::<_, BoxError>(Response::new(String::new())))
        })
    };
    let service = layer.idempotency_key(KEY).layer(server);
    for _ in 0..calls {
        service.clone().oneshot(request()).await.unwrap();
    }
    let seen = seen.lock().unwrap();
    seen.clone()
}

#[tokio::test(start_paused = true)]
async fn keys_differ_even_if_the_delays_come_from_a_seed() {
    for layer in [
        RetryLayer::new().random_seed(7),
        RetryLayer::new().random_source(|| StdRng::seed_from_u64(7)),
    ] {
        let keys = keys(layer, 2).await;
        assert!(keys[0].is_some());
        assert_ne!(keys[0], keys[1]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_never_sent_again_gets_no_key() {
    let never = RetryLayer::new().repeatable(|_: &dyn RequestHead| false);
    assert_eq!(keys(never, 1).await, [None]);
}

#[tokio::test(start_paused = true)]
async fn a_key_in_a_custom_header_makes_a_post_repeatable() {
    let peer = Peer::failing(1, 500);
    let mut post = request();
    *post.method_mut() = Method::POST;
    let service = RetryLayer::new()
        .backoff(secs(1))
        .idempotency_key(HeaderName::from_static("x-request-key"))
        .idempotent_only()
        .layer(peer.clone());
    assert_eq!(service.oneshot(post).await.unwrap().status(), 200);
    assert_eq!(peer.calls(), 2);
}
