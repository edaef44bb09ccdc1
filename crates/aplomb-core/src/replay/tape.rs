//! The tape that records a body, shared by the attempts that send it.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::BoxError;

/// The result of polling a body for its next frame.
pub(super) type PolledFrame<D, E> = Poll<Option<Result<Frame<D>, E>>>;

/// More frames than this are not kept, however small, since each takes memory of its own.
const MAX_FRAMES: usize = 1_024;

/// The body of an attempt ended early, because the next attempt reads it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Superseded;

impl fmt::Display for Superseded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request is being sent again")
    }
}

impl Error for Superseded {}

/// The body failed while an earlier attempt read it. That attempt got the error.
#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request body failed in an earlier attempt")
    }
}

impl Error for Broken {}

/// The part of a body that was read, and the rest of it.
///
/// The body stays here between polls. An attempt takes it out to poll it and puts it back, so that no lock is
/// held meanwhile; only the attempt of the current epoch may do so.
pub(super) struct Tape<B>(Mutex<State<B>>);

struct State<B> {
    source: Source<B>,
    /// Size and end of the source when it was last put back.
    rest: Rest,
    frames: VecDeque<RecordedFrame>,
    /// How many of the frames the current attempt has read.
    position: usize,
    /// How many more bytes may be kept; `None` when nothing is kept any more.
    room: Option<usize>,
    epoch: u64,
    /// The task of the current attempt, if it waits for the source.
    waiting: Option<Waker>,
}

enum Source<B> {
    Here(Pin<Box<B>>),
    /// Being polled, by this epoch or by one before.
    Lent,
    Ended,
    Failed,
}

#[derive(Clone)]
enum RecordedFrame {
    Data(Bytes),
    Trailers(HeaderMap),
}

#[derive(Clone)]
struct Rest {
    hint: SizeHint,
    ended: bool,
}

impl<B: Body> Tape<B> {
    pub(super) fn new(body: B, limit: usize) -> Self {
        let rest = Rest::of(&body);
        Self(Mutex::new(State {
            source: Source::Here(Box::pin(body)),
            rest,
            frames: VecDeque::new(),
            position: 0,
            room: Some(limit),
            epoch: 0,
            waiting: None,
        }))
    }

    pub(super) fn poll_frame(&self, epoch: u64, cx: &mut Context<'_>) -> PolledFrame<Bytes, BoxError>
    where
        B::Error: Into<BoxError>,
    {
        loop {
            let source = {
                let mut state = self.lock();
                if state.epoch != epoch {
                    return Poll::Ready(Some(Err(Superseded.into())));
                }
                if let Some(frame) = state.play() {
                    return Poll::Ready(Some(Ok(frame.into())));
                }
                match std::mem::replace(&mut state.source, Source::Lent) {
                    Source::Here(source) => source,
                    Source::Lent => {
                        state.waiting = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                    Source::Ended => {
                        state.source = Source::Ended;
                        return Poll::Ready(None);
                    }
                    Source::Failed => {
                        state.source = Source::Failed;
                        return Poll::Ready(Some(Err(Broken.into())));
                    }
                }
            };
            let mut lent = Lent { tape: self, source: Some(source) };
            let polled = lent.poll(cx);
            match lent.give_back(epoch, polled, cx.waker()) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<B> Tape<B> {
    /// Begins the next attempt; `None` if the beginning of the body was not kept.
    pub(super) fn rewind(&self) -> Option<u64> {
        let (epoch, superseded) = {
            let mut state = self.lock();
            if state.room.is_none() || matches!(state.source, Source::Failed) {
                return None;
            }
            state.position = 0;
            state.epoch += 1;
            (state.epoch, state.waiting.take())
        };
        superseded.into_iter().for_each(Waker::wake);
        Some(epoch)
    }

    /// Drops what the current attempt has read, and keeps nothing more.
    pub(super) fn stop_recording(&self) {
        self.lock().stop_recording();
    }

    pub(super) fn is_end_stream(&self, epoch: u64) -> bool {
        let state = self.lock();
        state.epoch == epoch && state.position == state.frames.len() && state.rest.ended
    }

    pub(super) fn size_hint(&self, epoch: u64) -> SizeHint {
        let state = self.lock();
        if state.epoch != epoch {
            return SizeHint::default();
        }
        let recorded: u64 = state.frames.range(state.position..).map(RecordedFrame::data_length).sum();
        let mut hint = SizeHint::new();
        hint.set_lower(state.rest.hint.lower().saturating_add(recorded));
        if let Some(upper) = state.rest.hint.upper().and_then(|upper| upper.checked_add(recorded)) {
            hint.set_upper(upper);
        }
        hint
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        // Foreign code, above all the source, never runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> State<B> {
    /// The next frame for the current attempt.
    fn play(&mut self) -> Option<RecordedFrame> {
        if self.room.is_none() {
            return self.frames.pop_front();
        }
        let frame = self.frames.get(self.position)?.clone();
        self.position += 1;
        Some(frame)
    }

    fn record(&mut self, frame: RecordedFrame) {
        let length = frame.length();
        self.frames.push_back(frame);
        let room = self.room.and_then(|room| room.checked_sub(length));
        if room.is_none() || self.frames.len() > MAX_FRAMES {
            self.stop_recording();
        } else {
            self.room = room;
        }
    }

    fn stop_recording(&mut self) {
        self.frames.drain(..self.position);
        self.position = 0;
        self.room = None;
    }
}

/// The source while it is polled.
struct Lent<'a, B> {
    tape: &'a Tape<B>,
    source: Option<Pin<Box<B>>>,
}

impl<B: Body> Lent<'_, B> {
    fn poll(&mut self, cx: &mut Context<'_>) -> PolledFrame<B::Data, B::Error> {
        let source = self.source.as_mut().expect("taken only when it is given back");
        source.as_mut().poll_frame(cx)
    }

    /// Puts the source back after a poll. `Ready(Ok)` means that there is something to play.
    fn give_back(
        mut self,
        epoch: u64,
        polled: PolledFrame<B::Data, B::Error>,
        waker: &Waker,
    ) -> Poll<Result<(), B::Error>> {
        // The source's own code runs while it is still in `self`: if it panics, no attempt waits for it.
        let polled = match polled {
            Poll::Ready(Some(Ok(frame))) => Polled::Frame(frame.map_data(into_bytes).into()),
            Poll::Ready(Some(Err(error))) => Polled::Failed(error),
            Poll::Ready(None) => Polled::End,
            Poll::Pending => Polled::Pending(waker.clone()),
        };
        let continues = matches!(polled, Polled::Frame(_) | Polled::Pending(_));
        let rest = self.source.as_ref().filter(|_| continues);
        let rest = rest.map_or_else(Rest::nothing, |source| Rest::of(&**source));
        let source = self.source.take().filter(|_| continues);

        let mut state = self.tape.lock();
        state.rest = rest;
        state.source = source.map_or(Source::Ended, Source::Here);
        let (mut result, mut waits) = (Poll::Ready(Ok(())), None);
        match polled {
            Polled::Frame(frame) => state.record(frame),
            Polled::End => {}
            Polled::Failed(error) => {
                state.source = Source::Failed;
                result = Poll::Ready(Err(error));
            }
            Polled::Pending(waker) => {
                waits = Some(waker);
                result = Poll::Pending;
            }
        }
        if state.epoch == epoch {
            state.waiting = waits;
            return result;
        }
        // The next attempt has begun meanwhile and may be waiting for the source; this one is over.
        let next = state.waiting.take();
        drop(state);
        next.into_iter().for_each(Waker::wake);
        if result.is_pending() {
            Poll::Ready(Ok(()))
        } else {
            result
        }
    }
}

/// The result of polling a source.
enum Polled<E> {
    Frame(RecordedFrame),
    End,
    Failed(E),
    Pending(Waker),
}

impl<B> Drop for Lent<'_, B> {
    fn drop(&mut self) {
        // Still there only if its poll panicked: no attempt may wait for it.
        if self.source.is_some() {
            let mut state = self.tape.lock();
            state.source = Source::Failed;
            let waiting = state.waiting.take();
            drop(state);
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

impl RecordedFrame {
    fn data_length(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Trailers(_) => 0,
        }
    }

    /// The length that counts towards the limit.
    fn length(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(trailers) => {
                trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
            }
        }
    }
}

impl From<Frame<Bytes>> for RecordedFrame {
    fn from(frame: Frame<Bytes>) -> Self {
        match frame.into_data() {
            Ok(data) => Self::Data(data),
            Err(frame) => Self::Trailers(frame.into_trailers().unwrap_or_default()),
        }
    }
}

impl From<RecordedFrame> for Frame<Bytes> {
    fn from(recorded: RecordedFrame) -> Self {
        match recorded {
            RecordedFrame::Data(data) => Self::data(data),
            RecordedFrame::Trailers(trailers) => Self::trailers(trailers),
        }
    }
}

impl Rest {
    fn of<B: Body>(body: &B) -> Self {
        Self { hint: body.size_hint(), ended: body.is_end_stream() }
    }

    fn nothing() -> Self {
        Self { hint: SizeHint::with_exact(0), ended: true }
    }
}

/// The bytes of a frame, without a copy if they are `Bytes`.
pub(super) fn into_bytes<D: Buf>(mut data: D) -> Bytes {
    data.copy_to_bytes(data.remaining())
}
