//! The report of a call.

use std::error::Error;
use std::io;
use std::time::Duration;

use aplomb::circuit_breaker::CircuitOpen;
use aplomb::provider::OpenAi;
use aplomb::rate_limit::Quota;
use aplomb::{Attempt, EndpointError, EndpointLayer, Kind, LayerName, Policy, Report, find};
use aplomb::{Classification, Reason};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};

use crate::calls::{chat, under};
use crate::script::{Reply, Server, Step, data, done, word};

const S: Duration = Duration::from_secs(1);

fn error(status: u16, body: &str) -> Reply {
    Reply { status, ..Reply::of("application/json", [data(body)]) }
}

fn usage() -> Step {
    data("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":40,\"completion_tokens\":2}}\n\n")
}

#[tokio::test(start_paused = true)]
async fn a_response_tells_of_each_attempt_and_where_the_time_went() {
    let mut throttled =
        error(429, r#"{"error":{"code":"rate_limit_exceeded","message":"slow down, secret"}}"#);
    throttled.headers.push(("retry-after", "7".to_owned()));
    let overloaded = error(503, r#"{"error":{"type":"overloaded_error"}}"#).after(S);
    let well = Reply::stream([word("well"), Step::Wait(S), usage(), done()]);
    let server = Server::new([throttled, overloaded, well]);
    let start = Instant::now();
    let endpoint = EndpointLayer::new(OpenAi).layer(server);
    let response = endpoint.oneshot(chat("tell me a secret", true)).await.unwrap();
    let report = Report::of(&response).unwrap();
    assert_eq!((report.provider(), report.sent()), ("openai", 3));
    assert_eq!(report.elapsed(), start.elapsed());
    let attempts = report.attempts();
    let told: Vec<_> = attempts
        .iter()
        .map(|attempt| {
            (attempt.status().unwrap().as_u16(), attempt.outcome().unwrap().kind(), attempt.reason())
        })
        .collect();
    assert_eq!(
        told,
        [
            (429, Kind::Throttled, Some(Reason::RateLimited)),
            (503, Kind::Transient, Some(Reason::Overloaded)),
            (200, Kind::Success, None),
        ]
    );
    assert_eq!(attempts[1].took(), Some(S), "{report}");
    // A hint is waited out, and so is a backoff.
    assert!(attempts[1].waited() >= 7 * S && attempts[1].queued().is_zero(), "{report}");
    assert!(!attempts[2].waited().is_zero(), "{report}");
    let spent: Duration = attempts.iter().map(|a| a.queued() + a.waited() + a.took().unwrap()).sum();
    assert_eq!(spent, report.elapsed(), "{report}");
    assert_eq!(
        (report.queued(), report.waited()),
        (attempts.iter().map(Attempt::queued).sum(), attempts.iter().map(Attempt::waited).sum(),)
    );
    // It also has what comes later.
    assert_eq!(report.usage(), None);
    response.into_body().collect().await.unwrap();
    assert_eq!(report.usage().unwrap().total(), Some(42));
    let shown = format!("{report} {report:?}");
    assert!(
        shown.starts_with("3 attempts in ")
            && shown.contains("1. throttled, retry after 7.0s (429, rate_limited")
    );
    assert!(!shown.contains("secret"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_an_answer_says_why_and_stays_what_it_is() {
    let body = r#"{"error":{"code":"insufficient_quota","message":"pay"}}"#;
    let endpoint = EndpointLayer::new(OpenAi).layer(Server::new([error(429, body)]));
    let response = endpoint.oneshot(chat("hello", false)).await.unwrap();
    let report = Report::of(&response).unwrap();
    assert_eq!(report.outcome().unwrap().kind(), Kind::Exhausted);
    assert_eq!(report.attempts()[0].reason(), Some(Reason::QuotaExhausted));
    let judged = response.extensions().get::<Classification>().unwrap().clone();
    assert_eq!((judged.reason(), judged.message()), (Some(Reason::QuotaExhausted), Some("pay")));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_later_is_told_in_the_same_account() {
    let server = Server::new([Reply::stream([word("half"), Step::Cut])]);
    let response = EndpointLayer::new(OpenAi).layer(server).oneshot(chat("hello", true)).await.unwrap();
    let report = Report::of(&response).unwrap();
    assert!(report.outcome().unwrap().is_success());
    response.into_body().collect().await.unwrap_err();
    assert_eq!(report.outcome().unwrap().kind(), Kind::Transient);
}

async fn fails(layer: &EndpointLayer, server: &Server) -> EndpointError {
    layer.layer(server.clone()).oneshot(chat("hello", true)).await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn an_error_tells_who_refused_when_to_come_back_and_what_was_tried() {
    let layer = under(Policy::new().fail_fast().max_wait(S).quota(Quota::requests_per_minute(60).burst(3)));
    let server = Server::new([error(503, "")]);
    layer.handle().force_open();
    let open = fails(&layer, &server).await;
    assert!(find::<CircuitOpen>(&open).is_some());
    let refused = open.refused().unwrap();
    assert_eq!((refused.layer(), refused.retry_after()), (LayerName::CircuitBreaker, open.retry_after()));
    assert!(open.retry_after().is_some_and(|after| after <= 2 * S));
    assert_eq!((open.report().sent(), open.outcome(), server.seen()), (0, None, 0));
    assert_eq!(open.to_string(), "call ended by the circuit breaker (nothing sent in 0.0ns)");

    // Its last attempt was sent, and the next one refused.
    layer.handle().reset();
    let server = Server::new([error(503, ""), error(503, "").after(S)]);
    let layer = under(Policy::new().max_wait(Duration::ZERO).quota(Quota::requests_per_hour(2).burst(2)));
    let exceeded = fails(&layer, &server).await;
    assert_eq!((exceeded.report().sent(), server.seen()), (2, 2));
    assert_eq!(exceeded.refused().unwrap().attempts(), 2);
    assert_eq!(exceeded.outcome().unwrap().kind(), Kind::Transient);
    assert!(exceeded.retry_after().is_some_and(|after| after > 20 * 60 * S));
}

// A printed chain says everything once, and the report says why each attempt failed.
#[tokio::test(start_paused = true)]
async fn an_error_does_not_repeat_its_cause_and_every_attempt_shows_its_own() {
    let client = service_fn(async |_: http::Request<Full<Bytes>>| {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens on port 9");
        Err::<http::Response<Full<Bytes>>, _>(io::Error::other(refused))
    });
    let layer = under(Policy::new().max_retries(1));
    let error = layer.layer(client).oneshot(chat("hello", false)).await.unwrap_err();
    let shown = error.to_string();
    assert!(shown.starts_with("call failed (2 attempts in "), "{shown}");
    assert_eq!(shown.matches("transient failure (nobody listens on port 9, after").count(), 2, "{shown}");
    assert_eq!(error.report().attempts()[0].cause(), Some("nobody listens on port 9"));
    let cause = error.source().unwrap();
    assert!(cause.is::<io::Error>());
    assert_eq!(shown.matches(&cause.to_string()).count(), 2, "once for each attempt: {shown}");
    assert!(shown.ends_with(')'), "{shown}");

    // A program whose `main` returns the error prints this.
    let debugged = format!("{error:?}");
    let report = error.report().to_string();
    assert!(debugged.starts_with(&format!("EndpointError {{ report: {report}, cause: ")), "{debugged}");
    assert_eq!(debugged.matches("after ").count(), 2, "{debugged}");
}

// A redirect does not answer a request that asks for something.
#[tokio::test(start_paused = true)]
async fn a_redirect_of_a_post_is_not_a_success() {
    for status in [302, 101, 308] {
        let server = Server::new([error(status, "")]);
        let layer = under(Policy::new());
        let response = layer.layer(server.clone()).oneshot(chat("hello", false)).await.unwrap();
        assert_eq!(response.status(), status, "it is handed on");
        let report = Report::of(&response).unwrap();
        assert_eq!(report.outcome().unwrap().kind(), Kind::Permanent, "{status}");
        assert_eq!(server.seen(), 1);

        let get = http::Request::get("/v1/models").body(Full::<Bytes>::default()).unwrap();
        let response = layer.layer(server).oneshot(get).await.unwrap();
        assert!(Report::of(&response).unwrap().outcome().unwrap().is_success());
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_sent_for_ever_keeps_a_short_account() {
    let server = Server::new([error(503, "")]);
    let layer = under(Policy::new().max_retries(100).trip(aplomb::circuit_breaker::Trip::consecutive(1_000)));
    let response = layer.layer(server).oneshot(chat("hello", true)).await.unwrap();
    let report = Report::of(&response).unwrap();
    assert_eq!((report.sent(), report.attempts().len()), (101, 16));
    assert_eq!(report.attempts()[15].number(), 101);
}

// A caller that has gone away has no answer.
#[tokio::test(start_paused = true)]
async fn the_account_of_a_stream_that_was_dropped_is_no_success() {
    let layer = under(Policy::new());
    let endpoint = layer.layer(Server::new([Reply::stream([word("a"), Step::Wait(S), word("b"), done()])]));
    let response = endpoint.oneshot(chat("hello", true)).await.unwrap();
    let report = Report::of(&response).unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert!(!report.outcome().unwrap().is_success(), "{report}");
}
