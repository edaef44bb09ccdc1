//! Recorded bodies, driven by hand: any split into frames, any drop point, any interleaving.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use proptest::prelude::*;
use tokio_test::task::spawn;
use tokio_test::{assert_pending, assert_ready};

use super::tape::Superseded;
use super::{Recorded, Recording, Replay, ReplayBody};
use crate::BoxError;

#[derive(Clone, Debug)]
enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    /// Pending once, woken at once.
    Pending,
    /// Pending until it is woken from outside.
    Stuck,
    Error,
    Panic,
}

/// A body from a script, which announces its exact size.
#[derive(Debug, Default)]
struct Scripted {
    steps: VecDeque<Step>,
    woken_by: Arc<Mutex<Option<Waker>>>,
    dropped: Arc<()>,
}

impl Scripted {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), ..Self::default() }
    }
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.steps.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Step::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Some(Step::Error) => Poll::Ready(Some(Err("the disk is gone".into()))),
            Some(Step::Panic) => panic!("in the source"),
            Some(Step::Pending) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Stuck) => {
                *self.woken_by.lock().unwrap() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.steps.iter().map(|step| length(step) as u64).sum())
    }
}

fn length(step: &Step) -> usize {
    match step {
        Step::Data(data) => data.len(),
        _ => 0,
    }
}

fn data(bytes: &'static str) -> Step {
    Step::Data(Bytes::from_static(bytes.as_bytes()))
}

fn recorded<B>(limit: usize, body: B) -> (ReplayBody<B>, Option<Recording<B>>)
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let strategy = Recorded::new().limit(limit);
    let mut kept = strategy.keep(Request::new(body));
    let sent: Option<Request<ReplayBody<B>>> = strategy.again(&mut kept);
    match sent {
        Some(sent) => (sent.into_body(), Some(kept)),
        None => (strategy.once(kept).into_body(), None),
    }
}

fn again<B>(recording: &mut Option<Recording<B>>) -> Option<ReplayBody<B>>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    Recorded::new().again(recording.as_mut()?).map(Request::into_body)
}

/// Reads up to `frames` frames: the data, the trailers, and whether it went on to the end. The size
/// announced before each frame must be what then comes.
async fn read<B>(body: &mut ReplayBody<B>, frames: usize) -> (Vec<u8>, Option<HeaderMap>, bool)
where
    B: Body<Error = BoxError> + Unpin,
{
    let (mut bytes, mut trailers) = (Vec::new(), None);
    let announced = body.size_hint().exact();
    let mut body = Pin::new(body);
    for _ in 0..frames {
        if body.is_end_stream() {
            return (bytes, trailers, true);
        }
        let before = body.size_hint().exact();
        let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await else {
            assert_eq!(announced.unwrap_or(bytes.len() as u64), bytes.len() as u64);
            return (bytes, trailers, true);
        };
        let length = match frame.unwrap().into_data() {
            Ok(data) => {
                bytes.extend_from_slice(&data);
                data.len() as u64
            }
            Err(frame) => {
                trailers = frame.into_trailers().ok();
                0
            }
        };
        assert_eq!(before.map(|before| before - length), body.size_hint().exact());
    }
    (bytes, trailers, false)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Step::Data(bytes.into())),
        1 => Just(Step::Pending),
    ];
    (prop::collection::vec(step, 0..24), prop::option::of("[a-z]{1,8}")).prop_map(|(mut steps, name)| {
        steps.extend(name.map(|name| {
            let name = http::HeaderName::from_bytes(format!("x-{name}").as_bytes()).unwrap();
            Step::Trailers(HeaderMap::from_iter([(name, http::HeaderValue::from_static("sum"))]))
        }));
        steps
    })
}

/// The frames that a reader of the source itself would get.
fn whole(steps: &[Step]) -> (Vec<u8>, Option<HeaderMap>) {
    let mut bytes = Vec::new();
    let mut trailers = None;
    for step in steps {
        match step {
            Step::Data(data) => bytes.extend_from_slice(data),
            Step::Trailers(map) => trailers = Some(map.clone()),
            _ => {}
        }
    }
    (bytes, trailers)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #[test]
    fn every_attempt_reads_the_same_wherever_those_before_stopped(
        steps in steps(), stops in prop::collection::vec(0_usize..30, 0..4),
    ) {
        block_on(async {
            let (mut body, mut kept) = recorded(64 * 1024, Scripted::new(steps.clone()));
            for stop in stops {
                read(&mut body, stop).await;
                // The old body is dropped only when the new one is there.
                body = again(&mut kept).expect("within the limit");
            }
            let (bytes, trailers, ended) = read(&mut body, usize::MAX).await;
            assert_eq!((bytes, trailers), whole(&steps));
            assert!(ended);
            assert!(again(&mut kept).is_some(), "the end can be replayed as well");
        });
    }

    #[test]
    fn past_the_limit_it_goes_on_untouched_and_once(
        steps in steps(), limit in 0_usize..400, stop in 0_usize..30,
    ) {
        block_on(async {
            let size: usize = steps.iter().map(length).sum();
            // The source does not say how much it is: the limit is met on the way.
            let (mut body, mut kept) = recorded(limit, Unannounced(Scripted::new(steps.clone())));
            let (mut bytes, mut trailers, _) = read(&mut body, stop).await;
            let stopped_within = bytes.len() <= limit && trailers.is_none();
            match again(&mut kept) {
                Some(next) => {
                    assert!(bytes.len() <= limit);
                    body = next;
                    (bytes, trailers) = (Vec::new(), None);
                }
                None => assert!(!stopped_within),
            }
            let (rest, last, ended) = read(&mut body, usize::MAX).await;
            bytes.extend(rest);
            assert_eq!((bytes, trailers.or(last)), whole(&steps));
            assert!(ended);
            assert!(again(&mut kept).is_none() || size <= limit);
        });
    }

    #[test]
    fn dropping_what_was_kept_changes_nothing_for_the_reader(steps in steps(), stop in 0_usize..30) {
        block_on(async {
            let (mut body, kept) = recorded(64 * 1024, Scripted::new(steps.clone()));
            let (mut bytes, trailers, _) = read(&mut body, stop).await;
            drop(kept);
            let (rest, last, ended) = read(&mut body, usize::MAX).await;
            bytes.extend(rest);
            assert_eq!((bytes, trailers.or(last)), whole(&steps));
            assert!(ended);
        });
    }
}

/// Hides how long a body is.
struct Unannounced(Scripted);

impl Body for Unannounced {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }
}

#[test]
fn a_body_that_announces_too_much_is_sent_once() {
    let (body, kept) = recorded(4, Full::new(Bytes::from_static(b"12345")));
    assert!(kept.is_none());
    assert_eq!(body.size_hint().exact(), Some(5));
    assert_eq!(block_on(body.collect()).unwrap().to_bytes(), "12345");
    let (_, kept) = recorded(5, Full::new(Bytes::from_static(b"12345")));
    assert!(kept.is_some());
}

#[test]
fn an_empty_body_is_known_to_be_empty() {
    let (body, mut kept) = recorded(0, Empty::<Bytes>::new());
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
    assert!(again(&mut kept).unwrap().is_end_stream());
}

#[test]
fn many_small_frames_are_not_kept() {
    let steps = std::iter::repeat_n(data("x"), 1_025);
    let (body, mut kept) = recorded(64 * 1024, Scripted::new(steps));
    assert_eq!(block_on(body.collect()).unwrap().to_bytes().len(), 1_025);
    assert!(again(&mut kept).is_none());
}

#[test]
fn nothing_is_read_before_it_is_asked_for() {
    let (mut body, mut kept) = recorded(1_024, Scripted::new([data("a"), Step::Panic]));
    assert_eq!(block_on(read(&mut body, 1)).0, b"a");
    let mut body = again(&mut kept).unwrap();
    assert_eq!(block_on(read(&mut body, 1)).0, b"a");
}

#[test]
fn a_superseded_attempt_is_woken_and_ends_with_an_error() {
    let (old, mut kept) = recorded(1_024, Scripted::new([data("a"), Step::Stuck, data("b")]));
    let mut old = spawn(old);
    let frame =
        |body: &mut tokio_test::task::Spawn<ReplayBody<Scripted>>| body.enter(|cx, body| body.poll_frame(cx));
    assert!(assert_ready!(frame(&mut old)).unwrap().is_ok());
    assert_pending!(frame(&mut old));
    let mut new = spawn(again(&mut kept).unwrap());
    assert!(old.is_woken());
    let error = assert_ready!(frame(&mut old)).unwrap().unwrap_err();
    assert!(error.is::<Superseded>());
    assert!(!old.is_end_stream());
    // The new one has it all.
    assert_eq!(assert_ready!(frame(&mut new)).unwrap().unwrap().into_data().unwrap(), "a");
    assert_eq!(assert_ready!(frame(&mut new)).unwrap().unwrap().into_data().unwrap(), "b");
    assert!(new.is_end_stream());
    assert!(!old.is_end_stream(), "cut short is not the end");
}

/// A source that, while it is polled for the first time, lets the next attempt begin and poll.
struct Overtaken {
    during: Option<Box<dyn FnOnce() + Send>>,
    rest: Scripted,
}

impl Body for Overtaken {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(during) = self.during.take() {
            during();
        }
        Pin::new(&mut self.rest).poll_frame(cx)
    }

    fn size_hint(&self) -> SizeHint {
        self.rest.size_hint()
    }
}

type Next = Arc<Mutex<Option<tokio_test::task::Spawn<ReplayBody<Overtaken>>>>>;

/// Polls an attempt whose source is lent out when the next attempt begins and polls; returns both.
fn overtake(steps: impl IntoIterator<Item = Step>) -> (Option<Result<Frame<Bytes>, BoxError>>, Next) {
    let kept = Arc::new(Mutex::new(None::<Recording<Overtaken>>));
    let next: Next = Arc::default();
    let during = {
        let (kept, next) = (Arc::clone(&kept), Arc::clone(&next));
        move || {
            let body = again(&mut kept.lock().unwrap()).unwrap();
            let mut body = spawn(body);
            // The size is known although the source is out.
            assert_eq!(body.size_hint().exact(), Some(2));
            assert_pending!(body.enter(|cx, body| body.poll_frame(cx)));
            *next.lock().unwrap() = Some(body);
        }
    };
    let source = Overtaken { during: Some(Box::new(during)), rest: Scripted::new(steps) };
    let (old, recording) = recorded(1_024, source);
    *kept.lock().unwrap() = recording;
    let mut old = spawn(old);
    let polled = catch_unwind(AssertUnwindSafe(|| old.enter(|cx, body| body.poll_frame(cx))));
    let frame = match polled {
        Ok(Poll::Ready(frame)) => frame,
        Ok(Poll::Pending) => panic!("a superseded attempt does not wait"),
        Err(_) => None,
    };
    (frame, next)
}

#[test]
fn an_attempt_overtaken_while_it_polls_loses_no_byte_and_wakes_the_next() {
    for steps in [vec![data("ab")], vec![Step::Pending, data("ab")]] {
        let (frame, next) = overtake(steps);
        assert!(frame.unwrap().unwrap_err().is::<Superseded>());
        let mut next = next.lock().unwrap().take().unwrap();
        assert!(next.is_woken());
        let frame = assert_ready!(next.enter(|cx, body| body.poll_frame(cx)));
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "ab");
        assert!(assert_ready!(next.enter(|cx, body| body.poll_frame(cx))).is_none());
    }
}

#[test]
fn a_source_that_fails_or_panics_leaves_no_attempt_waiting() {
    for last in [Step::Error, Step::Panic] {
        let (frame, next) = overtake([last, data("ab")]);
        assert!(frame.is_none_or(|frame| frame.is_err()));
        let mut next = next.lock().unwrap().take().unwrap();
        assert!(next.is_woken());
        assert!(assert_ready!(next.enter(|cx, body| body.poll_frame(cx))).unwrap().is_err());
    }
}

#[test]
fn a_body_that_failed_is_not_sent_again() {
    let (body, mut kept) = recorded(1_024, Scripted::new([data("a"), Step::Error]));
    assert_eq!(block_on(body.collect()).unwrap_err().to_string(), "the disk is gone");
    assert!(again(&mut kept).is_none());
}

#[test]
fn the_source_is_let_go_with_the_last_that_knows_it() {
    let source = Scripted::new([data("a")]);
    let alive = Arc::clone(&source.dropped);
    let (body, kept) = recorded(1_024, source);
    drop(kept);
    assert_eq!(Arc::strong_count(&alive), 2);
    drop(body);
    assert_eq!(Arc::strong_count(&alive), 1);
}
