//! The memory of a server: the outcomes of the latest calls, and the brakes that read them.

mod crowd;
mod failure;
mod hints;
mod look;
mod memory;
mod overload;
mod pace;
mod patience;
mod places;
mod settings;
mod shut;
mod slow_start;
mod state;
mod suspicion;
mod tally;
#[cfg(test)]
mod tests;
mod trial;
mod trouble;
mod usual;
mod window;

use std::collections::VecDeque;

use tokio::time::Instant;

use self::memory::{CallNumber, ServerMemory};
use self::overload::Overload;
use self::pace::Pace;
pub use self::settings::ServerSettings;
use self::slow_start::SlowStart;
pub use self::state::{HeldBy, ServerEvent, ServerSnapshot, ShutCause};
use self::trouble::Trouble;
use crate::{Decision, End};

/// A server as its calls show it, and how many calls it gets.
///
/// ```text
///             nobody gets through                 a probe is accepted
///   Flowing ───────────────────────────▶ Shut ─────────────────────────▶ Flowing, with a slow start
///      each call passes:                   │
///      places ▸ slow start ▸ pace          └─ a call is accepted that was sent after the last refusal ─▶ Flowing
/// ```
///
/// One memory of the calls, in the order in which they were sent, is read by all brakes:
///
/// - **shut**: so many calls in a row were refused or failed that it cannot be chance. All wait, one probe at a time goes.
/// - **slow start**: at the beginning, and when the server opens, only a few calls are out of which nothing is known.
/// - **pace**: the rate that the server accepts, measured between two shuts.
/// - **places**: how many calls it takes at a time, if calls are accepted only as others end, or hang when there are more.
///
/// It is pure: it reads no clock, takes no lock and never waits. While nothing goes wrong it costs a few instructions for
/// each call, and keeps nothing of a key that rests.
#[derive(Clone, Debug)]
pub struct Server {
    settings: ServerSettings,
    memory: ServerMemory,
    slow_start: Option<SlowStart>,
    overload: Overload,
    /// How many calls were accepted, up to a number that is enough, while nothing went wrong.
    accepted: u32,
    /// Made when a call is refused or fails for the first time.
    trouble: Option<Box<Trouble>>,
    events: VecDeque<ServerEvent>,
}

/// A call that was admitted.
#[derive(Debug)]
pub struct ServerToken {
    number: CallNumber,
    /// Its cost, and that of all calls up to it.
    tokens: u64,
    up_to: u64,
    sent: Instant,
    /// True if its failure says something of the server: not if the same call fails again and again while others do not.
    is_witness: bool,
    is_probe: bool,
}

impl ServerToken {
    /// Returns whether it went to see whether the server lets calls through again.
    pub const fn is_probe(&self) -> bool {
        self.is_probe
    }
}

/// So many accepted calls are enough to know what is usual.
const ENOUGH: u32 = 100;

impl Server {
    /// A server of which nothing is known.
    pub fn new(settings: ServerSettings) -> Self {
        let mut memory = ServerMemory::default();
        Self {
            settings,
            slow_start: settings.cold_start.then(|| SlowStart::at_first(&mut memory, settings.spread)),
            memory,
            overload: Overload::from(0),
            accepted: 0,
            trouble: None,
            events: VecDeque::new(),
        }
    }

    /// Applies other settings from now on. A brake that they switch off lets go.
    pub fn set_settings(&mut self, settings: ServerSettings, now: Instant) {
        if settings.places && !self.settings.places {
            self.overload = Overload::from(self.memory.next());
        }
        self.settings = settings;
        let Some(trouble) = &mut self.trouble else { return };
        if trouble.shut.is_some_and(|shut| !settings.shuts_for(shut.cause)) {
            self.open(now);
        }
        if let Some(trouble) = &mut self.trouble {
            if !settings.paces() {
                trouble.pace = None;
            }
            if !settings.places {
                trouble.places = None;
            }
        }
    }

    /// Forgets everything but the calls in flight, which say nothing any more.
    pub fn reset(&mut self, now: Instant) {
        self.open(now);
        self.trouble = None;
        self.memory.forget();
        self.accepted = 0;
        self.overload = Overload::from(self.memory.next());
        self.slow_start = self
            .settings
            .cold_start
            .then(|| SlowStart::at_first(&mut self.memory, self.settings.spread));
    }

    /// Lets calls through again at once, as if a probe had been accepted.
    pub fn open(&mut self, now: Instant) {
        let next = self.memory.point(now);
        let Some(trouble) = &mut self.trouble else { return };
        if let Some(shut) = trouble.shut.take() {
            if let Some(pace) = &mut trouble.pace {
                pace.opened(next);
            }
            self.slow_start = None;
            self.events.push_back(ServerEvent::Opened { cause: shut.cause, by_probe: false });
        }
    }

    /// Enough is known of the server to send as many calls as there are, if nothing has gone wrong.
    pub fn end_cold_start(&mut self) {
        if self.trouble.is_none() {
            self.slow_start = None;
        }
    }

    /// Other knowledge of the server does not hold any more: if nothing else is known, it begins as a new one.
    pub fn start_anew(&mut self) {
        if self.trouble.is_none() && self.settings.cold_start {
            self.slow_start = Some(SlowStart::at_first(&mut self.memory, self.settings.spread));
        }
    }

    /// Decides whether a call may go that costs so many tokens.
    #[inline]
    pub fn check(&mut self, tokens: u64, now: Instant) -> Decision<HeldBy> {
        if self.trouble.is_none() && self.slow_start.is_none_or(|slow| slow.admits(&self.memory, now)) {
            return Decision::Admit;
        }
        self.check_slow(tokens, now)
    }

    #[inline(never)]
    fn check_slow(&mut self, tokens: u64, now: Instant) -> Decision<HeldBy> {
        self.tick(now);
        if let Some(trouble) = &mut self.trouble {
            if trouble.shut.is_some() {
                return trouble.check_shut(&mut self.memory, now);
            }
            let held = trouble.check_places(&self.memory, &mut self.overload, now);
            if !held.is_admit() {
                return held;
            }
        }
        if let Some(slow_start) = self.slow_start.filter(|slow| !slow.admits(&self.memory, now)) {
            let held = HeldBy::SlowStart { window: slow_start.window() };
            return match slow_start.not_before(&mut self.memory) {
                Some(at) => Decision::NotBefore(at, held),
                None => Decision::WhenReleased(held),
            };
        }
        self.trouble.as_ref().map_or(Decision::Admit, |trouble| trouble.check_pace(tokens, now))
    }

    /// Takes up the calls that have been unanswered for so long that they were probably accepted.
    fn tick(&mut self, now: Instant) {
        while let Some(number) = self.memory.presume(now) {
            self.accepted(number, now);
        }
    }

    /// A call goes that costs so many tokens. `is_witness` says whether its failure would say something of the server.
    #[inline]
    pub fn admit(&mut self, tokens: u64, is_witness: bool, now: Instant) -> ServerToken {
        let number = self.memory.sent(tokens, now);
        if let Some(slow_start) = &mut self.slow_start {
            slow_start.sent(&self.memory, now);
        }
        let mut is_probe = false;
        if let Some(trouble) = &mut self.trouble {
            is_probe = trouble.sent(number, tokens, now);
            if is_probe {
                self.events.extend(trouble.shut.map(|shut| ServerEvent::Probing { cause: shut.cause }));
            }
        }
        ServerToken { number, tokens, up_to: self.memory.tokens(), sent: now, is_witness, is_probe }
    }

    /// The call is sent only now.
    pub fn sent_late(&mut self, token: &mut ServerToken, now: Instant) {
        token.sent = now;
        self.memory.sent_late(token.number, now);
    }

    /// The first content of the answer has come.
    #[inline]
    pub fn taken(&mut self, token: &ServerToken, now: Instant) {
        self.overload.answered();
        if self.memory.taken(token.number) {
            self.accepted(token.number, now);
        }
    }

    /// A call was accepted, or probably was.
    #[inline]
    fn accepted(&mut self, number: CallNumber, now: Instant) {
        if let Some(slow_start) = &mut self.slow_start {
            if slow_start.grow() {
                self.slow_start = None;
            }
        }
        match &self.trouble {
            None => self.accepted = (self.accepted + 1).min(ENOUGH),
            Some(_) => self.accepted_in_trouble(number, now),
        }
    }

    #[inline(never)]
    fn accepted_in_trouble(&mut self, number: CallNumber, now: Instant) {
        let Some(trouble) = &mut self.trouble else { return };
        let sent = self.memory.sent_at(number).unwrap_or(now);
        let places = trouble.limit();
        if let Some(opened) = trouble.accepted(number, sent, self.settings, &self.memory, now) {
            self.slow_start = opened.by_probe.then(|| SlowStart::after_shut(&mut self.memory));
            self.events
                .push_back(ServerEvent::Opened { cause: opened.cause, by_probe: opened.by_probe });
            self.note_places(places, aplomb_core::ConcurrencyCause::Throttled);
        }
    }

    /// The call has ended.
    #[inline]
    pub fn end(&mut self, token: &ServerToken, end: End, now: Instant) {
        match end {
            End::Judged { outcome, .. } if outcome.is_success() => self.succeeded(token, now),
            End::Judged { outcome, .. } => self.ended_badly(token, outcome, now),
            End::Unsent => {
                if let Some(trouble) = &mut self.trouble {
                    trouble.not_accepted(token.number, token.tokens);
                }
                self.left(token);
            }
            End::Abandoned => self.left(token),
        }
    }

    /// The call was answered, and has ended.
    #[inline]
    pub fn succeeded(&mut self, token: &ServerToken, now: Instant) {
        self.taken(token, now);
        self.memory.ended();
        self.batch(token, Some(now));
        if self.trouble.is_some() {
            self.succeeded_in_trouble(token);
        }
    }

    #[inline(never)]
    fn succeeded_in_trouble(&mut self, token: &ServerToken) {
        let Some(trouble) = &mut self.trouble else { return };
        trouble.released(token.number);
        let places = trouble.limit();
        if let Some(cause) = trouble.places.as_mut().and_then(places::Places::ended) {
            self.note_places(places, cause);
        }
    }

    /// It says nothing.
    fn left(&mut self, token: &ServerToken) {
        self.memory.gone(token.number);
        self.memory.ended();
        self.batch(token, None);
        if let Some(trouble) = &mut self.trouble {
            trouble.released(token.number);
        }
    }

    /// Compares how long answers take, where that may limit the calls in flight.
    #[inline]
    fn batch(&mut self, token: &ServerToken, answered: Option<Instant>) {
        if self.settings.places {
            self.compare(token, answered);
        }
    }

    fn compare(&mut self, token: &ServerToken, answered: Option<Instant>) {
        let answered = answered.map(|at| at.saturating_duration_since(token.sent));
        let limit = self.trouble.as_ref().and_then(|trouble| trouble.limit());
        let shape = (self.memory.in_flight(), limit.unwrap_or(16));
        let next = self.memory.next();
        if let Some(slower) = self.overload.ended(token.number, answered, shape, next) {
            self.compared(slower);
        }
    }

    fn compared(&mut self, slower: f64) {
        let Some(trouble) = &mut self.trouble else { return };
        let before = trouble.limit();
        if trouble.answers(slower) {
            self.note_places(before, aplomb_core::ConcurrencyCause::Slower);
        }
    }

    /// Reports a limit of places that has changed since it was `before`.
    fn note_places(&mut self, before: Option<u32>, cause: aplomb_core::ConcurrencyCause) {
        let now = self.trouble.as_ref().and_then(|trouble| trouble.limit());
        if before != now {
            self.events.push_back(ServerEvent::Places { from: before, to: now, cause });
        }
    }

    /// Returns whether there are events that were not reported.
    #[inline]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Takes the oldest event that was not reported.
    #[inline]
    pub fn next_event(&mut self) -> Option<ServerEvent> {
        self.events.pop_front()
    }

    /// Begins with a rate that was found earlier, in calls per second. Anything but a positive number is ignored.
    pub fn set_rate(&mut self, rate: f64, now: Instant) {
        if rate.is_finite() && rate > 0.0 && self.settings.paces() {
            let (accepted, settings, next) = (self.accepted, self.settings, self.memory.point(now));
            let trouble =
                self.trouble.get_or_insert_with(|| Box::new(Trouble::after(accepted, settings, next)));
            trouble.pace = Some(Pace::known(rate, next));
        }
    }
}
