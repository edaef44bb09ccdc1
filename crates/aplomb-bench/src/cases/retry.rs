//! A retry around a call.

use std::future::{Ready, ready};
use std::time::Duration;

use aplomb_core::CallOptions;
use aplomb_retry::RetryLayer;
use backon::{ExponentialBuilder, Retryable};
use tower::retry::Policy;
use tower::util::MapRequestLayer;
use tower::{Layer, Service, service_fn};

use crate::{Ai, Ask, Calls, Case, Failed, Flaky, Group, Peer, Plain, Request, Response, alone, over};

pub(super) const PLAIN: Group = Group {
    name: "retry",
    about: "a retry whose first attempt succeeds; a request without headers",
    cases: &[
        Case::new("bare", bare::<Plain>),
        Case::new("copy", copy::<Plain>),
        Case::new("aplomb", aplomb::<Plain>),
        Case::new("tower", tower::<Plain>),
        Case::new("tower-resilience", tower_resilience::<Plain>),
        Case::new("backon", backon::<Plain>),
    ],
};

pub(super) const AI: Group = Group {
    name: "retry-ai",
    about: "the same; the request of an AI call, with six headers",
    cases: &[
        Case::new("bare", bare::<Ai>),
        Case::new("copy", copy::<Ai>),
        Case::new("aplomb", aplomb::<Ai>),
        Case::new("tower", tower::<Ai>),
        Case::new("tower-resilience", tower_resilience::<Ai>),
        Case::new("backon", backon::<Ai>),
    ],
};

pub(super) const OFF: Group = Group {
    name: "retry-off",
    about: "a retry that may not retry; a request without headers",
    cases: &[
        Case::new("bare", bare::<Plain>),
        Case::new("max-retries-0", no_retries),
        Case::new("once", once),
        Case::new("bare-with-options", bare_with_options),
        Case::new("without-retry", without_retry),
        Case::new("tower", tower_off),
    ],
};

pub(super) const ONCE: Group = Group {
    name: "retry-once",
    about: "a call that fails and is retried at once; beside two bare calls",
    cases: &[
        Case::new("bare", bare_twice),
        Case::new("aplomb", aplomb_again),
        Case::new("tower", tower_again),
    ],
};

pub(super) fn bare<A: Ask>() -> Box<dyn Calls> {
    over::<A, _, _>(Peer)
}

/// Copies the request and drops the copy: no retry is cheaper.
fn copy<A: Ask>() -> Box<dyn Calls> {
    over::<A, _, _>(service_fn(|request: Request| {
        drop(std::hint::black_box(request.clone()));
        Peer.call(request)
    }))
}

fn aplomb<A: Ask>() -> Box<dyn Calls> {
    over::<A, _, _>(RetryLayer::new().layer(Peer))
}

fn no_retries() -> Box<dyn Calls> {
    over::<Plain, _, _>(RetryLayer::new().max_retries(0).layer(Peer))
}

fn once() -> Box<dyn Calls> {
    over::<Plain, _, _>(RetryLayer::new().replay(aplomb_core::Once).layer(Peer))
}

fn with_options(mut request: Request) -> Request {
    request.extensions_mut().insert(CallOptions::new().without_retry());
    request
}

fn bare_with_options() -> Box<dyn Calls> {
    over::<Plain, _, _>(MapRequestLayer::new(with_options).layer(Peer))
}

fn without_retry() -> Box<dyn Calls> {
    over::<Plain, _, _>(MapRequestLayer::new(with_options).layer(RetryLayer::new().layer(Peer)))
}

fn bare_twice() -> Box<dyn Calls> {
    over::<Plain, _, _>(service_fn(|request: Request| async move {
        let answer = Peer.call(request.clone()).await;
        drop(std::hint::black_box(answer));
        Peer.call(request).await
    }))
}

fn aplomb_again() -> Box<dyn Calls> {
    alone::<Plain, _, _>(RetryLayer::new().backoff(Duration::ZERO).layer(Flaky::default()))
}

/// The policy of tower's documentation.
#[derive(Clone)]
pub(super) struct Attempts(pub(super) u32);

impl<E> Policy<Request, Response, E> for Attempts {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Request, result: &mut Result<Response, E>) -> Option<Self::Future> {
        let failed = !matches!(result, Ok(response) if !response.status().is_server_error());
        if failed && self.0 > 0 {
            self.0 -= 1;
            Some(ready(()))
        } else {
            None
        }
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        (self.0 > 0).then(|| request.clone())
    }
}

fn tower<A: Ask>() -> Box<dyn Calls> {
    over::<A, _, _>(tower::retry::RetryLayer::new(Attempts(4)).layer(Peer))
}

fn tower_off() -> Box<dyn Calls> {
    over::<Plain, _, _>(tower::retry::RetryLayer::new(Attempts(0)).layer(Peer))
}

fn tower_again() -> Box<dyn Calls> {
    alone::<Plain, _, _>(tower::retry::RetryLayer::new(Attempts(4)).layer(Flaky::default()))
}

fn tower_resilience<A: Ask>() -> Box<dyn Calls> {
    let layer = tower_resilience_retry::RetryLayer::<Request, Response, Failed>::builder()
        .max_attempts(5)
        .exponential_backoff(Duration::from_millis(500))
        .retry_on_response(|response: &Response| response.status().is_server_error())
        .build();
    over::<A, _, _>(layer.layer(Peer))
}

fn backon<A: Ask>() -> Box<dyn Calls> {
    let waits = ExponentialBuilder::default().with_jitter().with_max_times(4);
    over::<A, _, _>(service_fn(move |request: Request| {
        (move || {
            let answer = Peer.call(request.clone());
            async move {
                match answer.await {
                    Ok(response) if response.status().is_server_error() => Err(Failed),
                    answer => answer,
                }
            }
        })
        .retry(waits)
    }))
}
