//! A server to retry against. It keeps the contract of tower and checks that its callers do.

use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use aplomb_core::{BoxError, CallOptions, Event, EventKind, Observe, Outcome};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep};
use tower_service::Service;

/// How the server handles a request.
pub(crate) enum Answer {
    Respond(Response<Noted>),
    Fail(&'static str),
    Hang,
    Panic,
}

/// A response with a status, headers and a short body.
pub(crate) fn respond(status: u16, headers: &[(&str, &str)]) -> Answer {
    Answer::Respond(response(status, headers, Noted::short("body")))
}

pub(crate) fn response(status: u16, headers: &[(&str, &str)], body: Noted) -> Response<Noted> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body).unwrap()
}

/// One call, as the server saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) options: CallOptions,
}

type Answers = dyn Fn(usize) -> Answer + Send + Sync;

/// Answers each call by its number, from 0. Panics when it is called without being ready.
pub(crate) struct Peer {
    state: Arc<State>,
    ready: bool,
}

struct State {
    answers: Box<Answers>,
    seen: Mutex<Vec<Seen>>,
    held: AtomicUsize,
    in_flight: AtomicUsize,
}

impl Peer {
    pub(crate) fn new(answers: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        let state = State {
            answers: Box::new(answers),
            seen: Mutex::default(),
            held: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
        };
        Self { state: Arc::new(state), ready: false }
    }

    /// Answers the first `failures` calls with `status`, and all others with 200.
    pub(crate) fn failing(failures: usize, status: u16) -> Self {
        Self::new(move |call| respond(if call < failures { status } else { 200 }, &[]))
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    pub(crate) fn calls(&self) -> usize {
        self.seen().len()
    }

    /// The times between calls.
    pub(crate) fn waits(&self) -> Vec<Duration> {
        self.seen().windows(2).map(|pair| pair[1].at - pair[0].at).collect()
    }

    /// The number of instances that are ready and have not been called.
    pub(crate) fn held(&self) -> usize {
        self.state.held.load(Ordering::SeqCst)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.state.in_flight.load(Ordering::SeqCst)
    }

    fn spend(&mut self) -> bool {
        if self.ready {
            self.state.held.fetch_sub(1, Ordering::SeqCst);
        }
        std::mem::take(&mut self.ready)
    }
}

impl Clone for Peer {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), ready: false }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.spend();
    }
}

struct InFlight(Arc<State>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<B> Service<Request<B>> for Peer {
    type Response = Response<Noted>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Noted>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if !self.ready {
            self.state.held.fetch_add(1, Ordering::SeqCst);
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        assert!(self.spend(), "called without having been ready");
        let number = {
            let mut seen = self.state.seen.lock().unwrap();
            seen.push(Seen { at: Instant::now(), options: CallOptions::of(&request) });
            seen.len() - 1
        };
        self.state.in_flight.fetch_add(1, Ordering::SeqCst);
        let in_flight = InFlight(Arc::clone(&self.state));
        let answer = (self.state.answers)(number);
        Box::pin(async move {
            let _in_flight = in_flight;
            match answer {
                Answer::Respond(response) => Ok(response),
                Answer::Fail(error) => Err(error.into()),
                Answer::Hang => pending().await,
                Answer::Panic => panic!("in the peer"),
            }
        })
    }
}

/// When a body was read and dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(Arc<Mutex<(Option<Instant>, Option<Instant>)>>);

impl Fate {
    /// The time when its end was read.
    pub(crate) fn ended(&self) -> Option<Instant> {
        self.0.lock().unwrap().0
    }

    /// The time when it was dropped.
    pub(crate) fn dropped(&self) -> Option<Instant> {
        self.0.lock().unwrap().1
    }
}

/// A body that records when it is read to its end and when it is dropped.
#[derive(Debug)]
pub(crate) struct Noted {
    frames: Vec<&'static str>,
    pace: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    fate: Fate,
}

impl Noted {
    pub(crate) fn short(text: &'static str) -> Self {
        Self::new(vec![text], None)
    }

    /// `frames` frames, each after `pace`.
    pub(crate) fn slow(frames: usize, pace: Duration) -> Self {
        Self::new(vec!["frame"; frames], Some(pace))
    }

    fn new(frames: Vec<&'static str>, pace: Option<Duration>) -> Self {
        Self { frames, pace, timer: None, fate: Fate::default() }
    }

    pub(crate) fn fate(&self) -> Fate {
        self.fate.clone()
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.fate.0.lock().unwrap().1 = Some(Instant::now());
    }
}

impl Body for Noted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(pace) = self.pace {
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(pace)));
            std::task::ready!(timer.as_mut().poll(cx));
            self.timer = None;
        }
        let frame = self.frames.pop();
        if frame.is_none() {
            self.fate.0.lock().unwrap().0 = Some(Instant::now());
        }
        Poll::Ready(frame.map(|frame| Ok(Frame::data(Bytes::from_static(frame.as_bytes())))))
    }
}

/// Records events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<EventKind>>>);

impl Log {
    pub(crate) fn events(&self) -> Vec<EventKind> {
        self.0.lock().unwrap().clone()
    }

    /// The delays that were announced.
    pub(crate) fn waits(&self) -> Vec<Duration> {
        let wait = |event: &EventKind| match event {
            EventKind::Retrying { delay, .. } => Some(*delay),
            _ => None,
        };
        self.events().iter().filter_map(wait).collect()
    }
}

impl Observe for Log {
    fn on_event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.kind().clone());
    }
}

pub(crate) fn request() -> Request<String> {
    Request::new("question".to_owned())
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The outcome of a 503.
pub(crate) fn unavailable() -> Outcome {
    Outcome::transient().mark_unprocessed()
}
