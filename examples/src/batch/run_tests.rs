//! Runs in virtual time: which prompts are answered, and when a run ends.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aplomb::HttpClient;
use aplomb_mock::{Builder, Fault, Latency, Mock, Outage, Plan};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tower::service_fn;

use super::args::ApiName;
use super::ask::Asker;
use super::endpoint::{Settings, endpoint};
use super::health::Health;
use super::input::Item;
use super::output::{Outbox, Record};
use super::progress::Progress;
use super::prompt::{Id, Prompt};
use super::run::Run;
use super::summary::{Ended, Summary};
use super::target::Target;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings { quotas: Vec::new(), silence: 120 * SECOND, whole_answer: None, max_retries: None }
}

/// Asks `prompts` prompts of a mock provider, in virtual time; returns the summary and the results. Until the end
/// nobody reads the results, of which the output takes `room`.
async fn run<C>(
    client: &C,
    settings: Settings,
    prompts: usize,
    room: usize,
    stop: impl Future<Output = ()>,
) -> (Summary, Vec<Record>)
where
    C: HttpClient<Full<Bytes>, Error: Error + Send + Sync, Future: Send, Body: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let target = Target::new(ApiName::OpenAi, "http://mock/v1", "m".to_owned()).unwrap().stream(true);
    let health = Arc::new(Health::default());
    let (endpoint, handle) = endpoint(client.clone(), target.provider(), &settings, &health).unwrap();
    let (target, timed_out) = (Arc::new(target), settings.timed_out());
    let asker = Asker { endpoint, target, key: None, deadline: None, health, timed_out };
    let (items, read) = mpsc::channel(prompts);
    for n in 0..prompts {
        let prompt = Prompt { id: Id::number(n), text: format!("prompt {n}"), max_tokens: None };
        items.send(Item::Prompt(prompt)).await.unwrap();
    }
    drop(items);
    let (records, mut taken) = mpsc::channel(room);
    let progress = Progress::new(Box::new(std::io::sink()), false);
    let run = Run::new((asker, handle), prompts, read, Outbox::new(records), &progress);
    let (summary, mut outbox) = run.until(stop).await;
    let mut results: Vec<Record> = std::iter::from_fn(|| taken.try_recv().ok()).collect();
    while !outbox.is_empty() {
        outbox.hand_over().await.unwrap();
        results.push(taken.recv().await.unwrap());
    }
    (summary, results)
}

async fn run_for(seconds: u32, mock: Builder, settings: Settings, prompts: usize) -> (Mock, Vec<Record>) {
    let mock = mock.build();
    let (_, results) = run(&mock, settings, prompts, prompts, tokio::time::sleep(SECOND * seconds)).await;
    (mock, results)
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_flows_is_never_cut_off_however_long_it_takes() {
    // 60 words, one every 20 s: ten times as long as the timeout.
    let mock = Mock::builder().answer_words(60).token_gap(20 * SECOND);
    let (mock, results) = run_for(3_000, mock, settings(), 1).await;
    assert!(results[0].ok, "{:?}", results[0].error);
    assert_eq!(mock.stats().seen, 1);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_our_own_time_out_cuts_off_is_sent_three_times_at_most_and_told_so() {
    let stalls = Plan::default().rate(Fault::Stall, 1.0).max_consecutive(u32::MAX);
    let hangs = Plan::default().rate(Fault::Hang, 1.0).max_consecutive(u32::MAX);
    for plan in [stalls, hangs] {
        let settings = Settings { silence: 10 * SECOND, ..settings() };
        let (mock, results) = run_for(3_600, Mock::builder().plan(plan), settings, 1).await;
        assert_eq!(mock.stats().seen, 3);
        assert_eq!((results[0].ok, results[0].attempts), (false, 3));
        let error = results[0].error.as_deref().unwrap();
        assert_eq!(error, "cut off 3 times: nothing arrived for 10s (--timeout)");
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_out_over_the_whole_answer_is_opt_in() {
    let mock = Mock::builder().answer_words(60).token_gap(20 * SECOND);
    let settings = Settings { whole_answer: Some(100 * SECOND), ..settings() };
    let (mock, results) = run_for(3_600, mock, settings, 1).await;
    assert_eq!(mock.stats().seen, 3);
    assert!(
        results[0].error.as_deref().unwrap().contains("--answer-timeout"),
        "{:?}",
        results[0].error
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_hangs_cuts_off_nobody() {
    let mock = Mock::builder()
        .outage(SECOND..300 * SECOND, Outage::Hang)
        .latency(Latency::constant(2 * SECOND))
        .plan(Plan::default().attempt(1, Fault::Unavailable));
    let settings = Settings { silence: 10 * SECOND, ..settings() };
    let (_, results) = run_for(3_600, mock, settings, 20).await;
    assert_eq!(results.len(), 20);
    assert!(results.iter().all(|record| record.ok), "{:?}", results[0].error);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_not_there_ends_the_run_with_the_cause() {
    let mock = Mock::builder().outage(Duration::ZERO..7_200 * SECOND, Outage::Refuse).build();
    let (summary, results) = run(&mock, settings(), 5, 5, tokio::time::sleep(3_600 * SECOND)).await;
    assert!(matches!(summary.ended, Ended::Hopeless(_)), "{:?}", summary.ended);
    assert!(summary.took < 90 * SECOND, "{:?}", summary.took);
    for record in results {
        let error = record.error.unwrap();
        assert!(error.starts_with("given up: no response for 6"), "{error}");
        assert!(error.contains("last failure: connection refused"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_answered_is_lost_when_a_run_is_stopped() {
    // All are answered within a second, and none of the results is taken before the stop.
    let mock = Mock::builder().latency(Latency::constant(SECOND)).build();
    let (summary, results) = run(&mock, settings(), 10, 1, tokio::time::sleep(60 * SECOND)).await;
    assert!(matches!(summary.ended, Ended::Stopped));
    assert_eq!((results.len(), summary.answered, mock.stats().answered), (10, 10, 10));
}

const ANSWER: &str = r#"{"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}"#;

/// A client that answers a request, by its number and text, with a status and a body of JSON a tenth of a second later.
fn server(
    answer: impl Fn(usize, &str) -> (u16, &'static str) + Clone + Send + Sync + 'static,
) -> impl HttpClient<Full<Bytes>, Error = std::convert::Infallible, Body = Full<Bytes>, Future: Send>
+ Send
+ Sync
+ 'static {
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    service_fn(move |request: http::Request<Full<Bytes>>| {
        let (answer, count) = (answer.clone(), Arc::clone(&count));
        async move {
            let Ok(text) = request.into_body().collect().await;
            let text = String::from_utf8(text.to_bytes().to_vec()).unwrap();
            let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            sleep(SECOND / 10).await;
            let (status, body) = answer(number, &text);
            let response =
                http::Response::builder().status(status).header("content-type", "application/json");
            Ok::<_, std::convert::Infallible>(response.body(Full::<Bytes>::from(body)).unwrap())
        }
    })
}

/// The number of prompts of a run, and the longest that it may take.
async fn ends_within(seconds: u32, status: u16, body: &'static str, says: &str) {
    let client = server(move |_, _| (status, body));
    let (summary, results) = run(&client, settings(), 40, 40, sleep(3_600 * SECOND)).await;
    let Ended::Hopeless(reason) = &summary.ended else {
        panic!("{status} {body}: {:?}", summary.ended)
    };
    assert!(summary.took <= SECOND * seconds, "{status} {body}: {:?}", summary.took);
    assert!(reason.contains(says), "{reason}");
    assert_eq!(results.len(), 40);
    assert!(results.iter().all(|record| !record.ok));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_will_never_answer_ends_the_run_within_two_minutes_with_its_words() {
    // Throttles without a time, and without a single success.
    ends_within(120, 429, r#"{"error": {"message": "Slow down, please."}}"#, "Slow down, please.").await;
    // Errors in a 200.
    let anything =
        r#"{"error": "Unexpected endpoint or method. (POST /chat/completions). Returning 200 anyway"}"#;
    ends_within(120, 200, anything, "Returning 200 anyway").await;
    ends_within(120, 200, r#"{"error": {"message": "upstream is gone"}}"#, "upstream is gone").await;
    ends_within(120, 200, r#"{"choices": []}"#, "nothing in it").await;
    ends_within(120, 200, "<html><title>Sign in</title></html>", "a web page").await;
    ends_within(120, 403, "<html>blocked</html>", "403").await;
    // A key that never worked, and a model that there is not.
    ends_within(10, 401, r#"{"error": {"message": "Incorrect key"}}"#, "Incorrect key").await;
    let unknown = r#"{"error": {"code": "model_not_found", "message": "There is no model m"}}"#;
    ends_within(10, 404, unknown, "There is no model m").await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_401s_for_a_key_that_worked_does_not_end_the_run() {
    let refused = (401, r#"{"error": {"message": "Incorrect key"}}"#);
    let client = server(move |number, _| {
        if (100..116).contains(&number) {
            refused
        } else {
            (200, ANSWER)
        }
    });
    let (summary, results) = run(&client, settings(), 200, 200, sleep(3_600 * SECOND)).await;
    assert!(matches!(summary.ended, Ended::Complete), "{:?}", summary.ended);
    assert_eq!(results.iter().filter(|record| record.ok).count(), 200);
    // A key that is not accepted again is no endless case.
    let client = server(move |number, _| if number >= 100 { refused } else { (200, ANSWER) });
    let (summary, results) = run(&client, settings(), 2_000, 2_000, sleep(3_600 * SECOND)).await;
    assert_eq!((summary.answered, results.len()), (100, 2_000));
    assert!(summary.took < 120 * SECOND, "{:?}", summary.took);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_fails_while_others_are_answered_is_reported_and_holds_up_nobody() {
    let poisoned =
        |text: &str| ["prompt 7\"", "prompt 50\"", "prompt 93\""].iter().any(|one| text.contains(one));
    let fails = (500, r#"{"error": {"message": "the engine failed"}}"#);
    let client = server(move |_, text| if poisoned(text) { fails } else { (200, ANSWER) });
    let began = Instant::now();
    let (summary, results) = run(&client, settings(), 100, 100, sleep(3_600 * SECOND)).await;
    assert!(matches!(summary.ended, Ended::Complete), "{:?}", summary.ended);
    assert!(began.elapsed() < 120 * SECOND, "{:?}", began.elapsed());
    let (answered, failed): (Vec<_>, Vec<_>) = results.into_iter().partition(|record| record.ok);
    assert_eq!((answered.len(), failed.len()), (97, 3));
    for record in failed {
        let error = record.error.unwrap();
        assert!(
            error.contains("the engine failed") && record.attempts <= 13,
            "{}: {error}",
            record.attempts
        );
    }
    let last = answered.iter().map(|record| record.ended_s).fold(0.0, f64::max);
    assert!(last < 15.0, "{last}");
}
