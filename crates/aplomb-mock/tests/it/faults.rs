//! Faults and outages, in process.

use std::io::ErrorKind;
use std::time::Duration;

use aplomb_mock::{Fault, Latency, Mock, Outage, Plan, answer};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};
use tower_service::Service;

use crate::support::{ANTHROPIC, Answer, OPENAI, ask, post, question, send, streamed};

const SECOND: Duration = Duration::from_secs(1);

fn first(fault: Fault) -> Mock {
    Mock::builder().plan(Plan::default().attempt(1, fault)).build()
}

fn error_type(answer: &Answer) -> String {
    answer.json()["error"]["type"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn statuses_come_in_each_providers_format() {
    let cases = [
        (Fault::InternalError, 500, "server_error", "api_error"),
        (Fault::Unavailable, 503, "service_unavailable_error", "api_error"),
        (Fault::Overloaded, 529, "server_error", "overloaded_error"),
    ];
    for (fault, status, openai, anthropic) in cases {
        let refused = ask(&first(fault), "p").await.unwrap();
        assert_eq!((refused.status.as_u16(), error_type(&refused).as_str()), (status, openai));
        let mock = first(fault);
        let refused = send(&mock, post(ANTHROPIC, question("p"))).await.unwrap();
        assert_eq!((refused.status.as_u16(), error_type(&refused).as_str()), (status, anthropic));
        // The next attempt succeeds.
        assert_eq!(send(&mock, post(ANTHROPIC, question("p"))).await.unwrap().status, 200);
        let stats = mock.stats();
        assert_eq!((stats.retries, stats.answered, stats.accepted), (1, 1, 2));
        assert_eq!(stats.faults, [(fault.name().to_owned(), 1)].into());
    }
}

#[tokio::test]
async fn a_bad_gateway_answers_html() {
    let refused = ask(&first(Fault::BadGateway), "p").await.unwrap();
    assert_eq!((refused.status.as_u16(), refused.header("content-type")), (502, Some("text/html")));
    assert!(refused.body.starts_with("<html>"));
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_server_can_say_for_how_long() {
    let mock = first(Fault::UnavailableFor(Duration::from_millis(1_200)));
    let refused = ask(&mock, "p").await.unwrap();
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, Some("2")));
    tokio::time::advance(Duration::from_millis(1_900)).await;
    ask(&mock, "p").await.unwrap();
    assert_eq!(mock.stats().early_retries, 1);
}

#[tokio::test]
async fn a_reset_is_an_error_of_that_kind() {
    assert_eq!(ask(&first(Fault::Reset), "p").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_hang_lasts_until_the_client_goes_away() {
    let mock = first(Fault::Hang);
    assert!(timeout(SECOND * 86_400, ask(&mock, "p")).await.is_err());
    let stats = mock.stats();
    assert_eq!((stats.in_flight, stats.max_in_flight, stats.abandoned), (0, 1, 0));
    assert_eq!(ask(&mock, "p").await.unwrap().status, 200);
    assert_eq!(mock.stats().retries, 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_sent_again_during_a_hang_is_a_retry() {
    let mock = first(Fault::Hang);
    let hanging = mock.clone();
    let hanging = tokio::spawn(async move { ask(&hanging, "p").await });
    tokio::task::yield_now().await;
    assert_eq!(ask(&mock, "p").await.unwrap().status, 200);
    assert_eq!((mock.stats().in_flight, mock.stats().retries), (1, 1));
    hanging.abort();
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_followed_by_the_whole_answer() {
    let (mock, start) = (first(Fault::SlowHead(SECOND * 5)), Instant::now());
    assert_eq!(ask(&mock, "p").await.unwrap().status, 200);
    assert_eq!(start.elapsed(), SECOND * 5);
    assert_eq!(mock.stats().answered, 1);
}

#[tokio::test]
async fn a_truncated_body_fails_in_the_middle() {
    for body in [question("p"), streamed("p")] {
        for path in [OPENAI, ANTHROPIC] {
            let mock = first(Fault::Truncate);
            let error = send(&mock, post(path, &body)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
            assert_eq!(mock.stats().answered, 0);
        }
    }
}

#[tokio::test]
async fn a_broken_body_goes_by_its_length_as_that_of_a_client_does() {
    for fault in [Fault::Truncate, Fault::Stall] {
        let answer = first(fault).call(post(OPENAI, question("p"))).await.unwrap();
        let length: u64 = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
        let mut body = answer.into_body();
        assert_eq!(body.size_hint().exact(), Some(length));
        let half = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(body.size_hint().exact(), Some(length - half.len() as u64));
        assert!(!body.is_end_stream());
    }
}

#[tokio::test]
async fn an_unfinished_stream_lacks_only_its_end_marker() {
    let stream = send(&first(Fault::Unfinished), post(OPENAI, streamed("p"))).await.unwrap();
    assert!(!stream.body.contains("[DONE]") && !stream.body.contains("stop"));
    assert_eq!(stream.events().len(), 1 + 16);
    let stream = send(&first(Fault::Unfinished), post(ANTHROPIC, streamed("p"))).await.unwrap();
    assert_eq!(stream.events().last().unwrap().0, Some("content_block_delta"));
}

#[tokio::test]
async fn a_stream_may_begin_with_an_error() {
    let stream = send(&first(Fault::StreamError), post(OPENAI, streamed("p"))).await.unwrap();
    let error = r#""message":"The server had an error while processing your request""#;
    assert!(
        stream.status == 200 && stream.events().len() == 1 && stream.body.contains(error),
        "{}",
        stream.body
    );
    let stream = send(&first(Fault::StreamError), post(ANTHROPIC, streamed("p"))).await.unwrap();
    assert!(stream.status == 200 && stream.body.starts_with("event: error\ndata: {"));
    assert!(stream.body.contains("overloaded_error"));
}

#[tokio::test]
async fn a_stream_may_break_off_with_an_error_after_content() {
    for path in [OPENAI, ANTHROPIC] {
        let stream = send(&first(Fault::LateStreamError), post(path, streamed("p"))).await.unwrap();
        let events = stream.events();
        assert!(events.last().unwrap().1.contains(r#""error""#));
        // The second word of the answer has arrived, the end has not.
        assert!(stream.body.contains(r#"" to""#) && !stream.body.contains("[DONE]"));
        assert!(!stream.body.contains("message_stop"));
    }
}

#[tokio::test]
async fn faults_of_streams_have_equivalents_without_one() {
    assert_eq!(ask(&first(Fault::StreamError), "p").await.unwrap().status, 500);
    for fault in [Fault::Unfinished, Fault::LateStreamError] {
        let mock = first(fault);
        assert_eq!(ask(&mock, "p").await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(mock.stats().faults, [(fault.name().to_owned(), 1)].into());
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_affects_every_request_while_it_lasts() {
    for how in [Outage::Unavailable, Outage::Refuse, Outage::Reset, Outage::Hang] {
        let mock = Mock::builder().outage(SECOND..SECOND * 2, how).build();
        assert_eq!(ask(&mock, "a").await.unwrap().status, 200);
        tokio::time::advance(SECOND).await;
        match (how, timeout(SECOND / 2, ask(&mock, "b")).await) {
            (Outage::Unavailable, Ok(Ok(refused))) => assert_eq!(refused.status, 503),
            (Outage::Refuse, Ok(Err(error))) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
            (Outage::Reset, Ok(Err(error))) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
            (Outage::Hang, Err(_)) => {}
            other => panic!("{other:?}"),
        }
        tokio::time::advance(SECOND).await;
        assert_eq!(ask(&mock, "b").await.unwrap().status, 200);
        let stats = mock.stats();
        assert_eq!((stats.accepted, stats.retries, stats.faults["outage"]), (2, 1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_plan_is_kept_whatever_the_order_and_the_limits() {
    let plan = Plan::seeded(5).rate(Fault::InternalError, 0.4);
    let prompts: Vec<String> = (0..50).map(|n| format!("prompt {n}")).collect();
    let statuses = async |mock: Mock, order: Vec<&String>| {
        let mut all = Vec::new();
        for prompt in order {
            loop {
                let status = ask(&mock, prompt).await.unwrap().status.as_u16();
                if status == 429 {
                    tokio::time::advance(SECOND).await;
                    continue;
                }
                all.push((prompt.clone(), mock.prompt(prompt).accepted, status));
                if status == 200 {
                    break;
                }
            }
        }
        all.sort();
        all
    };
    let limited = Mock::builder().requests_per_minute(30).request_burst(1).plan(plan.clone()).build();
    let one = statuses(Mock::builder().plan(plan.clone()).build(), prompts.iter().collect()).await;
    let two = statuses(limited, prompts.iter().rev().collect()).await;
    assert_eq!(one, two);
    for (prompt, attempt, status) in one {
        assert_eq!(plan.fault(&prompt, attempt).is_some(), status == 500);
    }
}

#[tokio::test]
async fn a_script_goes_by_the_order_of_arrival() {
    let plan = Plan::script([None, Some(Fault::Overloaded), None]);
    let mock = Mock::builder().plan(plan).build();
    let mut statuses = Vec::new();
    for prompt in ["a", "b", "c", "d"] {
        statuses.push(ask(&mock, prompt).await.unwrap().status.as_u16());
    }
    assert_eq!(statuses, [200, 529, 200, 200]);
    assert_eq!(ask(&mock, "b").await.unwrap().json()["choices"][0]["message"]["content"], answer("b", 32));
}

#[tokio::test(start_paused = true)]
async fn a_throttle_can_be_dealt_at_random_with_or_without_a_delay() {
    for (fault, delay) in [(Fault::Throttled, None), (Fault::ThrottledFor(SECOND), Some("1"))] {
        for path in [OPENAI, ANTHROPIC] {
            let mock = first(fault);
            let refused = send(&mock, post(path, question("p"))).await.unwrap();
            assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, delay));
            assert_eq!(send(&mock, post(path, question("p"))).await.unwrap().status, 200);
            let stats = mock.stats();
            assert_eq!((stats.faults["429"], stats.early_retries), (1, u64::from(delay.is_some())));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn faults_can_come_faster_than_answers() {
    let mock = Mock::builder()
        .latency(Latency::constant(5 * SECOND))
        .fault_latency(Latency::constant(SECOND / 100))
        .plan(Plan::default().attempt(1, Fault::Unavailable))
        .build();
    for (status, time) in [(503, SECOND / 100), (200, 5 * SECOND)] {
        let start = Instant::now();
        assert_eq!(ask(&mock, "p").await.unwrap().status, status);
        assert_eq!(start.elapsed(), time);
    }
}

#[tokio::test(start_paused = true)]
async fn a_brownout_hits_its_share_of_attempts_while_it_lasts() {
    let mock = Mock::builder().brownout(SECOND..SECOND * 2, Fault::InternalError, 0.3).build();
    let mut failed = [0_u32; 3];
    for failed in &mut failed {
        for n in 0..1_000_u32 {
            *failed += u32::from(ask(&mock, &n.to_string()).await.unwrap().status == 500);
        }
        tokio::time::advance(SECOND).await;
    }
    assert_eq!((failed[0], failed[2]), (0, 0));
    // The draws of seed 0 are always the same.
    assert!((250..350).contains(&failed[1]), "{failed:?}");
    assert_eq!(mock.stats().faults["500"], u64::from(failed[1]));
}
