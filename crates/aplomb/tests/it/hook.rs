//! What is done to each attempt just before it is sent.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aplomb::rate_limit::Quota;
use aplomb::{BoxError, EndpointLayer, HookFailed, Outgoing, Policy, find};
use bytes::Bytes;
use http_body_util::Full;
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};

use crate::calls::{chat, under};

const S: Duration = Duration::from_secs(1);

type Request = http::Request<Full<Bytes>>;

/// Fails the first time, and keeps what it was asked.
fn server(
    seen: &Arc<Mutex<Vec<Request>>>,
) -> impl tower::Service<Request, Response = http::Response<Full<Bytes>>, Error = std::io::Error, Future: Send>
+ Clone {
    let seen = Arc::clone(seen);
    service_fn(move |request: Request| {
        let mut seen = seen.lock().unwrap();
        seen.push(request);
        let status = if seen.len() == 1 { 503 } else { 200 };
        async move { Ok(http::Response::builder().status(status).body(Full::from("{}")).unwrap()) }
    })
}

/// Gets a token, and puts it into the head.
async fn sign(mut outgoing: Outgoing) -> Result<Outgoing, BoxError> {
    tokio::time::sleep(S).await;
    let token = format!("token-{}", outgoing.attempt());
    assert!(outgoing.body().is_some_and(|body| !body.is_empty()));
    assert_eq!(outgoing.uri().path(), "/v1/chat/completions");
    outgoing.headers_mut().append("authorization", token.parse()?);
    Ok(outgoing)
}

#[tokio::test(start_paused = true)]
async fn it_is_run_for_every_attempt_after_all_waiting_on_the_head_as_it_was() {
    let (seen, at) = (Arc::default(), Arc::new(Mutex::new(Vec::new())));
    let layer = under(Policy::new().quota(Quota::requests_per_minute(6).burst(1))).request_hook({
        let at = Arc::clone(&at);
        move |outgoing| {
            at.lock().unwrap().push(Instant::now());
            sign(outgoing)
        }
    });
    let endpoint = layer.layer(server(&seen));
    let start = Instant::now();
    assert_eq!(endpoint.oneshot(chat("hello", false)).await.unwrap().status(), 200);
    let seen = seen.lock().unwrap();
    let tokens: Vec<_> = seen.iter().map(|request| request.headers().get_all("authorization")).collect();
    for (attempt, token) in (1..).zip(tokens) {
        let token: Vec<_> = token.iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(token, [format!("token-{attempt}")]);
    }
    let at = at.lock().unwrap();
    assert_eq!(at[0], start);
    assert!(at[1] >= start + 10 * S, "after the wait for the quota");
}

#[tokio::test(start_paused = true)]
async fn what_fails_in_it_is_not_sent_not_retried_not_charged_and_not_counted() {
    let asked = Arc::new(AtomicU32::new(0));
    let hanging = Arc::clone(&asked);
    let fails = |_: Outgoing| async { Err(BoxError::from("no token for key sk-1")) };
    let hangs = move |outgoing: Outgoing| {
        hanging.fetch_add(1, Ordering::Relaxed);
        async move {
            std::future::pending::<()>().await;
            Ok(outgoing)
        }
    };
    let policy = Policy::new().head_timeout(9 * S).quota(Quota::requests_per_hour(5).burst(5));
    for (layer, says) in [
        (under(policy.clone()).request_hook(fails), "the request hook failed, nothing was sent"),
        (
            under(policy).request_hook(hangs),
            "the request hook did not end within 9s, nothing was sent",
        ),
    ] {
        let seen = Arc::default();
        let error = layer.layer(server(&seen)).oneshot(chat("hello", false)).await.unwrap_err();
        let failed = find::<HookFailed>(&error).unwrap();
        assert_eq!(failed.to_string(), says);
        assert!(seen.lock().unwrap().is_empty());
        assert_eq!(error.report().sent(), 0);
        let handle = layer.handle();
        assert_eq!((handle.available()[0].1, handle.in_flight()), (5, 0));
        assert_eq!(handle.circuit().tally().calls(), 0);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_in_it_leaves_nothing_behind() {
    let layer = EndpointLayer::new(aplomb::provider::OpenAi).request_hook(async |outgoing: Outgoing| {
        tokio::time::sleep(S).await;
        Ok(outgoing)
    });
    let (seen, handle) = (Arc::default(), layer.handle());
    let call = layer.layer(server(&seen)).oneshot(chat("hello", false));
    assert!(tokio::time::timeout(S / 2, call).await.is_err());
    assert!(seen.lock().unwrap().is_empty());
    assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_it_holds_is_not_shown() {
    let debug = Arc::new(Mutex::new(String::new()));
    let writes = Arc::clone(&debug);
    let layer = under(Policy::new()).request_hook(move |outgoing: Outgoing| {
        *writes.lock().unwrap() = format!("{outgoing:?}");
        async move { Ok(outgoing) }
    });
    let mut request = chat("a secret prompt", false);
    request.headers_mut().insert("authorization", "Bearer sk-secret".parse().unwrap());
    layer.layer(server(&Arc::default())).oneshot(request).await.unwrap();
    let shown = debug.lock().unwrap();
    assert!(shown.contains("/v1/chat/completions") && !shown.contains("secret"), "{shown}");
}
