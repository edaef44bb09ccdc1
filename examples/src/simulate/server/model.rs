//! The server's decisions, without waiting for anything.

use std::collections::HashMap;
use std::time::Duration;

use super::draw::Draw;
use super::limit::Level;
use super::world::{Down, Hint, Limit, Refusal, Unit, What, Words, Work, World};

/// The parts of a request that decisions depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) prompt: u64,
    /// The tokens that it may need, and those that it will.
    pub(crate) may_need: u64,
    pub(crate) will_need: u64,
}

/// The treatment of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    /// It takes this long at full speed, and ends like this.
    Taken(Duration, Ending),
    /// It is refused, or fails, with this status and hint.
    Answered(Refusal, Option<Duration>),
    /// It is reset, or gets no connection.
    Reset(Down),
    /// It is never answered.
    Hangs,
}

/// The time at which a request will be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opens {
    Now,
    /// Then, or when a request in flight ends.
    At(Duration),
    WhenOneEnds,
    Never,
}

/// The end of a request that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Well,
    /// It fails with this status.
    Fails(u16),
    /// Its stream is an error, or incomplete.
    Stream(What),
    /// An outage interrupts it at this time.
    Broken(Down),
}

/// The state that decisions depend on.
#[derive(Debug)]
pub(crate) struct Model {
    world: World,
    seed: u64,
    levels: Vec<Level>,
    in_flight: usize,
    funded: u64,
    /// The number of random draws of each prompt.
    attempts: HashMap<u64, u32>,
}

impl Model {
    pub(crate) fn new(world: &World, seed: u64) -> Self {
        Self {
            levels: world.limits.iter().map(Level::new).collect(),
            world: world.clone(),
            seed,
            in_flight: 0,
            funded: 0,
            attempts: HashMap::new(),
        }
    }

    pub(crate) const fn world(&self) -> &World {
        &self.world
    }

    /// The limits and their levels at `now`.
    pub(crate) fn levels(&mut self, now: Duration) -> &[Level] {
        for level in &mut self.levels {
            level.advance(now);
        }
        &self.levels
    }

    /// Decides about a request. One that is accepted is in flight until [`leave`](Self::leave).
    pub(crate) fn arrive(&mut self, arrival: &Arrival, now: Duration) -> Fate {
        if let Some(outage) = self.world.outage(now) {
            return match outage.how {
                Down::Unavailable => Fate::Answered(Refusal::overloaded(), None),
                Down::Hangs => Fate::Hangs,
                how => Fate::Reset(how),
            };
        }
        if self.world.funds.is_some_and(|funds| self.funded >= funds) {
            return Fate::Answered(Refusal { status: 402, ..Refusal::too_many(Hint::None) }, None);
        }
        let attempt = {
            let attempts = self.attempts.entry(arrival.prompt).or_default();
            *attempts += 1;
            *attempts
        };
        let mut ending = Ending::Well;
        for (n, fault) in (0..).zip(&self.world.faults) {
            let is_now = fault.when.as_ref().is_none_or(|when| when.contains(&now));
            if !is_now || Draw::new(self.seed, arrival.prompt, attempt, n).share() >= fault.share {
                continue;
            }
            match fault.what {
                What::Refused(refusal) => return Fate::Answered(refusal, hint(refusal, None)),
                What::Fails(status) => {
                    return Fate::Answered(Refusal { status, ..Refusal::overloaded() }, None);
                }
                What::Reset => return Fate::Reset(Down::Resets),
                What::Hangs => return Fate::Hangs,
                What::FailsLate(status) => ending = Ending::Fails(status),
                stream @ (What::StreamError | What::StreamRefused | What::StreamBreaks) => {
                    ending = Ending::Stream(stream);
                }
            }
            break;
        }
        if let Some((_, refusal)) = self.world.places.filter(|(places, _)| self.in_flight >= *places) {
            return Fate::Answered(refusal, hint(refusal, None));
        }
        if let Some(refused) = self.draw_on_limits(arrival, now) {
            return refused;
        }
        if let Some(refusal) = self.world.poison(arrival.prompt) {
            return Fate::Answered(refusal, hint(refusal, None));
        }
        self.in_flight += 1;
        self.funded += 1;
        let takes = self.takes(arrival.prompt, attempt);
        match self.world.broken(now, now + takes) {
            Some(outage) => Fate::Taken(outage.when.start.saturating_sub(now), Ending::Broken(outage.how)),
            None => Fate::Taken(takes, ending),
        }
    }

    /// The best time to send a request that could be sent now: when it will be accepted, random faults aside, and
    /// finds the server at full speed.
    pub(crate) fn opens(&mut self, arrival: &Arrival, now: Duration) -> Opens {
        let has_funds = self.world.funds.is_none_or(|funds| self.funded < funds);
        if !has_funds || self.world.poison(arrival.prompt).is_some() {
            return Opens::Never;
        }
        if let Some(outage) = self.world.outage(now) {
            return Opens::At(outage.when.end);
        }
        let next_attempt = self.attempts.get(&arrival.prompt).map_or(1, |attempts| attempts + 1);
        let takes = self.takes(arrival.prompt, next_attempt);
        if let Some(outage) = self.world.broken(now, now + takes) {
            return Opens::At(outage.when.end);
        }
        let at_work = match self.world.work {
            Work::Everything => usize::MAX,
            Work::Queue(places) => places,
            Work::Collapse(capacity) => capacity as usize,
        };
        let places = self.world.places.map_or(usize::MAX, |(places, _)| places);
        if self.in_flight >= places.min(at_work) {
            return Opens::WhenOneEnds;
        }
        let mut wait = Duration::ZERO;
        for level in &mut self.levels {
            level.advance(now);
            match level.delay(cost(level.limit(), arrival)) {
                None => return Opens::Never,
                Some(delay) => wait = wait.max(delay),
            }
        }
        if wait.is_zero() {
            Opens::Now
        } else {
            Opens::At(now + wait)
        }
    }

    /// The time to the head of an attempt's answer.
    pub(crate) fn takes(&self, prompt: u64, attempt: u32) -> Duration {
        self.world.latency.draw(Draw::new(self.seed, prompt, attempt, u64::MAX))
    }

    /// A request is no longer in flight; `answered` if it got its whole answer.
    pub(crate) fn leave(&mut self, arrival: &Arrival, answered: bool, now: Duration) {
        self.in_flight = self.in_flight.saturating_sub(1);
        for level in &mut self.levels {
            if level.limit().unit == (Unit::Tokens { given_back: true }) {
                level.advance(now);
                let used = if answered { arrival.will_need } else { 0 };
                level.give_back(arrival.may_need.saturating_sub(used));
            }
        }
    }

    pub(crate) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Takes the request from all limits, or from none but those that count refused requests too.
    fn draw_on_limits(&mut self, arrival: &Arrival, now: Duration) -> Option<Fate> {
        let mut refused: Option<(Refusal, Option<Duration>)> = None;
        for level in &mut self.levels {
            level.advance(now);
            let delay = level.delay(cost(level.limit(), arrival));
            if delay != Some(Duration::ZERO) {
                let refusal = level.limit().refusal;
                let refusal = if delay.is_some() {
                    refusal
                } else {
                    Refusal { words: Words::TooLarge, ..refusal }
                };
                refused.get_or_insert((refusal, delay));
            }
        }
        for level in &mut self.levels {
            if refused.is_none() || level.limit().refused_count {
                level.take(cost(level.limit(), arrival));
            }
        }
        // A limit that counts refused requests may have moved the time.
        refused.map(|(refusal, delay)| Fate::Answered(refusal, hint(refusal, delay)))
    }
}

/// The cost of a request.
pub(crate) const fn cost(limit: &Limit, arrival: &Arrival) -> u64 {
    match limit.unit {
        Unit::Requests => 1,
        Unit::Tokens { .. } => arrival.may_need,
    }
}

/// The delay that a refused request is told.
const fn hint(refusal: Refusal, truth: Option<Duration>) -> Option<Duration> {
    match refusal.hint {
        Hint::None => None,
        Hint::Exact => truth,
        Hint::Seconds(seconds) => Some(Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::{Fault, Outage};
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn arrival(prompt: u64) -> Arrival {
        Arrival { prompt, may_need: 100, will_need: 10 }
    }

    #[test]
    fn whoever_is_above_a_limit_is_told_when_to_come_back() {
        let world = World { limits: vec![Limit::bucket(1, S, 1)], ..World::default() };
        let mut model = Model::new(&world, 0);
        assert!(matches!(model.arrive(&arrival(1), Duration::ZERO), Fate::Taken(..)));
        let told = Fate::Answered(Refusal::too_many(Hint::Exact), Some(S));
        assert_eq!(model.arrive(&arrival(2), Duration::ZERO), told);
        assert!(matches!(model.arrive(&arrival(2), S), Fate::Taken(..)));
    }

    #[test]
    fn only_so_many_are_in_flight() {
        let world = World { places: Some((1, Refusal::overloaded())), ..World::default() };
        let mut model = Model::new(&world, 0);
        assert!(matches!(model.arrive(&arrival(1), Duration::ZERO), Fate::Taken(..)));
        assert!(matches!(model.arrive(&arrival(2), Duration::ZERO), Fate::Answered(..)));
        model.leave(&arrival(1), true, S);
        assert!(matches!(model.arrive(&arrival(2), S), Fate::Taken(..)));
    }

    #[test]
    fn an_outage_breaks_what_is_in_flight() {
        let outage = Outage { when: S / 2..2 * S, how: Down::Refuses };
        let mut model = Model::new(&World { outages: vec![outage], ..World::default() }, 0);
        let broken = Fate::Taken(S / 2, Ending::Broken(Down::Refuses));
        assert_eq!(model.arrive(&arrival(1), Duration::ZERO), broken);
        assert_eq!(model.arrive(&arrival(2), S), Fate::Reset(Down::Refuses));
        assert!(matches!(model.arrive(&arrival(2), 2 * S), Fate::Taken(_, Ending::Well)));
    }

    #[test]
    fn chance_is_that_of_the_prompt_and_its_attempt() {
        let fault = Fault { share: 0.5, when: None, what: What::Fails(500) };
        let world = World { faults: vec![fault], ..World::default() };
        let fates = |order: &[u64]| {
            let mut model = Model::new(&world, 3);
            let mut fates: Vec<_> = order.iter().map(|n| (*n, model.arrive(&arrival(*n), S))).collect();
            fates.sort_by_key(|(n, _)| *n);
            fates
        };
        assert_eq!(fates(&[1, 2, 3, 4]), fates(&[4, 2, 3, 1]));
        let failed = (0..1_000).filter(|n| {
            let mut model = Model::new(&world, *n);
            matches!(model.arrive(&arrival(1), S), Fate::Answered(..))
        });
        assert!((430..570).contains(&failed.count()));
    }

    #[test]
    fn tokens_that_were_not_needed_are_given_back() {
        let limit = Limit::bucket(100, 60 * S, 100).tokens(true);
        let mut model = Model::new(&World { limits: vec![limit], ..World::default() }, 0);
        assert!(matches!(model.arrive(&arrival(1), Duration::ZERO), Fate::Taken(..)));
        assert_eq!(model.levels(Duration::ZERO)[0].remaining(), 0);
        model.leave(&arrival(1), true, Duration::ZERO);
        assert_eq!(model.levels(Duration::ZERO)[0].remaining(), 90);
    }
}
