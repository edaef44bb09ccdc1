//! The usage and the limits that answers report, read to their end or dropped before it.

use std::time::Duration;

use aplomb::core::{Dimension, Reading};
use aplomb::provider::{Head, Provider};
use aplomb::rate_limit::{Charge, Quota, Settle};
use aplomb::{BoxError, EndpointLayer, Exchange, Policy};
use aplomb_mock::Mock;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};

use crate::calls::{ask, chat, read, under};
use crate::script::{Reply, Server, Step, USAGE, data, done, ping, word};

const S: Duration = Duration::from_secs(1);

fn tokens() -> Policy {
    Policy::new().quota(Quota::tokens_per_minute(1_000_000).settle(Settle::Correct))
}

fn charged(mut request: http::Request<Full<Bytes>>) -> http::Request<Full<Bytes>> {
    request.extensions_mut().insert(Charge::request().input_tokens(500_000));
    request
}

/// The remainder of the quota when 42 tokens were used, while time stands still.
const AFTER: i64 = 1_000_000 - 42;

#[tokio::test(start_paused = true)]
async fn what_was_used_settles_the_charge_wherever_it_is_said() {
    let json =
        r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":40,"completion_tokens":2}}"#;
    let halves = json.split_at(30);
    for reply in [
        Reply::stream([word("hi"), data(USAGE), done()]),
        Reply::of("application/json", [data(json)]),
        Reply::of("application/json", [data(halves.0), data(halves.1)]),
    ] {
        for policy in [tokens(), tokens().whole_answers(1 << 20)] {
            let layer = under(policy);
            let handle = layer.handle();
            let request = charged(chat("hello", true));
            let response = layer.layer(Server::new([reply.clone()])).oneshot(request).await.unwrap();
            let exchange = response.extensions().get::<Exchange>().unwrap().clone();
            assert_eq!(handle.available()[0].1, 500_000, "nothing has been read");
            assert!(read(response.into_body()).await.1.is_none());
            assert_eq!(handle.available()[0].1, AFTER);
            assert_eq!(exchange.usage().unwrap().total(), Some(42));
            assert!(exchange.is_whole());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_stops_at_the_end_marker_has_had_a_whole_answer_and_who_stops_earlier_not() {
    for (frames, left, successes) in [(3, AFTER, 1), (2, 500_000, 0), (1, 500_000, 0)] {
        let layer = under(tokens());
        let handle = layer.handle();
        let server = Server::new([Reply::stream([
            word("hi"),
            data(USAGE),
            done(),
            Step::Wait(99 * S),
        ])]);
        let response = layer.layer(server).oneshot(charged(chat("hello", true))).await.unwrap();
        let mut body = response.into_body();
        for _ in 0..frames {
            body.frame().await.unwrap().unwrap();
        }
        assert_eq!(handle.in_flight(), 1);
        drop(body);
        assert_eq!((handle.in_flight(), handle.available()[0].1), (0, left));
        assert_eq!(handle.circuit().unwrap().window().calls(), successes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_stream_gives_nothing_back() {
    let layer = under(tokens());
    let handle = layer.handle();
    let server = Server::new([Reply::stream([word("hi"), data(USAGE)])]);
    let response = layer.layer(server).oneshot(charged(chat("hello", true))).await.unwrap();
    assert!(read(response.into_body()).await.1.is_some());
    assert_eq!(handle.available()[0].1, 500_000);
}

/// Reads one limit, as a dialect does.
#[derive(Debug)]
struct Told;

impl Provider for Told {
    fn name(&self) -> &'static str {
        "told"
    }

    fn limits(&self, head: &Head<'_>) -> Vec<Reading> {
        let number = |name| head.header(name).and_then(|text| text.parse().ok());
        let limit = number("x-ratelimit-limit-requests").zip(number("x-ratelimit-remaining-requests"));
        let reading = limit.map(|(limit, remaining)| {
            let window = Duration::from_secs(60);
            Reading::of(Dimension::REQUESTS)
                .with_limit(limit)
                .with_remaining(remaining)
                .with_window(window)
        });
        reading.into_iter().collect()
    }
}

#[tokio::test(start_paused = true)]
async fn the_limits_that_heads_tell_of_are_learned_kept_and_remembered() {
    let mock = Mock::builder().requests_per_minute(600).request_burst(20).build();
    let layer = EndpointLayer::new(Told);
    let handle = layer.handle();
    assert!(handle.learned().known_quotas().is_empty());
    ask(layer.layer(mock), chat("hello", true)).await.unwrap();
    let learned = handle.learned();
    let quota = learned.known_quotas()[0];
    assert_eq!((quota.dimension(), quota.amount()), (Dimension::REQUESTS, 600));
    assert_eq!(handle.available()[0].0, quota);
    let next_run = EndpointLayer::new(Told).handle();
    next_run.remember(&learned);
    assert_eq!(next_run.available()[0].0, quota);
}

/// Polls the whole of a call, body included, so often and then drops it; says whether it had ended.
async fn dropped_after(polls: usize, endpoint: aplomb::Endpoint<Server>) -> bool {
    let call = async move {
        let response = endpoint.oneshot(charged(chat("hello", true))).await?;
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Ok::<_, BoxError>(())
    };
    let mut call = tokio_test::task::spawn(call);
    for _ in 0..polls {
        if call.poll().is_ready() {
            return true;
        }
        // To where it would be woken.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_at_any_point_leaves_nothing_behind() {
    let pause = Step::Wait(Duration::from_millis(90));
    let failed = r#"data: {"error":{"message":"","type":"server_error"}}"#;
    let stream = vec![
        pause.clone(),
        ping(),
        pause.clone(),
        word("a"),
        pause.clone(),
        word("b"),
        pause,
        done(),
    ];
    let mut polls = 0;
    loop {
        let layer = under(tokens());
        let handle = layer.handle();
        let server = Server::new([
            Reply::stream([Step::Wait(S / 20), data(format!("{failed}\n\n"))]).after(S / 20),
            Reply::stream(stream.clone()).after(S / 20),
        ]);
        let ended = dropped_after(polls, layer.layer(server)).await;
        assert_eq!((handle.in_flight(), handle.waiting()), (0, 0), "dropped after {polls} polls");
        if ended {
            break;
        }
        polls += 1;
    }
    assert!(polls > 5, "{polls}");
}
