use std::future::Pending;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use aplomb_admission::{
    Admission, AdmissionConfig, End, Entries, Evictable, Gate, OnBodyEnd, OnHead, Queue, QueueLimits,
    Rejected, RequestPolicy,
};
use aplomb_core::{
    BoxError, CallOptions, Classification, Classify, Dimension, HttpClassifier, KeyLabel, Kind, LayerName,
    Outcome, Reading, Rejection, RequestHead, RequestView, Usage, WithReadings, find_in,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower_service::Service;

use crate::gates::Slots;

/// All calls have the same cost.
pub(crate) struct Turnstile<G: Gate + Evictable>(pub(crate) Entries<G>);

impl<Req: RequestHead, G: Gate<Cost = ()> + Evictable> RequestPolicy<Req> for Turnstile<G> {
    type Gate = G;
    type Preparing = Pending<Result<Req, BoxError>>;

    fn entries(&self) -> &Entries<G> {
        &self.0
    }

    fn view<'r>(&self, request: &'r Req) -> RequestView<'r> {
        RequestView::head(request)
    }

    fn cost(&self, _: &Req, _: &CallOptions) {}

    fn rejection(&self, rejected: &Rejected<G::Reason>, key: Option<KeyLabel>, _: &CallOptions) -> BoxError {
        let rejection = Rejection::by(LayerName::Other("turnstile")).with_retry_after(rejected.retry_after());
        match key {
            Some(key) => format!("{rejection}, key {key}").into(),
            None => Box::new(rejection),
        }
    }

    #[inline]
    fn preparation(&self) -> Option<impl FnOnce(Req) -> Self::Preparing> {
        None::<fn(Req) -> Self::Preparing>
    }
}

fn turnstile(free: usize) -> (Turnstile<Slots>, Queue<Slots>) {
    let entries = Entries::one(Slots::new(free), QueueLimits::new(), |_, _| ());
    let queue = entries.single().unwrap().clone();
    (Turnstile(entries), queue)
}

fn ends(queue: &Queue<Slots>) -> Vec<End> {
    queue.with(|gate, _| gate.ends.clone())
}

fn judged(outcome: Outcome) -> End {
    End::Judged { outcome, usage: None }
}

/// Answers with a body, or as the request's path says.
#[derive(Clone)]
pub(crate) struct Answers;

impl Service<http::Request<()>> for Answers {
    type Response = http::Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>>>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<()>) -> Self::Future {
        let path = request.uri().path().to_owned();
        assert_ne!(path, "/panic");
        Box::pin(async move {
            match path.as_str() {
                "/hang" => std::future::pending().await,
                "/error" => Err("lost".into()),
                status => {
                    let mut response = http::Response::new(Full::from("hello"));
                    *response.status_mut() = status[1..].parse()?;
                    Ok(response)
                }
            }
        })
    }
}

fn get(path: &str) -> http::Request<()> {
    http::Request::get(path).body(()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_gate_is_told_what_every_call_came_to() {
    let (door, queue) = turnstile(1);
    let mut service =
        Admission::new(Answers, Arc::new(AdmissionConfig::new(door, HttpClassifier::new(), OnHead)));
    assert!(service.call(get("/200")).await.is_ok());
    assert!(service.call(get("/503")).await.is_ok());
    assert!(service.call(get("/error")).await.is_err());
    let unavailable = Outcome::transient().mark_unprocessed();
    let expected = [
        Outcome::success(),
        unavailable,
        Outcome::transient().mark_unanswered(),
    ]
    .map(judged);
    assert_eq!(ends(&queue), expected);
}

#[tokio::test(start_paused = true)]
async fn a_success_is_held_until_its_body_has_been_read_and_a_failure_is_not() {
    let (door, queue) = turnstile(2);
    let mut service =
        Admission::new(Answers, Arc::new(AdmissionConfig::new(door, HttpClassifier::new(), OnBodyEnd)));
    let answer = service.call(get("/200")).await.unwrap();
    let dropped = service.call(get("/200")).await.unwrap();
    assert_eq!(ends(&queue), []);
    answer.into_body().collect().await.unwrap();
    drop(dropped);
    let _failed = service.call(get("/429")).await.unwrap();
    assert_eq!(
        ends(&queue),
        [
            judged(Outcome::success()),
            End::Abandoned,
            judged(Outcome::throttled())
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_at_any_point_gives_its_place_back() {
    let (door, queue) = turnstile(1);
    let mut service =
        Admission::new(Answers, Arc::new(AdmissionConfig::new(door, HttpClassifier::new(), OnHead)));
    drop(service.call(get("/hang")));
    let mut calling = task::spawn(service.call(get("/hang")));
    assert_pending!(calling.poll());
    let mut waiting = task::spawn(service.call(get("/hang")));
    assert_pending!(waiting.poll());
    drop(waiting);
    let mut next = task::spawn(service.call(get("/200")));
    assert_pending!(next.poll());
    drop(calling);
    assert_ready_ok!(next.poll());
    assert_eq!(ends(&queue), [End::Abandoned, judged(Outcome::success())]);
    assert_eq!(queue.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_inside_leaves_no_permit_behind() {
    let (door, queue) = turnstile(1);
    let mut service =
        Admission::new(Answers, Arc::new(AdmissionConfig::new(door, HttpClassifier::new(), OnHead)));
    let call = AssertUnwindSafe(service.call(get("/panic")));
    let mut call = task::spawn(call.0);
    assert!(std::panic::catch_unwind(AssertUnwindSafe(|| call.poll())).is_err());
    drop(call);
    assert_eq!(queue.with(|gate, _| gate.free), 1);
    assert!(service.call(get("/200")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_finished_is_not_charged_for() {
    #[derive(Clone)]
    struct Finished;
    impl Service<&'static str> for Finished {
        type Response = ();
        type Error = BoxError;
        type Future = std::future::Pending<Result<(), BoxError>>;

        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
            std::task::Poll::Ready(Err("closed".into()))
        }

        fn call(&mut self, _: &'static str) -> Self::Future {
            unreachable!("never ready")
        }
    }
    let (door, queue) = turnstile(1);
    let mut service =
        Admission::new(Finished, Arc::new(AdmissionConfig::new(door, HttpClassifier::new(), OnHead)));
    assert_eq!(service.call("x").await.unwrap_err().to_string(), "closed");
    assert_eq!(ends(&queue), [End::Unsent]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_an_error_of_the_call_that_says_who_refused() {
    let (door, _queue) = turnstile(0);
    let mut service =
        Admission::new(Answers, Arc::new(AdmissionConfig::new(door, HttpClassifier::new(), OnHead)));
    let mut request = get("/200");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(1);
    request.extensions_mut().insert(CallOptions::new().with_deadline(deadline));
    let error = service.call(request).await.unwrap_err();
    assert_eq!(find_in::<Rejection, _>(&error).unwrap().layer(), LayerName::Other("turnstile"));
    let result: Result<&http::Response<()>, _> = Err(&error);
    assert_eq!(HttpClassifier::new().classify(result).outcome().kind(), Kind::Local);
}

#[tokio::test(start_paused = true)]
async fn options_of_the_task_count_from_the_first_poll() {
    let (door, _queue) = turnstile(0);
    let mut service =
        Admission::new(Answers, Arc::new(AdmissionConfig::new(door, HttpClassifier::new(), OnHead)));
    let options = CallOptions::new().with_deadline(tokio::time::Instant::now() + Duration::from_secs(1));
    assert!(options.scope(service.call(get("/200"))).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_the_head_says_of_limits_and_what_was_used_of_a_dropped_answer_reach_the_gate() {
    let (door, queue) = turnstile(1);
    let exchange = aplomb_core::Exchange::new(Outcome::success());
    let classification = Classification::live(exchange.clone());
    let classifier = WithReadings::new(
        move |_: Result<&http::Response<Full<Bytes>>, &BoxError>| classification.clone(),
        |response: &http::Response<Full<Bytes>>| {
            let left = u64::from(response.status().as_u16());
            vec![Reading::of(Dimension::REQUESTS).with_remaining(left)]
        },
    );
    let mut service = Admission::new(Answers, Arc::new(AdmissionConfig::new(door, classifier, OnBodyEnd)));
    let response = service.call(get("/201")).await.unwrap();
    let heard = Reading::of(Dimension::REQUESTS).with_remaining(201);
    queue.with(|gate, _| assert_eq!((gate.heard.as_slice(), gate.ends.len()), (&[heard][..], 0)));
    exchange.add_usage(Usage::unknown().with_output(7));
    drop(response);
    assert_eq!(queue.with(|gate, _| gate.used.clone()), [Usage::unknown().with_output(7)]);
    assert_eq!(ends(&queue), [End::Abandoned]);
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_where_nothing_more_could_come_has_read_the_answer() {
    let failed = Outcome::throttled().with_retry_after(Duration::from_secs(30));
    for (seen, is_whole, expected) in [
        (None, false, End::Abandoned),
        (Some(Outcome::success()), false, End::Abandoned),
        (Some(Outcome::success()), true, judged(Outcome::success())),
        (Some(failed), true, judged(failed)),
        // An error in a stream ends it, even if no end marker follows.
        (Some(failed), false, judged(failed)),
        (Some(Outcome::local()), true, End::Abandoned),
    ] {
        let exchange = aplomb_core::Exchange::new(Outcome::success());
        let classification = Classification::live(exchange.clone());
        let classify = move |_: Result<&http::Response<Full<Bytes>>, &BoxError>| classification.clone();
        let (door, queue) = turnstile(1);
        let mut service = Admission::new(Answers, Arc::new(AdmissionConfig::new(door, classify, OnBodyEnd)));
        let response = service.call(get("/200")).await.unwrap();
        if let Some(seen) = seen {
            exchange.set_outcome(seen);
        }
        if is_whole {
            exchange.set_whole();
        }
        drop(response);
        assert_eq!(ends(&queue), [expected]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_used_of_an_answer_given_up_on_this_side_is_told_once() {
    let exchange = aplomb_core::Exchange::new(Outcome::success());
    let classification = Classification::live(exchange.clone());
    let classify = move |_: Result<&http::Response<Full<Bytes>>, &BoxError>| classification.clone();
    let (door, queue) = turnstile(1);
    let mut service = Admission::new(Answers, Arc::new(AdmissionConfig::new(door, classify, OnBodyEnd)));
    let response = service.call(get("/200")).await.unwrap();
    exchange.add_usage(Usage::unknown().with_output(7));
    exchange.set_outcome(Outcome::local());
    response.into_body().collect().await.unwrap();
    assert_eq!(queue.with(|gate, _| gate.used.clone()), [Usage::unknown().with_output(7)]);
    assert_eq!(ends(&queue), [End::Abandoned]);
}

/// The time between admission and sending, if it was reported.
struct Timed {
    next: tokio::time::Instant,
    waits: Vec<Duration>,
}

impl Gate for Timed {
    type Cost = ();
    type Token = tokio::time::Instant;
    type Reason = &'static str;
    type Event = std::convert::Infallible;

    fn check(&mut self, (): &(), now: tokio::time::Instant) -> aplomb_admission::Decision<&'static str> {
        if now < self.next {
            aplomb_admission::Decision::NotBefore(self.next, "paced")
        } else {
            aplomb_admission::Decision::Admit
        }
    }

    fn admit(&mut self, (): &(), now: tokio::time::Instant) -> tokio::time::Instant {
        self.next = now + Duration::from_secs(1);
        now
    }

    fn on(
        &mut self,
        sent: &mut tokio::time::Instant,
        progress: aplomb_admission::Progress<'_>,
        now: tokio::time::Instant,
    ) {
        if let aplomb_admission::Progress::Sent = progress {
            *sent = now;
        }
    }

    fn end(&mut self, sent: tokio::time::Instant, _: End, now: tokio::time::Instant) {
        self.waits.push(now - sent);
    }

    crate::gate_support::simple!(forecast hints next_event pooled);
}

impl Evictable for Timed {
    fn worth(&mut self, _: tokio::time::Instant) -> aplomb_admission::Worth {
        aplomb_admission::Worth::FRESH
    }
}

/// Our own delay is not the server's latency.
#[tokio::test(start_paused = true)]
async fn a_caller_that_was_admitted_from_the_queue_and_polled_late_is_sent_late() {
    let gate = Timed { next: tokio::time::Instant::now(), waits: Vec::new() };
    let entries = Entries::one(gate, QueueLimits::new(), |_, _| ());
    let queue = entries.single().unwrap().clone();
    let config = Arc::new(AdmissionConfig::new(Turnstile(entries), HttpClassifier::new(), OnHead));
    let mut service = Admission::new(Answers, config);
    service.call(get("/200")).await.unwrap();
    let mut late = task::spawn(service.call(get("/200")));
    assert_pending!(late.poll());
    // Admitted a tick after its time, and polled four seconds later.
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(queue.waiting(), 0);
    tokio::time::advance(Duration::from_secs(4)).await;
    assert_ready_ok!(late.poll());
    assert_eq!(queue.with(|gate, _| gate.waits.clone()), [Duration::ZERO; 2]);
}
