//! The hook, which prepares each attempt just before it is sent.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aplomb::circuit_breaker::{CircuitState, Slow, Trip, Window};
use aplomb::rate_limit::Quota;
use aplomb::{
    BoxError, CallOptions, EndpointLayer, HookFailed, Kind, OutgoingRequest, Policy, Priority, Report, find,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};

use crate::calls::{chat, under};
use crate::clients::quick;
use crate::script::{Reply, Server, Step, done, word};

const S: Duration = Duration::from_secs(1);

type Request = http::Request<Full<Bytes>>;

/// Fails the first time, and records its requests.
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
async fn sign(mut outgoing: OutgoingRequest) -> Result<OutgoingRequest, BoxError> {
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
    let fails = |_: OutgoingRequest| async { Err(BoxError::from("no token for key sk-1")) };
    let hangs = move |outgoing: OutgoingRequest| {
        hanging.fetch_add(1, Ordering::Relaxed);
        async move {
            std::future::pending::<()>().await;
            Ok(outgoing)
        }
    };
    let policy = Policy::new().head_timeout(9 * S).quota(Quota::requests_per_hour(5).burst(5));
    for (layer, says) in [
        (under(policy.clone()).request_hook(fails), "request hook failed, nothing was sent"),
        (under(policy).request_hook(hangs), "request hook timed out after 9s, nothing was sent"),
    ] {
        let seen = Arc::default();
        let error = layer.layer(server(&seen)).oneshot(chat("hello", false)).await.unwrap_err();
        let failed = find::<HookFailed>(&error).unwrap();
        assert_eq!(failed.to_string(), says);
        assert!(seen.lock().unwrap().is_empty());
        assert_eq!(error.report().sent(), 0);
        let handle = layer.handle();
        assert_eq!((handle.available()[0].1, handle.in_flight()), (5, 0));
        assert_eq!(handle.circuit().unwrap().window().calls(), 0);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_in_it_leaves_nothing_behind() {
    let layer =
        EndpointLayer::new(aplomb::provider::OpenAi).request_hook(async |outgoing: OutgoingRequest| {
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
    let layer = under(Policy::new()).request_hook(move |outgoing: OutgoingRequest| {
        *writes.lock().unwrap() = format!("{outgoing:?}");
        async move { Ok(outgoing) }
    });
    let mut request = chat("a secret prompt", false);
    request.headers_mut().insert("authorization", "Bearer sk-secret".parse().unwrap());
    layer.layer(server(&Arc::default())).oneshot(request).await.unwrap();
    let shown = debug.lock().unwrap();
    assert!(shown.contains("/v1/chat/completions") && !shown.contains("secret"), "{shown}");
}

async fn slow_token(outgoing: OutgoingRequest) -> Result<OutgoingRequest, BoxError> {
    tokio::time::sleep(6 * S).await;
    Ok(outgoing)
}

// Nothing was sent: the quota gets the charge back.
#[tokio::test(start_paused = true)]
async fn a_call_dropped_in_its_hook_is_not_charged() {
    let layer = under(Policy::new().quota(Quota::requests_per_hour(5).burst(5))).request_hook(slow_token);
    let handle = layer.handle();
    let call = layer.layer(quick()).oneshot(chat("hello", false));
    assert!(tokio::time::timeout(S, call).await.is_err());
    assert_eq!(handle.available()[0].1, 5);
}

// The same where the call ends by itself.
#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_in_the_hook_costs_nothing() {
    let policy = Policy::new().deadline(S).quota(Quota::requests_per_hour(5).burst(5));
    let layer = under(policy).request_hook(slow_token);
    let error = layer.layer(quick()).oneshot(chat("hello", false)).await.unwrap_err();
    assert_eq!(error.report().sent(), 0);
    assert_eq!(layer.handle().available()[0].1, 5);
}

// A slow token endpoint says nothing of the server that the circuit stands for.
#[tokio::test(start_paused = true)]
async fn the_time_of_the_hook_is_not_slowness_of_the_server() {
    let trip = Trip::slow(0.5, Slow::whole(5 * S), Window::calls(10)).min_calls(2);
    let layer = under(Policy::new().trip(trip).fail_fast()).request_hook(slow_token);
    let endpoint = layer.layer(quick());
    for _ in 0..5 {
        let response = endpoint.clone().oneshot(chat("hello", false)).await;
        if let Ok(response) = response {
            response.into_body().collect().await.unwrap();
        }
    }
    assert_eq!(layer.handle().circuit().unwrap().state(), CircuitState::Closed);
}

// `queued` is the wait for a turn, and nothing else.
#[tokio::test(start_paused = true)]
async fn the_time_of_the_hook_is_not_time_in_the_queue() {
    let layer = under(Policy::new()).request_hook(slow_token);
    let response = layer.layer(quick()).oneshot(chat("hello", false)).await.unwrap();
    let report = Report::of(&response).unwrap();
    assert_eq!(report.queued(), Duration::ZERO, "{report}");
}

// A failure in the hook is not retried, even where its own calls go through another endpoint, whose errors, which
// would be worth a retry, are inside of its own.
#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_by_a_broken_answer_is_not_retried() {
    let tokens = under(Policy::new().max_retries(0)).layer(Server::new([Reply::stream([
        word("a"),
        Step::Data("data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\"}}\n\n".into()),
        done(),
    ])]));
    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    let layer = under(Policy::new()).request_hook(move |outgoing: OutgoingRequest| {
        counted.fetch_add(1, Ordering::Relaxed);
        let call = tokens.clone().oneshot(chat("token", true));
        async move {
            call.await?.into_body().collect().await?;
            Ok(outgoing)
        }
    });
    let error = layer.layer(quick()).oneshot(chat("hello", false)).await.unwrap_err();
    assert!(find::<HookFailed>(&error).is_some(), "{error}");
    assert_eq!(runs.load(Ordering::Relaxed), 1, "{error}");
    assert_eq!(layer.handle().circuit().unwrap().window().calls(), 0);
}

// The call of a hook is another call: it has retries of its own.
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_a_hook_calls_retries() {
    let tokens = under(Policy::new()).layer(Server::new([Reply::json(503), Reply::json(200)]));
    let layer = under(Policy::new()).request_hook(move |outgoing: OutgoingRequest| {
        let call = tokens.clone().oneshot(chat("token", false));
        async move {
            let response = call.await?;
            if !response.status().is_success() {
                return Err(format!("{}", response.status()).into());
            }
            Ok(outgoing)
        }
    });
    let result = layer.layer(quick()).oneshot(chat("hello", false)).await;
    assert!(result.is_ok(), "{:?}", result.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn the_options_of_a_retry_tell_hook_and_client_what_was_tried_before() {
    let (seen, hooked) = (Arc::default(), Arc::new(Mutex::new(Vec::new())));
    let options = Arc::clone(&hooked);
    let layer = under(Policy::new()).request_hook(move |outgoing: OutgoingRequest| {
        options.lock().unwrap().push(outgoing.extensions().get::<CallOptions>().copied());
        async move { Ok(outgoing) }
    });
    let mut request = chat("hello", false);
    request.extensions_mut().insert(CallOptions::new().with_priority(Priority::LOW));
    assert!(layer.layer(server(&seen)).oneshot(request).await.is_ok());
    let sent: Vec<_> = seen.lock().unwrap().iter().map(CallOptions::of).collect();
    let tried = |options: &CallOptions| (options.attempts(), options.last().map(|last| last.kind()));
    assert_eq!(sent.iter().map(tried).collect::<Vec<_>>(), [(0, None), (1, Some(Kind::Transient))]);
    assert!(sent.iter().all(|options| options.priority() == Priority::LOW));
    assert_eq!(*hooked.lock().unwrap(), sent.into_iter().map(Some).collect::<Vec<_>>());
}

// The slot of a call that panics and its place in the line go back: there is but one slot, and the next call has it.
#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_leaves_nothing_behind() {
    let layer = under(Policy::new().concurrency(1).quota(Quota::requests_per_hour(5).burst(5))).request_hook(
        |outgoing: OutgoingRequest| async move {
            let is_bad = outgoing.attempt() == 1 && outgoing.headers().contains_key("x-bad");
            assert!(!is_bad, "bad");
            Ok(outgoing)
        },
    );
    let (handle, endpoint) = (layer.handle(), layer.layer(quick()));
    let mut bad = chat("hello", false);
    bad.headers_mut().insert("x-bad", "1".parse().unwrap());
    assert!(tokio::spawn(endpoint.clone().oneshot(bad)).await.unwrap_err().is_panic());
    assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
    assert!(endpoint.oneshot(chat("hello", false)).await.is_ok());
    handle.drained().await;
}

// A call that was let in to probe and sent nothing has not probed: the next one may.
#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_leaves_a_probe_to_others() {
    let fails = Arc::new(AtomicU32::new(1));
    let failing = Arc::clone(&fails);
    let layer = under(Policy::new()).request_hook(move |outgoing: OutgoingRequest| {
        let failing = failing.load(Ordering::Relaxed) == 1;
        async move {
            if failing {
                Err("no token".into())
            } else {
                Ok(outgoing)
            }
        }
    });
    let (handle, endpoint) = (layer.handle(), layer.layer(quick()));
    handle.force_open();
    for _ in 0..5 {
        let error = endpoint.clone().oneshot(chat("hello", false)).await.unwrap_err();
        assert!(find::<HookFailed>(&error).is_some(), "{error}");
    }
    fails.store(0, Ordering::Relaxed);
    let start = Instant::now();
    endpoint
        .clone()
        .oneshot(chat("hello", false))
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(handle.circuit().unwrap().state(), CircuitState::Closed);
}
