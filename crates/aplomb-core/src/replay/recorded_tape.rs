//! The tape on which a body is recorded, shared by the attempts that send it.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::recorded::bytes_of;
use crate::BoxError;

/// What polling a body for its next frame says.
pub(super) type PolledFrame<D, E> = Poll<Option<Result<Frame<D>, E>>>;

/// More frames than this are not kept, however small: each costs memory of its own.
const MOST_FRAMES: usize = 1_024;

/// Why the body of an attempt ended early: the request is being sent again, and the body is read by
/// that attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Superseded;

impl fmt::Display for Superseded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request is being sent again")
    }
}

impl Error for Superseded {}

/// The body failed while an earlier attempt read it, and that attempt was told why.
#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body of the request failed in an earlier attempt")
    }
}

impl Error for Broken {}

/// What was read of a body, and the rest of it.
///
/// The body rests here between polls. Who polls it takes it out and puts it back, so that no lock is
/// held meanwhile; only the attempt of the current epoch may.
pub(super) struct Tape<B>(Mutex<State<B>>);

struct State<B> {
    source: Source<B>,
    /// What the source said when it was last put back.
    rest: Rest,
    frames: VecDeque<Recorded>,
    /// How many of the frames the current attempt has been given.
    position: usize,
    /// How many bytes may still be kept; `None` when nothing is kept any more.
    room: Option<usize>,
    epoch: u64,
    /// The task of the current attempt, where it waits for the source.
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
enum Recorded {
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
    /// Begins the next attempt; `None` if what was read is not all there.
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

    /// Lets go of what the current attempt has been given, and keeps nothing more.
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
        let recorded: u64 = state.frames.range(state.position..).map(Recorded::data_length).sum();
        let mut hint = SizeHint::new();
        hint.set_lower(state.rest.hint.lower().saturating_add(recorded));
        if let Some(upper) = state.rest.hint.upper().and_then(|upper| upper.checked_add(recorded)) {
            hint.set_upper(upper);
        }
        hint
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        // What others wrote, the source above all, is never run under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> State<B> {
    /// The next frame for the current attempt.
    fn play(&mut self) -> Option<Recorded> {
        if self.room.is_none() {
            return self.frames.pop_front();
        }
        let frame = self.frames.get(self.position)?.clone();
        self.position += 1;
        Some(frame)
    }

    fn record(&mut self, frame: Recorded) {
        let length = frame.length();
        self.frames.push_back(frame);
        let room = self.room.and_then(|room| room.checked_sub(length));
        if room.is_none() || self.frames.len() > MOST_FRAMES {
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

    /// Puts the source back with what it said. `Ready(Ok)` means that there is something to play.
    fn give_back(
        mut self,
        epoch: u64,
        polled: PolledFrame<B::Data, B::Error>,
        waker: &Waker,
    ) -> Poll<Result<(), B::Error>> {
        // The source's own code runs while it is still in `self`: should it panic, nobody waits for it.
        let said = match polled {
            Poll::Ready(Some(Ok(frame))) => Said::Frame(frame.map_data(bytes_of).into()),
            Poll::Ready(Some(Err(error))) => Said::Failed(error),
            Poll::Ready(None) => Said::Over,
            Poll::Pending => Said::Waits(waker.clone()),
        };
        let goes_on = matches!(said, Said::Frame(_) | Said::Waits(_));
        let rest = self.source.as_ref().filter(|_| goes_on);
        let rest = rest.map_or_else(Rest::nothing, |source| Rest::of(&**source));
        let source = self.source.take().filter(|_| goes_on);

        let mut state = self.tape.lock();
        state.rest = rest;
        state.source = source.map_or(Source::Ended, Source::Here);
        let (mut result, mut waits) = (Poll::Ready(Ok(())), None);
        match said {
            Said::Frame(frame) => state.record(frame),
            Said::Over => {}
            Said::Failed(error) => {
                state.source = Source::Failed;
                result = Poll::Ready(Err(error));
            }
            Said::Waits(waker) => {
                waits = Some(waker);
                result = Poll::Pending;
            }
        }
        if state.epoch == epoch {
            state.waiting = waits;
            return result;
        }
        // The next attempt has begun meanwhile and may wait for the source; this one is over.
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

/// What a source said when it was polled.
enum Said<E> {
    Frame(Recorded),
    Over,
    Failed(E),
    Waits(Waker),
}

impl<B> Drop for Lent<'_, B> {
    fn drop(&mut self) {
        // Still there only when its poll panicked: nobody must wait for it.
        if self.source.is_some() {
            let mut state = self.tape.lock();
            state.source = Source::Failed;
            let waiting = state.waiting.take();
            drop(state);
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

impl Recorded {
    fn data_length(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Trailers(_) => 0,
        }
    }

    /// What counts towards the limit.
    fn length(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(trailers) => {
                trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
            }
        }
    }
}

impl From<Frame<Bytes>> for Recorded {
    fn from(frame: Frame<Bytes>) -> Self {
        match frame.into_data() {
            Ok(data) => Self::Data(data),
            Err(frame) => Self::Trailers(frame.into_trailers().unwrap_or_default()),
        }
    }
}

impl From<Recorded> for Frame<Bytes> {
    fn from(recorded: Recorded) -> Self {
        match recorded {
            Recorded::Data(data) => Self::data(data),
            Recorded::Trailers(trailers) => Self::trailers(trailers),
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
