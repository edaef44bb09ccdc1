//! A policy that is changed while calls run, and an endpoint that is closed.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use aplomb::rate_limit::{Pool, Quota};
use aplomb::{
    CallOptions, Closing, EndpointError, EndpointLayer, InvalidPolicy, Policy, Rejection, find,
    provider::OpenAi,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::calls::{chat, under};
use crate::clients::{quick, silent};
use crate::script::{Reply, Server, Step, done, word};

const S: Duration = Duration::from_secs(1);

fn failing() -> Reply {
    Reply { status: 503, ..Reply::of("application/json", []) }
}

fn well() -> Reply {
    Reply::stream([word("well"), done()])
}

async fn send(layer: &EndpointLayer, server: &Server) -> Result<u16, EndpointError> {
    let response = layer.layer(server.clone()).oneshot(chat("hello", true)).await?;
    Ok(response.status().as_u16())
}

#[tokio::test(start_paused = true)]
async fn what_is_changed_holds_from_the_next_call_on_for_services_that_are_there() {
    let server = Server::new([failing()]);
    let layer = under(Policy::new().max_retries(0));
    let (handle, service) = (layer.handle(), layer.layer(server.clone()));
    assert_eq!(service.clone().oneshot(chat("hello", true)).await.unwrap().status(), 503);
    assert_eq!(server.seen(), 1);
    handle.set_policy(Policy::new().max_retries(2)).unwrap();
    assert_eq!(service.oneshot(chat("hello", true)).await.unwrap().status(), 503);
    assert_eq!(server.seen(), 4);
    let refused = handle.set_policy(Policy::new().deadline(Duration::ZERO));
    assert!(matches!(refused, Err(InvalidPolicy::ZeroTime { setting: "deadline", .. })));
    assert!(format!("{:?}", handle.policy()).contains("max_retries: 2"), "nothing has changed");
}

#[tokio::test(start_paused = true)]
async fn promise_25_a_quota_that_is_changed_keeps_its_level_and_what_is_in_flight() {
    let layer = under(Policy::new().quota(Quota::requests_per_minute(60).burst(10)));
    let handle = layer.handle();
    let endpoint = layer.layer(Server::new([well()]));
    let mut bodies = Vec::new();
    for _ in 0..4 {
        bodies.push(endpoint.clone().oneshot(chat("hello", true)).await.unwrap());
    }
    handle
        .set_policy(Policy::new().quota(Quota::requests_per_minute(120).burst(20)).concurrency(5))
        .unwrap();
    assert_eq!((handle.available()[0].1, handle.in_flight()), (16, 4), "four of them are gone");
    assert_eq!(handle.concurrency().unwrap().in_flight(), 0, "those before have no place");
    drop(bodies);
    assert_eq!((handle.in_flight(), handle.concurrency().unwrap().in_flight()), (0, 0));
    handle.set_policy(Policy::new()).unwrap();
    assert!(handle.concurrency().is_none());
    assert!(ask_status(&endpoint).await);
}

async fn ask_status(endpoint: &aplomb::Endpoint<Server>) -> bool {
    endpoint
        .clone()
        .oneshot(chat("hello", true))
        .await
        .is_ok_and(|response| response.status().is_success())
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_waits_for_a_quota_goes_on_under_the_new_one() {
    let layer = under(Policy::new().quota(Quota::requests_per_minute(1)));
    let handle = layer.handle();
    let endpoint = layer.layer(Server::new([well()]));
    assert!(ask_status(&endpoint).await);
    let mut waits = task::spawn(endpoint.oneshot(chat("hello", true)));
    assert_pending!(waits.poll());
    assert_eq!(handle.waiting(), 1);
    handle.set_policy(Policy::new().quota(Quota::requests_per_second(10))).unwrap();
    let start = Instant::now();
    assert!(waits.await.is_ok());
    assert!(start.elapsed() <= S / 5, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_closed_endpoint_refuses_new_calls_and_those_that_run_end_with_their_retries() {
    let server = Server::new([failing().after(S), well(), well()]);
    let layer = under(Policy::new());
    let handle = layer.handle();
    let call = tokio::spawn({
        let (layer, server) = (layer.clone(), server.clone());
        async move { ask_all(&layer, &server).await }
    });
    tokio::time::sleep(S / 2).await;
    handle.close(Closing::Drain);
    let error = send(&layer, &server).await.unwrap_err();
    assert_eq!(find::<Rejection>(&error).unwrap().reason(), Some("closed"));
    assert_eq!((error.report().sent(), server.seen()), (0, 1));
    assert!(call.await.unwrap().contains("well"), "it was let in before, and so is its retry");
    assert_eq!(server.seen(), 2);
    handle.drained().await;
}

async fn ask_all(layer: &EndpointLayer, server: &Server) -> String {
    let response = layer.layer(server.clone()).oneshot(chat("hello", true)).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8_lossy(&body).into_owned()
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_drained_when_the_last_body_has_been_read() {
    let server = Server::new([Reply::stream([word("well"), Step::Wait(S), done()])]);
    let layer = EndpointLayer::new(OpenAi);
    let handle = layer.handle();
    let mut drained = task::spawn(handle.drained());
    assert_ready!(drained.poll());
    let response = layer.layer(server.clone()).oneshot(chat("hello", true)).await.unwrap();
    let second = layer.layer(server).oneshot(chat("hello", true)).await.unwrap();
    handle.close(Closing::Drain);
    let mut drained = task::spawn(handle.drained());
    assert_pending!(drained.poll());
    let mut body = response.into_body();
    while body.frame().await.is_some() {}
    assert_pending!(drained.poll());
    drop(second);
    assert!(drained.is_woken());
    assert_ready!(drained.poll());
    drop(body);
}

#[tokio::test(start_paused = true)]
async fn presets_do_what_they_are_for() {
    // An outage of a minute: a batch waits for its end, an interactive call fails at once.
    let outage = || {
        let start = Instant::now();
        service_fn(move |_: http::Request<Full<Bytes>>| async move {
            let is_down = start.elapsed() < 60 * S;
            let status = if is_down { 503 } else { 200 };
            let body = Full::<Bytes>::from("{}");
            Ok::<_, io::Error>(http::Response::builder().status(status).body(body).unwrap())
        })
    };
    let batch = EndpointLayer::with_policy(OpenAi, Policy::batch()).unwrap().layer(outage());
    let (start, response) = (Instant::now(), batch.oneshot(chat("hello", false)).await.unwrap());
    assert!(response.status().is_success() && start.elapsed() >= 60 * S);

    let interactive = EndpointLayer::with_policy(OpenAi, Policy::interactive()).unwrap();
    let endpoint = interactive.layer(outage());
    let mut opened = false;
    let start = Instant::now();
    for _ in 0..10 {
        let result = endpoint.clone().oneshot(chat("hello", false)).await;
        opened |= result.is_err_and(|error| find::<aplomb::circuit_breaker::CircuitOpen>(&error).is_some());
    }
    assert!(opened && start.elapsed() <= 20 * S, "{:?}", start.elapsed());
    // Nobody waits for long in the queue.
    let quota = Policy::interactive().quota(Quota::requests_per_minute(1));
    let endpoint = EndpointLayer::with_policy(OpenAi, quota).unwrap().layer(Server::new([well()]));
    assert!(ask_status(&endpoint).await);
    let start = Instant::now();
    let error = endpoint.oneshot(chat("hello", true)).await.unwrap_err();
    assert!(error.retry_after().is_some_and(|after| after > 50 * S) && start.elapsed() <= 5 * S);
}

// Only explicit settings are compared: the defaults of a preset are cut off by a shorter time.
#[test]
fn a_preset_can_be_given_a_shorter_deadline() {
    assert_eq!(Policy::interactive().deadline(30 * S).validate(), Ok(()));
    assert_eq!(Policy::interactive().attempt_timeout(30 * S).validate(), Ok(()));
}

// Under a limit of no calls none could ever succeed: it is an error, or is taken for a limit of one.
#[tokio::test(start_paused = true)]
async fn a_policy_that_lets_nobody_in_is_not_valid() {
    let policy = Policy::new().concurrency(0);
    if let Ok(layer) = EndpointLayer::with_policy(OpenAi, policy) {
        assert!(layer.layer(quick()).oneshot(chat("hello", false)).await.is_ok());
    }
}

// The one bounds the peak, the other the average: both have an effect.
#[test]
fn a_peak_and_an_average_do_not_contradict_each_other() {
    let policy = Policy::new().quotas([
        Quota::requests_per_minute(600).burst(1),
        Quota::requests_per_minute(60).burst(60),
    ]);
    assert_eq!(policy.validate(), Ok(()));
}

// An arrival in the past is an option that callers have too: it does not make a call one that was let in before.
#[tokio::test(start_paused = true)]
async fn a_new_call_that_names_its_arrival_is_refused_after_close() {
    let layer = under(Policy::new());
    layer.handle().close(Closing::Drain);
    let mut request = chat("hello", false);
    request.extensions_mut().insert(CallOptions::new().with_arrival(Instant::now()));
    assert!(layer.layer(quick()).oneshot(request).await.is_err());
}

// When nothing is waited for any more, nothing is in flight either, though the finished future is still held.
#[tokio::test(start_paused = true)]
async fn drained_waits_for_the_attempt_a_deadline_has_ended() {
    let layer = under(Policy::new().deadline(S));
    let handle = layer.handle();
    let mut service = layer.layer(silent());
    let mut call = pin!(service.call(chat("hello", false)));
    (&mut call).await.unwrap_err();
    handle.close(Closing::Drain);
    handle.drained().await;
    assert_eq!(handle.in_flight(), 0, "drained, and yet something is in flight");
}

/// A batch waits out the five minutes that the server asks for, longer than a pool would by itself: the policy says how
/// long.
async fn a_batch_waits_as_long_as_the_server_asks(policy: Policy) {
    let sent = Arc::new(AtomicU32::new(0));
    let client = service_fn(move |_: http::Request<Full<Bytes>>| {
        let first = sent.fetch_add(1, Relaxed) == 0;
        async move {
            let answer = http::Response::builder();
            let answer = if first {
                answer.status(429).header("retry-after", "300")
            } else {
                answer
            };
            Ok::<_, io::Error>(
                answer.header("content-type", "application/json").body(Full::from("{}")).unwrap(),
            )
        }
    });
    let start = Instant::now();
    let answer = under(policy).layer(client).oneshot(chat("p", false)).await;
    let answer = answer.unwrap_or_else(|error| panic!("after {:?}: {error}", start.elapsed()));
    assert_eq!(answer.status(), 200);
    assert!(start.elapsed() >= Duration::from_secs(300));
}

#[tokio::test(start_paused = true)]
async fn a_batch_alone_waits_as_long_as_the_server_asks() {
    a_batch_waits_as_long_as_the_server_asks(Policy::batch()).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_in_a_pool_waits_as_long_as_the_server_asks() {
    let pool = Pool::new([Quota::requests_per_minute(60)]);
    a_batch_waits_as_long_as_the_server_asks(Policy::batch().pool(&pool)).await;
}
