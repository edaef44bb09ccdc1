//! The brakes of a server, kept once something has gone wrong.

mod checks;
mod shutting;

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use aplomb_core::{Dimension, Outcome};
use tokio::time::Instant;

use super::crowd::Crowd;
use super::hints::Hints;
use super::memory::{CallNumber, Point, ServerMemory};
use super::pace::{Ends, Pace, Unit};
use super::places::{FoundBy, Places, Refused};
use super::shut::{ProbeFailed, Shut};
use super::suspicion::Suspicions;
use super::tally::Tally;
use super::trial::Verdict;
use super::usual::Usual;
use super::window::Windows;
use super::{ServerSettings, ShutCause};
use crate::Worth;

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
    /// The calls accepted since each of the latest shuts for throttles.
    shuts: VecDeque<Tally>,
    /// The unit of the server's limit, as its refusals say.
    unit: Unit,
    /// All calls up to the newest that came to nothing. Those after it may be refused yet.
    known: Point,
    /// Refusals that may be a limit, while there is no pace.
    suspicions: Suspicions,
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
    /// All calls up to it.
    pub(super) up_to: Point,
    /// Its cost.
    pub(super) tokens: u64,
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

/// After so many limits of places that explained nothing, none is tried any more.
const NOT_PLACES: u32 = 3;

/// At most after this time a probe goes, however long the server asks for: an account may have been topped up.
const LONGEST_HINT: Duration = Duration::from_secs(60 * 60);

/// Learned limits are kept for so long after the last refusal.
const KEPT: Duration = Duration::from_secs(600);

/// A call that was accepted within this time shows that some get through.
const RECENTLY: Duration = Duration::from_secs(1);

/// A refusal without a hint is contradicted by calls that are sent within so many times the patience.
const CONTRADICTED: u32 = 2;
/// One with a hint by those sent within this share of it.
const CONTRADICTED_HINT: f64 = 0.8;

/// A larger share than this is not expected to be refused by chance; nor a larger one than that while it is tried.
const MOST_CHANCE: f64 = 0.3;
const TRIED: f64 = 0.1;

impl Trouble {
    /// The first call comes to nothing, after so many were accepted.
    pub(super) fn after(accepted: u32, settings: ServerSettings, next: Point) -> Self {
        Self {
            shut: None,
            pace: None,
            places: None,
            usual: Usual::after(accepted),
            crowd: Crowd::default(),
            hints: Hints::default(),
            windows: Windows::default(),
            shuts: VecDeque::new(),
            unit: Unit::Calls,
            known: next,
            suspicions: Suspicions::default(),
            not_places: 0,
            last: next.at,
            random: settings.seed.unwrap_or_else(|| RandomState::new().hash_one(())),
        }
    }

    /// The limit of places, if there is one.
    pub(super) fn limit(&self) -> Option<u32> {
        self.places.map(|places| places.limit())
    }

    /// A call goes. Returns whether it is a probe.
    pub(super) fn sent(&mut self, number: CallNumber, tokens: u64, now: Instant) -> bool {
        if let Some(shut) = &mut self.shut {
            shut.sent(number, now);
            return true;
        }
        if let Some(places) = &mut self.places {
            places.sent();
        }
        if self.pace.as_mut().is_some_and(|pace| pace.sent(number, tokens, now)) {
            self.usual.refused_by_chance(0.0);
            self.suspicions.found_limit();
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
                self.pace = self.pace.filter(Pace::is_proven);
            }
        } else if shut.cause == ShutCause::Failures && shut.probes() <= 2 {
            // It is over so soon that it was chance.
            self.usual.add_failures(shut.run);
        }
        if shut.is_late() {
            self.windows.opened_unseen();
        } else {
            let shut_for = now.saturating_duration_since(shut.since);
            self.windows.opened(sent, shut.probes(), shut_for, memory.point(now));
        }
        if let Some(pace) = &mut self.pace {
            pace.opened(memory.point(now));
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
    pub(super) fn not_accepted(&mut self, number: CallNumber, tokens: u64) {
        if let Some(pace) = &mut self.pace {
            pace.bad(number, tokens);
        }
        self.windows.bad(number, tokens);
        self.suspicions.bad(number, tokens);
        self.shuts.iter_mut().for_each(|tally| tally.bad(number, tokens));
    }

    /// A call was refused or failed.
    pub(super) fn refused(
        &mut self,
        refusal: &Refusal,
        settings: ServerSettings,
        memory: &mut ServerMemory,
        now: Instant,
    ) {
        let Refusal { number, up_to, tokens, cause, hint, .. } = *refusal;
        if self.known.number < up_to.number {
            self.known = up_to;
        }
        self.last = now;
        self.not_accepted(number, tokens);
        if let Some(dimension) = refusal.outcome.dimension() {
            self.unit = if dimension == Dimension::REQUESTS {
                Unit::Calls
            } else {
                Unit::Tokens
            };
        }
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
            if cause == ShutCause::Throttles {
                self.too_fast(number, settings, memory, now);
            }
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
            self.at_edge(number, settings, memory, now);
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
            && !self.pace.as_ref().is_some_and(Pace::is_proven)
            && self.not_places < NOT_PLACES
            && refusal.hint.is_none();
        let limit = self.crowd.limit().filter(|_| may_be);
        if let Some(limit) = limit {
            self.places = Some(Places::by_release(limit));
            self.pace = None;
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
    fn at_edge(&mut self, number: CallNumber, settings: ServerSettings, memory: &ServerMemory, now: Instant) {
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
        self.too_fast(number, settings, memory, now);
    }

    /// A call was throttled while others get through: the rate may be too high, or it is chance.
    fn too_fast(
        &mut self,
        number: CallNumber,
        settings: ServerSettings,
        memory: &ServerMemory,
        now: Instant,
    ) {
        let ends = Ends { known: self.known, next: memory.point(now) };
        let Some(pace) = &mut self.pace else {
            let may_be = settings.paces() && self.places.is_none();
            if let Some(limit) = self.suspicions.refused(ends).filter(|_| may_be) {
                self.usual.refused_by_chance(self.usual.refused().min(TRIED));
                self.pace = Some(Pace::tried(&limit.accepted, self.unit, limit.share, ends));
            }
            return;
        };
        if let Verdict::Chance(share) = pace.refused(number, self.usual.refused(), self.unit, ends) {
            self.suspicions.found_chance(share, now);
            self.usual.refused_by_chance(share.min(MOST_CHANCE));
            self.pace = pace.undone(ends.next);
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
