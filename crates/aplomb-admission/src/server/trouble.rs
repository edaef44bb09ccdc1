//! What is kept of a server once something has gone wrong: its brakes.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use aplomb_core::Outcome;
use tokio::time::Instant;

use super::crowd::Crowd;
use super::hints::Hints;
use super::memory::{CallNumber, ServerMemory};
use super::overload::Overload;
use super::pace::Pace;
use super::places::{FoundBy, Places, Refused};
use super::shut::{ProbeFailed, Shut};
use super::tally::Tally;
use super::usual::Usual;
use super::window::{Shutting, Windows};
use super::{HeldBy, ServerSettings, ShutCause};
use crate::{Decision, Worth};

/// The brakes, and what they have learned.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) shut: Option<Shut>,
    pub(super) pace: Option<Pace>,
    pub(super) places: Option<Places>,
    pub(super) usual: Usual,
    crowd: Crowd,
    pub(super) hints: Hints,
    pub(super) windows: Windows,
    /// What was accepted since each of the latest shuts for throttles.
    shuts: VecDeque<Tally>,
    /// How often a limit of places explained nothing.
    not_places: u32,
    /// When a call was last refused or failed.
    last: Instant,
    random: u64,
}

/// A call that was refused or failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) number: CallNumber,
    pub(super) is_witness: bool,
    pub(super) cause: ShutCause,
    pub(super) outcome: Outcome,
    /// The server's hint, as far as everybody waits for it.
    pub(super) hint: Option<Duration>,
}

/// The server lets calls through again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    pub(super) cause: ShutCause,
    pub(super) by_probe: bool,
}

/// A rate is measured over at least this time and so many calls, if there were shuts so long ago.
const BASE: Duration = Duration::from_secs(3);
const ENOUGH_CALLS: f64 = 16.0;

/// A rate is not measured over a longer time: perhaps nobody called.
const LONGEST_BASE: Duration = Duration::from_secs(120);

/// Fewer measure nothing.
const LEAST_CALLS: f64 = 1.0;

/// At most so many shuts are remembered.
const SHUTS: usize = 32;

/// After so many limits of places that explained nothing, none is tried any more.
const NOT_PLACES: u32 = 3;

/// At most after this time a probe goes, however long the server asks for: an account may have been topped up.
const LONGEST_HINT: Duration = Duration::from_secs(60 * 60);

/// What was learned is kept for so long after the last refusal.
const KEPT: Duration = Duration::from_secs(600);

/// A call that was accepted within this time shows that some get through.
const RECENTLY: Duration = Duration::from_secs(1);

/// A refusal without a hint is contradicted by calls that are sent within so many times the patience.
const CONTRADICTED: u32 = 2;
/// One with a hint by those sent within this share of it.
const CONTRADICTED_HINT: f64 = 0.8;

impl Trouble {
    /// The first call comes to nothing, after so many were accepted.
    pub(super) fn after(accepted: u32, settings: ServerSettings, now: Instant) -> Self {
        Self {
            shut: None,
            pace: None,
            places: None,
            usual: Usual::after(accepted),
            crowd: Crowd::default(),
            hints: Hints::default(),
            windows: Windows::default(),
            shuts: VecDeque::new(),
            not_places: 0,
            last: now,
            random: settings.seed.unwrap_or_else(|| RandomState::new().hash_one(())),
        }
    }

    /// The limit of places, if there is one.
    pub(super) fn limit(&self) -> Option<u32> {
        self.places.map(|places| places.limit())
    }

    /// Decides about a call while nobody gets through.
    pub(super) fn check_shut(&self, memory: &mut ServerMemory, now: Instant) -> Decision<HeldBy> {
        let Some(shut) = &self.shut else {
            return Decision::Admit;
        };
        let presumed = memory.next_presumed();
        // A probe that hangs holds up no other.
        let hangs = shut.cause == ShutCause::Failures && presumed.is_none();
        let probing = memory.unproven() > 0 && !hangs;
        let due = shut.not_before(now);
        if shut.is_released() || (due.is_none() && !probing) {
            return Decision::Admit;
        }
        let held = HeldBy::Shut {
            cause: shut.cause,
            since: shut.since,
            probe_at: shut.probe_at,
            probing,
            last: shut.last,
        };
        // The probe in flight may be presumed to be accepted before the next is due.
        let next = if probing {
            due.into_iter().chain(presumed).min()
        } else {
            due
        };
        match next {
            _ if shut.too_long => Decision::Reject(held),
            Some(at) => Decision::NotBefore(at, held),
            None => Decision::WhenReleased(held),
        }
    }

    /// Decides whether there is a place for a call.
    pub(super) fn check_places(
        &self,
        memory: &ServerMemory,
        overload: &mut Overload,
        now: Instant,
    ) -> Decision<HeldBy> {
        let Some(places) = &self.places else {
            return Decision::Admit;
        };
        let in_flight = memory.in_flight().saturating_add(overload.abandoned(now));
        if places.has_room(in_flight) {
            return Decision::Admit;
        }
        let held = HeldBy::Places { limit: places.limit(), in_flight: memory.in_flight() };
        match overload.next_abandoned() {
            Some(at) => Decision::NotBefore(at, held),
            None => Decision::WhenReleased(held),
        }
    }

    /// Decides whether a call keeps the pace.
    pub(super) fn check_pace(&self, now: Instant) -> Decision<HeldBy> {
        let Some(pace) = &self.pace else {
            return Decision::Admit;
        };
        match pace.not_before(now) {
            Some(at) => Decision::NotBefore(at, HeldBy::Pace { rate: pace.rate() }),
            None => Decision::Admit,
        }
    }

    /// A call goes. Returns whether it is a probe.
    pub(super) fn sent(&mut self, number: CallNumber, now: Instant) -> bool {
        if let Some(shut) = &mut self.shut {
            shut.sent(number, now);
            return true;
        }
        if let Some(places) = &mut self.places {
            places.sent();
        }
        if let Some(pace) = &mut self.pace {
            pace.sent(now);
        }
        false
    }

    /// A call was accepted that was sent at `sent`. Returns whether that opens the server.
    pub(super) fn accepted(
        &mut self,
        number: CallNumber,
        sent: Instant,
        settings: ServerSettings,
        memory: &ServerMemory,
        now: Instant,
    ) -> Option<Opened> {
        let freely = self.pace.is_none() && self.places.is_none();
        self.usual.accepted(sent, freely);
        if let Some(others) = memory.others(number) {
            self.crowd.accepted(others);
        }
        let shut = self.shut?;
        if number < shut.first_probe {
            // It was sent after the last that was refused: that was not about everybody.
            return (number > shut.last_bad).then(|| {
                self.shut = None;
                Opened { cause: shut.cause, by_probe: false }
            });
        }
        if shut.is_early(number) {
            self.hints.were_wrong();
        }
        if shut.is_release(number) {
            if settings.places && self.not_places < NOT_PLACES {
                self.places = Some(Places::by_release(shut.in_flight));
            }
        } else if shut.cause == ShutCause::Failures && shut.probes() <= 2 {
            // It is over so soon that it was chance.
            self.usual.add_failures(shut.run);
        }
        if shut.is_late() {
            self.windows.opened_unseen();
        } else {
            let shut_for = now.saturating_duration_since(shut.since);
            self.windows.opened(sent, shut.probes(), shut_for, memory.next(), now);
        }
        if let Some(pace) = &mut self.pace {
            pace.opened(memory.next(), now);
        }
        self.shut = None;
        Some(Opened { cause: shut.cause, by_probe: true })
    }

    /// A call that went before has ended, or was given up.
    pub(super) fn released(&mut self, number: CallNumber) {
        if let Some(shut) = &mut self.shut {
            if number < shut.first_probe && self.not_places < NOT_PLACES {
                shut.released();
            }
        }
    }

    /// A call was not accepted, and says nothing else.
    pub(super) fn not_accepted(&mut self, number: CallNumber) {
        if let Some(pace) = &mut self.pace {
            pace.bad(number);
        }
        self.windows.bad(number);
        self.shuts.iter_mut().for_each(|tally| tally.bad(number));
    }

    /// A call was refused or failed.
    pub(super) fn refused(
        &mut self,
        refusal: &Refusal,
        settings: ServerSettings,
        memory: &mut ServerMemory,
        now: Instant,
    ) {
        let Refusal { number, cause, hint, .. } = *refusal;
        self.last = now;
        self.not_accepted(number);
        if let Some(shut) = &mut self.shut {
            let (hint, too_long) = bounded(hint, settings);
            if number < shut.first_probe {
                shut.refused_too(hint, now);
                shut.last_bad = shut.last_bad.max(number);
                shut.too_long |= too_long;
            } else if refusal.is_witness {
                shut.last = refusal.outcome;
                if shut.probe_failed(number, hint, &mut self.hints, now) == ProbeFailed::NotPlaces {
                    self.not_places += 1;
                }
                shut.too_long |= too_long;
            }
            return;
        }
        if !refusal.is_witness {
            return;
        }
        if refusal.outcome.is_of_concurrency() {
            return self.too_many(settings, memory);
        }
        self.usual.doubt();
        if self.is_crowded(refusal, settings, memory) {
            return;
        }
        if cause == ShutCause::Throttles {
            let until = hint.map_or(memory.patience() * CONTRADICTED, |hint| hint.mul_f64(CONTRADICTED_HINT));
            self.usual.refused_until(now, until);
        }
        let is_alone = memory.in_flight() == 0
            && now.checked_sub(RECENTLY).is_none_or(|since| !memory.took_one(since, now));
        if settings.shuts_for(cause) && memory.run() >= self.usual.need(cause, is_alone) {
            return self.shut(refusal, settings, memory, now);
        }
        if cause == ShutCause::Throttles || self.places.is_some() {
            self.at_edge(memory, now);
        }
    }

    /// Whether it is too many calls at a time that are refused: from now on they are limited.
    fn is_crowded(&mut self, refusal: &Refusal, settings: ServerSettings, memory: &ServerMemory) -> bool {
        // A call that hangs is not refused.
        if refusal.outcome.is_unanswered() {
            return false;
        }
        if let Some(others) = memory.others(refusal.number) {
            self.crowd.refused(others);
        }
        let may_be = settings.places
            && self.places.is_none()
            && self.pace.is_none()
            && self.not_places < NOT_PLACES
            && refusal.hint.is_none();
        let limit = self.crowd.limit().filter(|_| may_be);
        if let Some(limit) = limit {
            self.places = Some(Places::by_release(limit));
            self.crowd = Crowd::default();
        }
        limit.is_some()
    }

    /// The server says that there are too many calls at a time.
    fn too_many(&mut self, settings: ServerSettings, memory: &ServerMemory) {
        let in_flight = memory.in_flight().max(1);
        match &mut self.places {
            Some(places) => {
                places.refused(in_flight);
            }
            None if settings.places => self.places = Some(Places::by_release(in_flight)),
            None => {}
        }
    }

    /// A call was refused while others get through: the limit of places, or the rate, may be a little too high.
    fn at_edge(&mut self, memory: &ServerMemory, now: Instant) {
        if let Some(places) = &mut self.places {
            match places.refused(memory.in_flight()) {
                Refused::Useless => {
                    self.usual.add_failures(places.refusals().into());
                    self.not_places += 1;
                    self.places = None;
                    return;
                }
                Refused::AtLimit => return,
                Refused::Elsewhere => {}
            }
        }
        if let Some(pace) = &mut self.pace {
            pace.refused(self.usual.refused(), memory.next(), now);
        }
    }

    /// Calls hang: at most so many should be in flight.
    pub(super) fn overloaded(&mut self, most: u32) {
        match &mut self.places {
            None => self.places = Some(Places::by_overload(most)),
            Some(places) => {
                places.overloaded();
            }
        }
    }

    /// Answers take `slower` times as long as the best. Returns whether a limit depends on that.
    pub(super) fn answers(&mut self, slower: f64) -> bool {
        let Some(places) = self.places.as_mut().filter(|places| places.found_by() == FoundBy::Overload)
        else {
            return false;
        };
        if !places.answers(slower) {
            self.places = None;
        }
        true
    }

    /// Nobody gets through any more.
    fn shut(&mut self, refusal: &Refusal, settings: ServerSettings, memory: &mut ServerMemory, now: Instant) {
        let (next, in_flight) = (memory.next(), memory.in_flight());
        let run = self.usual.take_doubtful();
        if let Some(places) = &mut self.places {
            if !places.shut(in_flight) {
                self.places = None;
                self.not_places += 1;
            }
        }
        let mut opens = None;
        if refusal.cause == ShutCause::Throttles && self.places.is_none() {
            opens = self.measure(settings, next, now);
            if self.shuts.len() == SHUTS {
                self.shuts.pop_front();
            }
            self.shuts.push_back(Tally::new(next, now));
        }
        let (hint, too_long) = bounded(refusal.hint, settings);
        let jitter = self.jitter();
        let each = self.pace.map_or(Duration::ZERO, |pace| pace.time_of_a_call());
        let calls = (refusal.number, next);
        let what = (refusal.outcome, hint);
        let mut shut =
            Shut::new(refusal.cause, what, calls, (in_flight, run), (&self.hints, each, jitter), now);
        shut.probe_at = opens.map_or(shut.probe_at, |opens| opens.max(shut.probe_at));
        shut.too_long = too_long;
        self.shut = Some(shut);
    }

    /// Measures the pace, unless calls flow in fixed windows: then returns when the next one opens, if that is known.
    fn measure(&mut self, settings: ServerSettings, next: CallNumber, now: Instant) -> Option<Instant> {
        if let Shutting::OfWindow { opens } = self.windows.shut(next, now) {
            self.pace = None;
            return opens;
        }
        let is_long = |tally: &Tally| {
            let age = now.saturating_duration_since(tally.since);
            age > LONGEST_BASE || (age > BASE && tally.accepted(next) >= ENOUGH_CALLS)
        };
        while self.shuts.get(1).is_some_and(is_long) {
            self.shuts.pop_front();
        }
        // Next to nothing was accepted in between: that measures how we asked, and no rate.
        let enough = |tally: &&Tally| tally.accepted(next) >= LEAST_CALLS;
        if let Some(since) = self.shuts.front().filter(|_| settings.paces()).filter(enough) {
            self.pace = Some(Pace::measured(since, self.windows.last_shut_for(), next, now));
        }
        None
    }

    /// A number from 0 to 1, another for each shut.
    fn jitter(&mut self) -> f64 {
        // SplitMix64, of Steele, Lea and Flood (OOPSLA 2014).
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from((mixed >> 32) as u32) / f64::from(u32::MAX)
    }

    /// The worth of what is known.
    pub(super) fn worth(&self, now: Instant) -> Worth {
        if let Some(shut) = &self.shut {
            let is_old = now.saturating_duration_since(shut.probe_at) >= KEPT;
            return if is_old { Worth::FRESH } else { Worth::HIGH };
        }
        if now.saturating_duration_since(self.last) >= KEPT {
            return Worth::FRESH;
        }
        if self.pace.is_some() || self.places.is_some() || !self.shuts.is_empty() {
            Worth::MEDIUM
        } else {
            Worth::LOW
        }
    }
}

/// A hint, at most as long as calls are held up, and whether it is longer than they wait.
fn bounded(hint: Option<Duration>, settings: ServerSettings) -> (Option<Duration>, bool) {
    let too_long = hint.is_some_and(|hint| hint > settings.max_pause);
    (hint.map(|hint| hint.min(LONGEST_HINT)), too_long)
}
