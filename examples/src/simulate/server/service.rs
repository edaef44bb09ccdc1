//! The server as a service, in virtual time.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tower_service::Service;

use super::body::Body;
use super::in_flight::InFlight;
use super::ledger::{Came, Ledger, Seen};
use super::model::{Arrival, Ending, Fate, Model};
use super::words;
use super::world::{Down, Refusal, Words, Work, World};
use crate::concurrency;
use crate::simulate::prompt;

/// A server that does what its [`World`] says, as a service of HTTP requests in process. Clones share everything.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

/// State that the clones of a server share.
pub(crate) struct Shared {
    state: Mutex<State>,
    start: Instant,
    work: Working,
}

/// State that changes.
pub(crate) struct State {
    pub(crate) model: Model,
    pub(crate) ledger: Ledger,
}

/// The work on requests that were accepted.
enum Working {
    Everything,
    Queue(Semaphore),
    Collapse(concurrency::Server),
}

impl Server {
    /// Starts a server now, by the runtime's clock.
    pub fn start(world: &World, seed: u64) -> Self {
        let work = match world.work {
            Work::Everything => Working::Everything,
            Work::Queue(places) => Working::Queue(Semaphore::new(places)),
            Work::Collapse(capacity) => Working::Collapse(concurrency::Server::start(capacity)),
        };
        let state = State { model: Model::new(world, seed), ledger: Ledger::default() };
        let shared = Shared { state: Mutex::new(state), start: Instant::now(), work };
        Self { shared: Arc::new(shared) }
    }

    /// All requests so far, in the order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.with(|state, _| state.ledger.seen().to_vec())
    }

    /// The number of requests that it is working on.
    pub fn in_flight(&self) -> usize {
        self.shared.with(|state, _| state.model.in_flight())
    }
}

impl Shared {
    /// Reads or changes the state, given the time since the start.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State, Duration) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut state, self.start.elapsed())
    }

    async fn answer(self: Arc<Self>, request: Request<Full<Bytes>>) -> io::Result<Response<Body>> {
        // A body in memory cannot fail.
        let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
        let asked = prompt::read(&body.unwrap_or_default());
        let arrival =
            Arrival { prompt: asked.number, may_need: asked.may_need(), will_need: asked.will_need() };
        let (fate, place, fails_in) = self.with(|state, now| {
            let fate = state.model.arrive(&arrival, now);
            let fails_in = state.model.world().fails_in;
            let came = match fate {
                Fate::Taken(..) => Came::Taken,
                Fate::Answered(Refusal { status: 429 | 402, .. }, _) => Came::Refused,
                _ => Came::Failed,
            };
            let place = state.ledger.came(arrival.prompt, came, now);
            // LiteLLM's hint about parallel requests is the window of its counter, not a delay.
            let told = match fate {
                Fate::Answered(refusal, hint) if refusal.words != Words::LiteLlmParallel => hint,
                _ => None,
            };
            if let Some(hint) = told {
                state.ledger.tell(arrival.prompt, now + fails_in + hint);
            }
            (fate, place, fails_in)
        });
        match fate {
            Fate::Taken(takes, ending) => {
                let in_flight = InFlight::new(Arc::clone(&self), arrival, place);
                self.work(takes, ending, &asked, in_flight).await
            }
            Fate::Answered(refusal, hint) => {
                sleep(fails_in).await;
                // An exhausted account gets a 429.
                let answered = if refusal.status == 402 {
                    429
                } else {
                    refusal.status
                };
                Ok(self.with(|state, now| {
                    state.ledger.ended(place, now);
                    let mut response = words::problem(refusal, hint, state.model.levels(now));
                    *response.status_mut() = http::StatusCode::from_u16(answered).unwrap_or_default();
                    response
                }))
            }
            Fate::Reset(how) => {
                sleep(fails_in).await;
                self.with(|state, now| state.ledger.ended(place, now));
                Err(reset(how))
            }
            Fate::Hangs => {
                let _noted = Noted { shared: &self, place };
                std::future::pending().await
            }
        }
    }

    /// Works on a request that was accepted, then answers it.
    async fn work(
        &self,
        takes: Duration,
        ending: Ending,
        asked: &prompt::Asked,
        in_flight: InFlight,
    ) -> io::Result<Response<Body>> {
        match &self.work {
            Working::Everything => sleep(takes).await,
            Working::Queue(places) => {
                // Never closed.
                let _place = places.acquire().await;
                sleep(takes).await;
            }
            Working::Collapse(server) => {
                if server.ask(takes).await.is_err() {
                    in_flight.end(false);
                    return Ok(words::problem(Refusal::overloaded(), None, &[]));
                }
            }
        }
        let failed = match ending {
            Ending::Well | Ending::Stream(_) => None,
            Ending::Fails(status) => Some(Refusal { status, ..Refusal::overloaded() }),
            Ending::Broken(Down::Hangs) => std::future::pending().await,
            Ending::Broken(how) => {
                in_flight.end(false);
                return Err(reset(if how == Down::Refuses { Down::Resets } else { how }));
            }
        };
        let stream = self.with(|state, _| state.model.world().stream);
        if let Some(refusal) = failed {
            in_flight.end(false);
            return Ok(self.with(|state, now| words::problem(refusal, None, state.model.levels(now))));
        }
        if let Some((count, gap)) = stream.filter(|_| asked.stream) {
            let fault = match ending {
                Ending::Stream(what) => Some(what),
                _ => None,
            };
            let pieces = words::stream(asked.number, count, gap, fault);
            let body = Body::pieces(pieces, in_flight, fault.is_none());
            return Ok(self.with(|state, now| words::ok("text/event-stream", body, state.model.levels(now))));
        }
        in_flight.end(true);
        let tokens = (asked.input, asked.output);
        Ok(self.with(|state, now| words::whole(asked.number, tokens, state.model.levels(now))))
    }
}

/// Notes the end of a request that is never answered, when its client goes away.
struct Noted<'a> {
    shared: &'a Shared,
    place: usize,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.shared.with(|state, now| state.ledger.ended(self.place, now));
    }
}

fn reset(how: Down) -> io::Error {
    match how {
        Down::Refuses => io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused"),
        _ => io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by peer"),
    }
}

impl Service<Request<Full<Bytes>>> for Server {
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Response<Body>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        Box::pin(Arc::clone(&self.shared).answer(request))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("start", &self.start).finish_non_exhaustive()
    }
}
