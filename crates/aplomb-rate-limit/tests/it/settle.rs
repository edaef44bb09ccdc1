//! Charges are settled when their calls end or are dropped.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aplomb_core::{BoxError, Classification, Classify, Exchange, Outcome, Usage};
use aplomb_rate_limit::{Charge, Dimension, FromBody, Quota, RateLimitLayer, RateLimiter, Reading, Settle};
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio_test::task;
use tower::{Layer, Service, service_fn};

const S: Duration = Duration::from_secs(1);

/// 1,000 tokens, settled in each of the three ways.
fn three_ways() -> [Quota; 3] {
    let settled = |window, how| Quota::new(Dimension::TOKENS, 1_000, window * S).settle(how);
    [
        settled(3_600, Settle::Keep),
        settled(3_601, Settle::Correct),
        settled(3_602, Settle::DebtOnly),
    ]
}

fn left(limiter: &RateLimiter) -> Vec<i64> {
    limiter.snapshot().available().iter().map(|(_, left)| *left).collect()
}

#[tokio::test(start_paused = true)]
async fn promise_21_each_quota_settles_in_its_own_way() {
    for (actual, expected) in [(40, [900, 960, 900]), (100, [900; 3]), (150, [900, 850, 850])] {
        let limiter = RateLimiter::new(three_ways());
        let mut permit = limiter.acquire(Charge::request().output_tokens(100)).await.unwrap();
        permit.sent();
        permit.settle(&Charge::request().output_tokens(actual));
        assert_eq!(left(&limiter), expected, "used {actual}");
    }
}

#[tokio::test(start_paused = true)]
async fn by_default_requests_are_kept_and_tokens_are_settled_with_debts_only() {
    assert_eq!(Quota::requests_per_minute(60).settles(), Settle::Keep);
    assert_eq!(Quota::tokens_per_minute(60).settles(), Settle::DebtOnly);
}

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

/// A body of words, one a frame, then its end, an error, or nothing any more.
struct Words {
    left: usize,
    end: fn() -> Polled,
    exchange: Exchange,
}

impl Body for Words {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled {
        if self.left == 0 {
            return (self.end)();
        }
        self.left -= 1;
        let said = self.exchange.usage().and_then(|usage| usage.output()).unwrap_or(0);
        self.exchange.add_usage(Usage::unknown().with_input(10).with_output(said + 50));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"word ")))))
    }
}

/// Judges a response by the record that its body keeps.
#[derive(Clone)]
struct Live;

impl<E> Classify<http::Response<Words>, E> for Live {
    fn classify(&self, result: Result<&http::Response<Words>, &E>) -> Classification {
        match result {
            Ok(response) => Classification::live(response.body().exchange.clone()),
            Err(_) => Outcome::transient().into(),
        }
    }
}

fn speaking(
    limiter: &RateLimiter,
    words: usize,
    end: fn() -> Polled,
) -> impl Service<
    http::Request<String>,
    Response = http::Response<impl Body<Data = Bytes, Error = BoxError>>,
    Error = BoxError,
> {
    RateLimitLayer::with_limiter(limiter.clone())
        .cost(FromBody(|body: Option<Bytes>| {
            Charge::request().input_tokens(body.map_or(0, |body| body.len() as u64)).output_tokens(90)
        }))
        .classifier(Live)
        .until_body_end()
        .layer(service_fn(move |_: http::Request<String>| async move {
            let exchange = Exchange::new(Outcome::success());
            Ok::<_, BoxError>(http::Response::new(Words { left: words, end, exchange }))
        }))
}

fn ten_bytes() -> http::Request<String> {
    http::Request::new("0123456789".to_owned())
}

#[tokio::test(start_paused = true)]
async fn promise_21_a_stream_is_settled_at_its_end_with_what_its_reader_saw() {
    for (words, expected) in [(1, [900, 940, 900]), (4, [900, 790, 790])] {
        let limiter = RateLimiter::new(three_ways());
        let body = speaking(&limiter, words, || Poll::Ready(None))
            .call(ten_bytes())
            .await
            .unwrap()
            .into_body();
        assert_eq!(left(&limiter), [900; 3], "10 from the bytes of the body, and 90");
        body.collect().await.unwrap();
        assert_eq!(left(&limiter), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn promise_21_a_broken_or_dropped_stream_gives_nothing_back_and_owes_what_was_seen() {
    for (words, expected) in [(1, [900; 3]), (4, [900, 790, 790])] {
        let broken = RateLimiter::new(three_ways());
        let mut service = speaking(&broken, words, || Poll::Ready(Some(Err("cut".into()))));
        assert!(service.call(ten_bytes()).await.unwrap().into_body().collect().await.is_err());
        assert_eq!(left(&broken), expected);

        let dropped = RateLimiter::new(three_ways());
        let mut service = speaking(&dropped, words, || Poll::Pending);
        let mut body = Box::pin(service.call(ten_bytes()).await.unwrap().into_body());
        for _ in 0..words {
            body.frame().await.unwrap().unwrap();
        }
        assert_eq!(dropped.snapshot().in_flight(), 1);
        drop(body);
        assert_eq!((left(&dropped), dropped.snapshot().in_flight()), (expected.to_vec(), 0));
    }
}

/// Answers when it has been polled so often.
struct Slow(u32);

impl Future for Slow {
    type Output = Result<http::Response<()>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.0 == 0 {
            return Poll::Ready(Ok(http::Response::new(())));
        }
        self.0 -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Is ready when it has been asked so often.
#[derive(Clone)]
struct LongInReadying(u32);

impl Service<http::Request<()>> for LongInReadying {
    type Response = http::Response<()>;
    type Error = BoxError;
    type Future = Slow;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.0 == 0 {
            return Poll::Ready(Ok(()));
        }
        self.0 -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, _: http::Request<()>) -> Slow {
        Slow(2)
    }
}

#[tokio::test(start_paused = true)]
async fn promise_20_dropped_at_any_await_point_the_charge_is_where_it_belongs() {
    // Not polled; readying twice; sent and waiting for its answer twice; answered.
    for (polls, expected) in [2, 2, 2, 1, 1, 1].into_iter().enumerate() {
        let limiter = RateLimiter::new([Quota::requests_per_hour(1).burst(2)]);
        let mut service = RateLimitLayer::with_limiter(limiter.clone()).layer(LongInReadying(2));
        let mut call = task::spawn(service.call(http::Request::new(())));
        for poll in 1..=polls {
            assert_eq!(call.poll().is_ready(), poll == 5);
        }
        drop(call);
        assert_eq!(left(&limiter), [expected], "after {polls} polls");
        assert_eq!((limiter.snapshot().in_flight(), limiter.snapshot().waiting()), (0, 0));
    }
    // The same while it waits for its turn.
    let limiter = RateLimiter::new([Quota::requests_per_hour(60)]);
    limiter.acquire(Charge::request()).await.unwrap().end(Outcome::success());
    let mut service = RateLimitLayer::with_limiter(limiter.clone()).layer(LongInReadying(0));
    let mut call = task::spawn(service.call(http::Request::new(())));
    assert!(call.poll().is_pending());
    assert_eq!(limiter.snapshot().waiting(), 1);
    drop(call);
    assert_eq!((left(&limiter), limiter.snapshot().waiting()), (vec![0], 0));
    tokio::time::sleep(60 * S).await;
    assert_eq!(left(&limiter), [1]);
}

#[tokio::test(start_paused = true)]
async fn promise_20_an_admitted_call_that_is_dropped_unpolled_gives_back_what_it_drew() {
    let limiter = RateLimiter::new([Quota::requests_per_second(1)]);
    drop(limiter.acquire(Charge::request()).await.unwrap());
    let mut first = limiter.acquire(Charge::request()).await.unwrap();
    first.sent();
    let mut second = task::spawn(limiter.acquire(Charge::request()));
    assert!(second.poll().is_pending());
    // A moment is left to it to be polled.
    tokio::time::sleep(S + S / 100).await;
    assert_eq!(limiter.snapshot().in_flight(), 2, "it has been admitted, without being polled");
    drop(second);
    assert_eq!((limiter.snapshot().in_flight(), left(&limiter)), (1, vec![1]));
}

#[tokio::test(start_paused = true)]
async fn promise_20_a_panic_in_the_inner_call_leaves_nothing_stuck() {
    let limiter = RateLimiter::new([Quota::requests_per_second(2)]);
    let mut service = RateLimitLayer::with_limiter(limiter.clone())
        .layer(service_fn(|_: http::Request<()>| -> Slow { panic!("in the inner call") }));
    let mut call = Box::pin(service.call(http::Request::new(())));
    let polled = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let _ = call.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop()));
    }));
    assert!(polled.is_err());
    drop(call);
    assert_eq!((limiter.snapshot().in_flight(), left(&limiter)), (0, vec![1]));
    drop(limiter.acquire(Charge::request()).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn promise_23_what_the_server_did_not_have_is_not_there_after_the_pause_either() {
    let limiter = RateLimiter::new([
        Quota::requests_per_minute(60).burst(60),
        Quota::tokens_per_minute(6_000),
    ]);
    let left = || limiter.snapshot().available().iter().map(|(_, left)| *left).collect::<Vec<_>>();
    let refused = |tokens| {
        let acquired = limiter.acquire(Charge::request().input_tokens(tokens));
        async move {
            let mut permit = acquired.await.unwrap();
            permit.sent();
            permit.end(Outcome::throttled().with_retry_after(2 * S));
        }
    };
    // 5,000 tokens were thought to be left. Requests are not estimated: they are there.
    refused(1_000).await;
    assert_eq!(left(), [59, -200]);
    tokio::time::sleep(2 * S).await;
    assert_eq!(left(), [60, 0]);
    // A refusal about a shortage that is already known costs nothing more.
    limiter
        .acquire(Charge::request().input_tokens(500))
        .await
        .unwrap()
        .end(Outcome::success());
    tokio::time::sleep(10 * S).await;
    let before = left()[1];
    refused(0).await;
    assert_eq!(left()[1], before, "a call without tokens says nothing of them");
}

/// Left of 60 requests and of 6,000 tokens when a call of 1,000 tokens was refused so, in a pause of 2 s.
async fn left_after(outcome: Outcome, readings: &[Reading]) -> Vec<i64> {
    let limiter = RateLimiter::new([
        Quota::requests_per_minute(60).burst(60),
        Quota::tokens_per_minute(6_000),
    ]);
    let mut permit = limiter.acquire(Charge::request().input_tokens(1_000)).await.unwrap();
    permit.sent();
    permit.limits(readings);
    permit.end(outcome.with_retry_after(2 * S));
    left(&limiter)
}

#[tokio::test(start_paused = true)]
async fn a_refusal_empties_the_quota_of_tokens_that_it_names_and_no_other() {
    let throttled = Outcome::throttled();
    let requests = Reading::of(Dimension::REQUESTS).with_limit(60);
    let tokens = Reading::of(Dimension::TOKENS).with_limit(6_000);
    let named = throttled.with_dimension(Dimension::REQUESTS);
    // Requests are counted exactly: the pause is enough, and a fixed window is whole when it ends.
    assert_eq!(left_after(named, &[]).await, [59, 5_000]);
    let named = throttled.with_dimension(Dimension::TOKENS);
    assert_eq!(left_after(named, &[]).await, [59, -200]);
    let named = throttled.with_dimension(Dimension::named("images"));
    assert_eq!(left_after(named, &[]).await, [59, 5_000]);
    let of_concurrency = throttled.of_concurrency();
    assert_eq!(left_after(of_concurrency, &[]).await, [59, 5_000]);
    // If it names none, the head of the response decides.
    assert_eq!(left_after(throttled, &[tokens.with_remaining(4_900)]).await, [59, 4_900]);
    assert_eq!(left_after(throttled, &[tokens.with_remaining(400)]).await, [59, 400]);
    assert_eq!(left_after(throttled, &[requests.with_remaining(0)]).await, [0, 5_000]);
    assert_eq!(left_after(throttled, &[requests.with_remaining(50)]).await, [50, -200]);
    let both = [requests.with_remaining(50), tokens.with_remaining(4_900)];
    assert_eq!(left_after(throttled, &both).await, [50, 4_900]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_without_a_word_empties_the_quota_that_was_closest_to_empty() {
    for (requests, tokens, expected) in [(55, 0, [4, 5_000]), (0, 4_000, [59, -200])] {
        let limiter = RateLimiter::new([
            Quota::requests_per_minute(60).burst(60),
            Quota::tokens_per_minute(6_000),
        ]);
        let others = Charge::request().requests(requests).input_tokens(tokens);
        limiter.acquire(others).await.unwrap().end(Outcome::success());
        let mut permit = limiter.acquire(Charge::request().input_tokens(1_000)).await.unwrap();
        permit.sent();
        permit.end(Outcome::throttled().with_retry_after(2 * S));
        assert_eq!(left(&limiter), expected);
    }
}
