//! The pace: how many calls a second the server accepts.

use std::time::Duration;

use tokio::time::Instant;

use super::memory::{CallNumber, Point};
use super::tally::Tally;
use super::trial::{Trial, Verdict};

/// A rate that was found between two times at which the server refused calls: what it accepted in between is what
/// it gives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// In calls per second.
    rate: f64,
    /// The tokens of a call, if that is what the server counts: one that costs twice as many counts as two.
    mean: Option<f64>,
    /// Since when the rate has flowed unused: a call goes when its share has.
    zero: Instant,
    /// It was measured while calls flowed. Otherwise it doubles until refusals say that it is too high.
    sure: bool,
    /// Since the rate was set, or the server opened.
    accepted: Tally,
    sent: u32,
    refused: u32,
    /// How many were refused while it was tried upwards, and whether that was in vain before.
    above: u32,
    vain: bool,
    /// It was measured by a few calls only.
    rough: bool,
    /// Whether refusals go away at this rate, until that is clear.
    trial: Option<Trial>,
    /// The rate to which it returns if they do not; none if there was none.
    former: Option<f64>,
}

/// The unit of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Calls,
    Tokens,
}

/// The calls accepted up to the newest one that is known to be refused, and the next call, which is sent now or later. What
/// is between the two may be refused yet, and counts for no rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) known: Point,
    pub(super) next: Point,
}

/// A rate is sure if so many calls were accepted while it was measured,
const SURE_CALLS: f64 = 16.0;
/// and the server was shut for at most this share of the time.
const SURE_SHUT: f64 = 0.7;

/// A rate is measured since the server opened if that is longer ago than this many seconds.
const LONG: f64 = 3.0;

/// A rate that is measured anew is tried if it is less than this share of the one before.
const SLOWER: f64 = 0.9;

/// An unsure rate doubles in this many seconds.
const DOUBLES_IN: f64 = 0.67;

/// A sure one is held for so many seconds, twice as long if it was tried upwards in vain. Then it grows by 3 % times the
/// square of the seconds; and doubles in two if that goes well for four.
const HELD: f64 = 3.0;
/// Not so long if it was measured by fewer calls than these.
const ROUGHLY_HELD: f64 = 0.5;
const FEW_CALLS: f64 = 8.0;
const GROWTH: f64 = 0.03;
const WELL: f64 = 4.0;
const WELL_DOUBLES_IN: f64 = 2.0;

/// It was tried in vain if what is measured then differs by less than this.
const SAME: f64 = 0.1;

/// Below this rate, in calls per second, everything takes longer in proportion, up to so many times.
const SLOW: f64 = 5.0;
const SLOWEST: f64 = 20.0;

/// The rate that is kept below what was accepted.
const MARGIN: f64 = 0.98;

/// Once a minute.
const LEAST: f64 = 1.0 / 60.0;

/// The least and the most that a call counts as.
const LEAST_WEIGHT: f64 = 1e-3;
const MOST_WEIGHT: f64 = 1e3;

/// A larger share than this is not taken to be refused by chance, and so much more than that is no chance.
const MOST_USUAL: f64 = 0.3;
const BEYOND_USUAL: f64 = 0.02;

/// While a rate is tried upwards, so many refusals are enough where hardly any are usual.
const ABOVE: u32 = 2;
const HARDLY_ANY: f64 = 0.01;

impl Unit {
    /// The tokens of a call that was accepted, if they are counted and known.
    fn mean(self, accepted: &Tally, known: Point) -> Option<f64> {
        let mean = accepted.accepted_tokens(known) / accepted.accepted(known).max(1.0);
        (self == Self::Tokens && mean >= 1.0).then_some(mean)
    }
}

impl Pace {
    /// The calls accepted between two shuts, of which the second is now, and the server had been shut for `shut_for` in
    /// between.
    pub(super) fn measured(between: &Tally, unit: Unit, shut_for: Duration, ends: Ends) -> Self {
        let seconds = between.seconds(ends.next.at).max(1e-3);
        let rate = between.rate(None, ends.known);
        Self {
            sure: rate * seconds >= SURE_CALLS && shut_for.as_secs_f64() < SURE_SHUT * seconds,
            mean: unit.mean(between, ends.known),
            trial: Some(Trial::after(between.refused(ends.known))),
            ..Self::known(rate, ends.next)
        }
    }

    /// The same while `before` was the pace.
    pub(super) fn after(self, before: &Self, shut_for: Duration, ends: Ends) -> Self {
        let is_comparable = self.mean.is_some() == before.mean.is_some();
        let seconds = before.accepted.seconds(ends.known.at);
        // Since it opened there was no pause, and hardly anything had been saved.
        let is_long = seconds > LONG && seconds > 2.0 * shut_for.as_secs_f64();
        let rate = if is_comparable && is_long {
            self.rate.max(before.accepted.rate(None, ends.known))
        } else {
            self.rate
        };
        if before.trial.is_some() {
            return Self { rate, former: before.former, trial: before.trial, ..self };
        }
        if is_comparable && rate < SLOWER * before.rate {
            return Self { rate, former: Some(before.rate), ..self };
        }
        Self { rate, former: None, trial: None, ..self }
    }

    /// The calls accepted while a share was refused, to see whether that goes away.
    pub(super) fn tried(accepted: &Tally, unit: Unit, share: f64, ends: Ends) -> Self {
        let mean = unit.mean(accepted, ends.known);
        let trial = if mean.is_none() {
            Trial::once(share)
        } else {
            Trial::after(share)
        };
        let rate = accepted.rate(None, ends.known) * MARGIN;
        Self { mean, trial: Some(trial), ..Self::known(rate, ends.next) }
    }

    /// A rate that was found earlier.
    pub(super) fn known(rate: f64, next: Point) -> Self {
        let rate = rate.max(LEAST);
        Self {
            rate,
            mean: None,
            zero: one_ago(rate, next.at),
            sure: true,
            accepted: Tally::new(next),
            sent: 0,
            refused: 0,
            above: 0,
            vain: false,
            rough: false,
            trial: None,
            former: None,
        }
    }

    /// The pace if refusals at this one are chance: the former one, or none.
    pub(super) fn undone(&self, next: Point) -> Option<Self> {
        self.former.map(|rate| Self { mean: self.mean, ..Self::known(rate, next) })
    }

    pub(super) const fn rate(&self) -> f64 {
        self.rate
    }

    /// Returns whether it has proven to be a limit.
    pub(super) const fn is_proven(&self) -> bool {
        self.sure && self.trial.is_none()
    }

    /// The time for which one call lasts, at this rate.
    pub(super) fn time_of_a_call(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate)
    }

    /// When a call that costs so many tokens may go; nothing if it may now.
    pub(super) fn not_before(&self, tokens: u64, now: Instant) -> Option<Instant> {
        let at = self.zero + self.share_of(tokens, self.growth(now));
        (at > now).then_some(at)
    }

    /// The time in which the share of a call flows.
    #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^52 tokens")]
    fn share_of(&self, tokens: u64, growth: f64) -> Duration {
        let weigh = |mean: f64| (tokens as f64 / mean).clamp(LEAST_WEIGHT, MOST_WEIGHT);
        Duration::from_secs_f64(self.mean.map_or(1.0, weigh) / (self.rate * growth))
    }

    /// A call goes. Returns whether a trial has shown that this is the limit.
    pub(super) fn sent(&mut self, number: CallNumber, tokens: u64, now: Instant) -> bool {
        self.sent = self.sent.saturating_add(1);
        let growth = self.growth(now);
        // Of what nobody used one call is saved.
        let saved = one_ago(self.rate * growth, now);
        self.zero = (self.zero + self.share_of(tokens, growth)).max(saved);
        if !self.sure || growth > 1.0 {
            return false;
        }
        let is_limit = self.trial.as_mut().is_some_and(|trial| trial.sent(number) == Verdict::Limit);
        if is_limit {
            self.trial = None;
        }
        is_limit
    }

    /// By how much the rate has grown.
    fn growth(&self, now: Instant) -> f64 {
        // A slow server needs longer to show whether it is too much.
        let seconds = self.accepted.seconds(now) / (SLOW / self.rate).clamp(1.0, SLOWEST);
        if !self.sure {
            return (seconds / DOUBLES_IN).min(20.0).exp2();
        }
        let held = match (self.rough, self.vain) {
            (true, _) => ROUGHLY_HELD,
            (_, true) => 2.0 * HELD,
            (_, false) => HELD,
        };
        let tried = (seconds - held).max(0.0);
        let doubled = ((tried - WELL) / WELL_DOUBLES_IN).min(20.0).exp2();
        (1.0 + GROWTH * tried.powi(2)).max(doubled)
    }

    /// The server lets calls through again: the clock starts anew.
    pub(super) fn opened(&mut self, next: Point) {
        self.zero = one_ago(self.rate, next.at);
        self.restart(next);
    }

    fn restart(&mut self, next: Point) {
        self.accepted = Tally::new(next);
        (self.sent, self.refused, self.above) = (0, 0, 0);
    }

    /// A call came to nothing.
    pub(super) fn bad(&mut self, number: CallNumber, tokens: u64) {
        self.accepted.bad(number, tokens);
    }

    /// A call was refused while others get through; `usual` is the share that is refused by chance. The rate is lowered if
    /// so many refusals are more than chance. Calls that were sent before the rate was set say nothing of it.
    pub(super) fn refused(&mut self, number: CallNumber, usual: f64, unit: Unit, ends: Ends) -> Verdict {
        if !self.accepted.has(number) {
            return Verdict::Open;
        }
        let growth = self.growth(ends.next.at);
        self.refused = self.refused.saturating_add(1);
        self.above += u32::from(self.sure && growth > 1.0);
        let verdict = self.trial.as_mut().map_or(Verdict::Open, |trial| trial.refused(number));
        let is_repeated = self.trial.is_some_and(|trial| trial.is_repeated());
        match verdict {
            Verdict::Chance(_) if is_repeated => return verdict,
            // The rate may not have been low enough.
            Verdict::Chance(_) => {}
            _ if self.is_edge(usual, ends.known) => {}
            _ => return Verdict::Open,
        }
        self.lower(growth, unit, ends);
        Verdict::Open
    }

    /// Whether more are refused than by chance.
    fn is_edge(&self, usual: f64, known: Point) -> bool {
        // If nobody was accepted, it is no matter of the rate.
        if self.accepted.accepted(known) < 1.0 {
            return false;
        }
        let (sent, refused) = (f64::from(self.sent), f64::from(self.refused));
        let expected = usual.min(MOST_USUAL) + BEYOND_USUAL;
        // Two standard deviations.
        let by_chance = sent * expected + 2.0 * (sent * expected * (1.0 - expected)).sqrt();
        let is_met = refused > by_chance && (self.refused >= 3 || self.sent >= 20);
        is_met || (self.above >= ABOVE && usual <= HARDLY_ANY)
    }

    /// As many calls as were accepted, but at least half as many as before.
    fn lower(&mut self, growth: f64, unit: Unit, ends: Ends) {
        let share = f64::from(self.refused) / f64::from(self.sent.max(1));
        if let Some(trial) = &mut self.trial {
            trial.lowered(share);
        } else {
            self.trial = Some(Trial::after(share));
            self.former = Some(self.rate);
        }
        let measured = self.accepted.rate(self.mean, ends.known).min(self.rate * growth);
        let rate = (measured.max(self.rate / 2.0) * MARGIN).max(LEAST);
        self.vain = self.sure && growth > 1.0 && (rate / self.rate - 1.0).abs() < SAME;
        self.sure = measured >= self.rate / 2.0;
        self.rough = self.accepted.accepted(ends.known) < FEW_CALLS;
        self.rate = rate;
        self.mean = self.mean.or_else(|| unit.mean(&self.accepted, ends.known));
        self.restart(ends.next);
    }
}

/// When one call less had flowed.
fn one_ago(rate: f64, now: Instant) -> Instant {
    now.checked_sub(Duration::from_secs_f64(1.0 / rate)).unwrap_or(now)
}
