//! Each part of an attempt that may take too long.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aplomb::circuit_breaker::{CircuitState, Trip};
use aplomb::provider::OpenAi;
use aplomb::{
    BoxError, CallOptions, DeadlinePassed, EndpointLayer, Exchange, Kind, Policy, Rejection, TimedOut,
    Timeout, find,
};
use aplomb_mock::{Fault, Mock, Plan};
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};

use crate::calls::{ask, chat, under};
use crate::clients::silent;
use crate::script::{Reply, Server, Step, data, done, ping, word};

const S: Duration = Duration::from_secs(1);

/// Asks, and reads to the end; how long that took, and the error of the call or of the body.
async fn send(layer: &EndpointLayer, server: &Server) -> (Duration, Result<String, BoxError>) {
    let start = Instant::now();
    let call = async {
        let response = layer.layer(server.clone()).oneshot(http::Request::new(String::new())).await?;
        let body = response.into_body().collect().await?.to_bytes();
        Ok(String::from_utf8_lossy(&body).into_owned())
    };
    let answer = call.await;
    (start.elapsed(), answer)
}

fn policy() -> Policy {
    Policy::new()
        .head_timeout(3 * S)
        .content_timeout(10 * S)
        .idle_timeout(5 * S)
        .attempt_timeout(30 * S)
}

fn well() -> Reply {
    Reply::stream([word("well"), done()])
}

fn pings(seconds: usize) -> impl Iterator<Item = Step> {
    std::iter::repeat_n([Step::Wait(S), ping()], seconds).flatten()
}

fn timed_out(error: &BoxError) -> (Timeout, Duration) {
    let timed_out = find::<TimedOut>(&**error).unwrap_or_else(|| panic!("{error}"));
    (timed_out.timeout(), timed_out.after())
}

#[tokio::test(start_paused = true)]
async fn what_is_late_before_anything_reached_the_caller_is_sent_again() {
    for (late, timeout, after) in [
        (well().after(4 * S), Timeout::Head, 3 * S),
        (Reply::stream(pings(60)), Timeout::Content, 10 * S),
        (Reply::stream([Step::Wait(60 * S)]).after(2 * S), Timeout::Content, 10 * S),
    ] {
        let server = Server::new([late.clone(), well()]);
        let (_, answer) = send(&under(policy()), &server).await;
        assert!(answer.unwrap().contains("well"));
        assert_eq!(server.seen(), 2);
        let server = Server::new([late]);
        let (took, answer) = send(&under(policy().max_retries(0)), &server).await;
        assert_eq!(timed_out(&answer.unwrap_err()), (timeout, after));
        assert!(took >= after && took <= after + S / 10, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_answer_hangs_in_the_mocks_own_way_and_is_sent_again() {
    for stream in [false, true] {
        let mock = Mock::builder().plan(Plan::default().attempt(1, Fault::Hang)).build();
        ask(under(policy()).layer(mock.clone()), chat("hello", stream)).await.unwrap();
        assert_eq!(mock.stats().seen, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_goes_silent_ends_with_an_error_pings_or_not() {
    let silent = || [word("some"), Step::Wait(S)].into_iter();
    for (steps, took) in [
        (silent().chain([Step::Wait(60 * S)]).collect::<Vec<_>>(), 5 * S),
        (silent().chain(pings(60)).collect(), 5 * S),
        (silent().chain([word("more")]).chain(pings(60)).collect(), 6 * S),
    ] {
        let server = Server::new([Reply::stream(steps)]);
        let (elapsed, answer) = send(&under(policy()), &server).await;
        assert_eq!(timed_out(&answer.unwrap_err()), (Timeout::Idle, 5 * S));
        assert!(elapsed >= took && elapsed <= took + S / 10, "{elapsed:?}");
        assert_eq!(server.seen(), 1, "some of it had reached the caller");
    }
}

#[tokio::test(start_paused = true)]
async fn who_went_silent_may_still_be_at_work() {
    let server = Server::new([Reply::stream([word("some"), Step::Wait(60 * S)])]);
    let response = under(policy()).layer(server).oneshot(http::Request::new(String::new())).await.unwrap();
    let exchange = response.extensions().get::<Exchange>().unwrap().clone();
    timed_out(&response.into_body().collect().await.unwrap_err());
    assert_eq!(exchange.outcome().kind(), Kind::Transient);
    assert!(exchange.outcome().is_unanswered());
}

#[tokio::test(start_paused = true)]
async fn with_whole_answers_all_of_them_are_retried() {
    let endless = std::iter::repeat_n([word("on"), Step::Wait(S)], 90).flatten();
    for late in [
        Reply::stream(pings(60)),
        Reply::stream([word("some")].into_iter().chain(pings(60))),
        Reply::stream(endless),
    ] {
        let server = Server::new([late, well()]);
        let (_, answer) = send(&under(policy().whole_answers(1 << 20)), &server).await;
        assert!(answer.unwrap().contains("well"));
        assert_eq!(server.seen(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_has_ended_is_not_late_where_its_connection_is_left_open() {
    let server = Server::new([Reply::stream([word("well"), done(), Step::Wait(600 * S)])]);
    for layer in [
        under(policy()),
        under(Policy::new().deadline(2 * S)),
        under(policy().whole_answers(1 << 20)),
    ] {
        let handle = layer.handle();
        assert!(send(&layer, &server).await.1.unwrap().contains("well"));
        let tally = handle.circuit().unwrap().window();
        assert_eq!((tally.calls(), tally.failures()), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_does_not_end_is_ended() {
    let endless = std::iter::repeat_n([word("on"), Step::Wait(S)], 90).flatten();
    let server = Server::new([Reply::stream(endless)]);
    let (took, answer) = send(&under(policy()), &server).await;
    assert_eq!(timed_out(&answer.unwrap_err()), (Timeout::Attempt, 30 * S));
    assert!(took >= 30 * S && took <= 30 * S + S / 10);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_holds_to_the_end_of_the_body_and_is_held_against_nobody() {
    let endless = || Reply::stream(std::iter::repeat_n([word("on"), Step::Wait(S)], 90).flatten());
    let server = Server::new([Reply::stream([]), endless()]);
    let layer = under(Policy::new().idle_timeout(5 * S).deadline(7 * S));
    let handle = layer.handle();
    let (took, answer) = send(&layer, &server).await;
    let error = answer.unwrap_err();
    let passed = find::<DeadlinePassed>(&*error).unwrap_or_else(|| panic!("{error}"));
    assert!(took >= 7 * S && took <= 7 * S + S / 10);
    assert_eq!(passed.elapsed().as_secs(), 7, "since the call began");
    let refused = find::<Rejection>(&*error).unwrap();
    assert_eq!((refused.attempts(), refused.last().unwrap().kind()), (2, Kind::Transient));
    assert_eq!(handle.in_flight(), 0);
    assert_eq!(handle.circuit().unwrap().window().failures(), 1, "that of the first attempt");

    let mut request = http::Request::new(String::new());
    request.extensions_mut().insert(CallOptions::new().with_deadline(Instant::now() + 2 * S));
    let endpoint = EndpointLayer::new(OpenAi).layer(Server::new([endless()]));
    let body = endpoint.oneshot(request).await.unwrap().into_body();
    let error = body.collect().await.unwrap_err();
    assert!(find::<DeadlinePassed>(&*error).is_some(), "{error}");
}

// The bytes of an endless answer are always ready for a reader that takes one frame every 50 ms.
#[tokio::test(start_paused = true)]
async fn deadline_and_attempt_timeout_hold_while_bytes_are_always_ready() {
    let endless = || Server::new([Reply::stream(std::iter::repeat_n(word("on"), 10_000))]);
    for (policy, ends) in [
        (Policy::new().deadline(2 * S), 2 * S),
        (policy().attempt_timeout(10 * S), 10 * S),
    ] {
        let layer = under(policy.concurrency(1));
        let handle = layer.handle();
        let start = Instant::now();
        let call = layer.layer(endless()).oneshot(http::Request::new(String::new()));
        let mut body = call.await.unwrap().into_body();
        let error = loop {
            match body.frame().await.expect("the answer has no end") {
                Ok(_) => sleep(S / 20).await,
                Err(error) => break error,
            }
            assert!(start.elapsed() < 20 * S, "it goes on and on");
        };
        assert!(start.elapsed() >= ends && start.elapsed() <= ends + S / 10, "{:?}", start.elapsed());
        if ends == 2 * S {
            assert!(find::<DeadlinePassed>(&*error).is_some(), "{error}");
        } else {
            assert_eq!(timed_out(&error), (Timeout::Attempt, ends));
        }
        assert_eq!(handle.in_flight(), 0);
    }
}

// Nothing can follow the end marker but the end; a connection that stays open does not hold the call's place.
#[tokio::test(start_paused = true)]
async fn a_connection_left_open_after_the_end_marker_is_not_waited_for() {
    let pings = std::iter::repeat_n([Step::Wait(S / 4), ping()], 4_000).flatten();
    for after in [vec![Step::Wait(1_000 * S)], pings.collect()] {
        let steps = [vec![word("well"), done()], after].concat();
        let layer = under(Policy::new().concurrency(1));
        let handle = layer.handle();
        let (took, answer) = send(&layer, &Server::new([Reply::stream(steps)])).await;
        assert!(answer.unwrap().contains("well"));
        assert!(took <= 2 * S, "{took:?}");
        assert_eq!(handle.in_flight(), 0);
        assert_eq!(handle.circuit().unwrap().window().failures(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn who_reads_slowly_does_not_make_the_server_slow() {
    let server = Server::new([Reply::stream([
        word("a"),
        word("b"),
        ping(),
        Step::Wait(4 * S),
        word("c"),
        done(),
    ])]);
    let response = under(policy()).layer(server).oneshot(http::Request::new(String::new())).await.unwrap();
    let mut body = response.into_body();
    let mut frames = 0;
    while let Some(frame) = body.frame().await {
        frame.unwrap();
        frames += 1;
        sleep(4 * S).await;
    }
    assert_eq!(frames, 5);
}

#[tokio::test(start_paused = true)]
async fn every_timeout_counts_with_the_circuit() {
    for late in [
        well().after(60 * S),
        Reply::stream(pings(60)),
        Reply::stream([word("some"), Step::Wait(60 * S)]),
    ] {
        let server = Server::new([late]);
        let layer = under(policy().max_retries(0).trip(Trip::consecutive(2)));
        let handle = layer.handle();
        for _ in 0..2 {
            assert_eq!(handle.circuit().unwrap().state(), CircuitState::Closed);
            timed_out(&send(&layer, &server).await.1.unwrap_err());
        }
        assert_eq!(handle.circuit().unwrap().state(), CircuitState::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn completions_that_take_minutes_arrive_with_the_defaults() {
    let layer = EndpointLayer::new(OpenAi);
    let minute = 60 * S;
    let words = std::iter::repeat_n([word("on"), Step::Wait(minute)], 50).flatten();
    for reply in [
        // An answer that does not stream has its head when it is there.
        Reply::of("application/json", [crate::script::data("{}")]).after(9 * minute),
        // A model that thinks, and says nothing while it does.
        Reply::stream([ping(), Step::Wait(9 * minute), word("thought"), done()]),
        Reply::stream([
            word("I look that up"),
            Step::Wait(4 * minute),
            word("found"),
            done(),
        ]),
        Reply::stream(words.chain([done()])),
    ] {
        let server = Server::new([reply]);
        let (_, answer) = send(&layer, &server).await;
        answer.unwrap();
        assert_eq!(server.seen(), 1);
    }
}

// The error says that the attempt has been dropped: so it is, even while the caller keeps the finished future.
#[tokio::test(start_paused = true)]
async fn a_deadline_drops_the_attempt_though_its_future_is_held() {
    let layer = under(Policy::new().deadline(S).concurrency(1));
    let handle = layer.handle();
    let mut call = pin!(layer.layer(silent()).oneshot(chat("hello", false)));
    let error = (&mut call).await.unwrap_err();
    assert!(find::<DeadlinePassed>(&error).is_some());
    assert_eq!(handle.in_flight(), 0);
}

// There is no time for a response.
#[tokio::test(start_paused = true)]
async fn a_deadline_in_the_past_sends_nothing() {
    let server = Server::new([Reply::json(200)]);
    let layer = under(Policy::new());
    let mut request = chat("hello", false);
    request.extensions_mut().insert(CallOptions::new().with_deadline(Instant::now()));
    let error = layer.layer(server.clone()).oneshot(request).await.unwrap_err();
    assert_eq!(server.seen(), 0, "{error}");
}

// An error's body that never ends does not keep the call from being sent again.
#[tokio::test(start_paused = true)]
async fn a_stalled_error_does_not_keep_a_call() {
    let mut down = Reply::of("application/json", [data("{"), Step::Wait(100_000 * S)]);
    down.status = 503;
    let layer = under(Policy::new());
    let endpoint = layer.layer(Server::new([down, Reply::json(200)]));
    let start = Instant::now();
    assert_eq!(endpoint.oneshot(chat("hello", false)).await.unwrap().status(), 200);
    assert!(start.elapsed() < 8 * S, "{:?}", start.elapsed());
    assert_eq!(layer.handle().circuit().unwrap().window().calls(), 1);
}

// Everything has been read: the end marker says so, and a connection that is left open is not waited for.
#[tokio::test(start_paused = true)]
async fn a_whole_stream_is_handed_on_at_its_end_marker() {
    let server = Server::new([Reply::stream([word("a"), done(), Step::Wait(100_000 * S)])]);
    let endpoint = under(Policy::new().whole_answers(1 << 20)).layer(server);
    let start = Instant::now();
    endpoint.oneshot(chat("hello", true)).await.unwrap();
    assert!(start.elapsed() < 30 * S, "{:?}", start.elapsed());
}

/// Notes that it is dropped, and never says anything more.
struct Hangs(Arc<AtomicU32>, bool);

impl Drop for Hangs {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Body for Hangs {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if std::mem::replace(&mut self.1, false) {
            let word = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
            return Poll::Ready(Some(Ok(Frame::data(word.into()))));
        }
        Poll::Pending
    }
}

// The error says that the attempt has been dropped: so is the client's body, while the caller still holds the
// response's.
#[tokio::test(start_paused = true)]
async fn a_timeout_in_the_body_drops_the_clients_body() {
    let dropped = Arc::new(AtomicU32::new(0));
    let counts = Arc::clone(&dropped);
    let client = service_fn(move |_: http::Request<Full<Bytes>>| {
        let body = Hangs(Arc::clone(&counts), true);
        async move {
            Ok::<_, io::Error>(
                http::Response::builder().header("content-type", "text/event-stream").body(body).unwrap(),
            )
        }
    });
    let mut body = under(Policy::new()).layer(client).oneshot(chat("hello", true)).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().is_ok());
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(find::<TimedOut>(&*error).is_some());
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}
