//! The calls of late, in the order in which they were sent, and what became of them.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::patience::Patience;

/// The number of a call: calls are numbered in the order in which they are sent.
pub(super) type CallNumber = u64;

/// The state of a call, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Unanswered.
    Pending,
    /// Unanswered for several times as long as a refusal takes: probably accepted.
    Presumed,
    /// Its answer has begun.
    Taken,
    /// Refused, or failed.
    Bad,
    /// It says nothing: it was never sent, its caller went away, or its failure is its own.
    Gone,
}

/// A point in the order of the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    /// The number of the next call.
    pub(super) number: CallNumber,
    /// The cost of all calls before it, in tokens.
    pub(super) tokens: u64,
    /// When it was sent.
    pub(super) at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    /// How many others were in flight.
    others: u16,
    fate: Fate,
}

/// So many calls are kept that are not pending.
const KEPT: usize = 512;

/// So many calls are kept at all. Older ones are forgotten while they are pending, and say nothing.
const MOST: usize = 4_096;

/// The calls of late, in the order in which they were sent.
///
/// The order of *sending* is what counts: failures end within milliseconds and answers after seconds, so in the order in
/// which calls end, a server that answers most of them seems to answer none.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerMemory {
    calls: VecDeque<Sent>,
    /// The number of the first of `calls`.
    base: CallNumber,
    /// No call with a lower number is pending.
    undecided: CallNumber,
    /// The calls from `watched.0` on that are pending: so many.
    watched: (CallNumber, u32),
    patience: Patience,
    /// A call has hung, and none has been answered, refused or failed since.
    hangs: bool,
    in_flight: u32,
    /// The cost of all calls, in tokens.
    tokens: u64,
}

impl ServerMemory {
    /// The number of the next call.
    #[inline]
    pub(super) fn next(&self) -> CallNumber {
        self.base + self.calls.len() as u64
    }

    /// The end of what was sent.
    pub(super) fn point(&self, now: Instant) -> Point {
        Point { number: self.next(), tokens: self.tokens, at: now }
    }

    /// The cost of all calls, in tokens.
    pub(super) const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// How many calls have been sent and have not ended.
    pub(super) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// A call that is unanswered for so long has probably been accepted.
    pub(super) const fn patience(&self) -> Duration {
        self.patience.get()
    }

    /// A call is sent that costs so many tokens.
    #[inline]
    pub(super) fn sent(&mut self, tokens: u64, now: Instant) -> CallNumber {
        self.tokens = self.tokens.wrapping_add(tokens);
        let number = self.next();
        if self.calls.len() >= KEPT {
            self.forget_oldest();
        }
        let others = u16::try_from(self.in_flight).unwrap_or(u16::MAX);
        self.calls.push_back(Sent { at: now, others, fate: Fate::Pending });
        self.watched.1 += 1;
        self.in_flight += 1;
        number
    }

    /// Makes room, so that the memory does not grow with the number of calls.
    #[inline]
    fn forget_oldest(&mut self) {
        while self.calls.len() >= KEPT {
            let is_pending = self.calls.front().is_some_and(|call| call.fate == Fate::Pending);
            if is_pending && self.calls.len() < MOST {
                break;
            }
            if is_pending {
                self.decide(self.base, Fate::Gone);
            }
            self.calls.pop_front();
            self.base += 1;
        }
    }

    /// A call that was admitted some time ago is sent only now.
    pub(super) fn sent_late(&mut self, number: CallNumber, now: Instant) {
        if let Some(call) = self.get_mut(number).filter(|call| call.fate == Fate::Pending) {
            call.at = now;
        }
    }

    /// A call is answered. Returns whether that is news: it may have been presumed.
    #[inline]
    pub(super) fn taken(&mut self, number: CallNumber) -> bool {
        self.hangs = false;
        self.decide(number, Fate::Taken) == Some(Fate::Pending)
    }

    /// A call was refused or failed, and took so long to do so. One that hung says nothing of how fast refusals are; one
    /// that did not shows that the server does not hang, as an answer does.
    pub(super) fn bad(&mut self, number: CallNumber, took: Duration, hung: bool) {
        let was = self.decide(number, Fate::Bad);
        self.hangs = hung;
        if !hung && was != Some(Fate::Taken) {
            self.patience.refused_in(took);
        }
    }

    /// A call says nothing, unless it has been answered.
    pub(super) fn gone(&mut self, number: CallNumber) {
        if matches!(self.fate(number), Fate::Pending | Fate::Presumed) {
            self.decide(number, Fate::Gone);
        }
    }

    /// The outcomes of calls do not count any more; those that are pending still have to end.
    pub(super) fn forget(&mut self) {
        for call in &mut self.calls {
            if call.fate != Fate::Pending {
                call.fate = Fate::Gone;
            }
        }
        self.hangs = false;
    }

    /// A call has ended.
    #[inline]
    pub(super) fn ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A call that is unanswered for longer than [`patience`](Self::patience), and was not presumed to be accepted so far.
    #[inline]
    pub(super) fn presume(&mut self, now: Instant) -> Option<CallNumber> {
        self.next_presumed().filter(|due| *due <= now)?;
        let number = self.undecided;
        self.decide(number, Fate::Presumed);
        Some(number)
    }

    /// When the oldest pending call will be presumed to be accepted; not while calls hang.
    #[inline]
    pub(super) fn next_presumed(&mut self) -> Option<Instant> {
        if self.hangs {
            return None;
        }
        self.skip_decided();
        Some(self.get(self.undecided)?.at + self.patience())
    }

    /// Counts the pending calls that are sent from now on.
    pub(super) fn watch(&mut self) {
        self.watched = (self.next(), 0);
    }

    /// How many calls are pending of those that were sent since [`watch`](Self::watch).
    pub(super) const fn unproven(&self) -> u32 {
        self.watched.1
    }

    /// How many calls in a row came to nothing, in the order in which they were sent, up to the newest that is known.
    ///
    /// One that was accepted ends the run, and so does one that is still pending: what became of it is not known. Those
    /// that are pending *after* the newest known call do not count, or a busy client would never see an outage.
    pub(super) fn run(&self) -> u32 {
        let newest_first = self.calls.iter().rev().map(|call| call.fate);
        let known = newest_first.skip_while(|fate| matches!(fate, Fate::Pending | Fate::Gone));
        let run = known.filter(|fate| *fate != Fate::Gone).take_while(|fate| *fate == Fate::Bad);
        u32::try_from(run.count()).unwrap_or(u32::MAX)
    }

    /// Returns whether a call was accepted that was sent after `after`, at `until` at the latest.
    pub(super) fn took_one(&self, after: Instant, until: Instant) -> bool {
        let recent = self.calls.iter().rev().take_while(|call| call.at > after);
        recent
            .filter(|call| call.at <= until)
            .any(|call| matches!(call.fate, Fate::Taken | Fate::Presumed))
    }

    /// How many others were in flight when a call was sent, if it is remembered.
    pub(super) fn others(&self, number: CallNumber) -> Option<u16> {
        Some(self.get(number)?.others)
    }

    /// When a call was sent, if it is remembered.
    pub(super) fn sent_at(&self, number: CallNumber) -> Option<Instant> {
        Some(self.get(number)?.at)
    }

    /// Forgets all calls while none is in flight, and gives back what they took.
    pub(super) fn rest(&mut self) {
        if self.in_flight == 0 {
            self.base = self.next();
            self.undecided = self.base;
            self.watched.1 = 0;
            self.calls = VecDeque::new();
        }
    }

    pub(super) fn fate(&self, number: CallNumber) -> Fate {
        self.get(number).map_or(Fate::Gone, |call| call.fate)
    }

    fn skip_decided(&mut self) {
        self.undecided = self.undecided.max(self.base);
        while self.get(self.undecided).is_some_and(|call| call.fate != Fate::Pending) {
            self.undecided += 1;
        }
    }

    /// Notes the fate of a call, and returns what it was.
    #[inline]
    fn decide(&mut self, number: CallNumber, fate: Fate) -> Option<Fate> {
        let call = self.get_mut(number)?;
        let was = std::mem::replace(&mut call.fate, fate);
        if was == Fate::Pending && number >= self.watched.0 {
            self.watched.1 = self.watched.1.saturating_sub(1);
        }
        Some(was)
    }

    #[inline]
    fn place(&self, number: CallNumber) -> Option<usize> {
        usize::try_from(number.checked_sub(self.base)?).ok()
    }

    #[inline]
    fn get(&self, number: CallNumber) -> Option<&Sent> {
        self.calls.get(self.place(number)?)
    }

    #[inline]
    fn get_mut(&mut self, number: CallNumber) -> Option<&mut Sent> {
        let place = self.place(number)?;
        self.calls.get_mut(place)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_run_is_counted_in_the_order_of_sending() {
        let (mut memory, now) = (ServerMemory::default(), Instant::now());
        let calls: Vec<_> = (0..6).map(|_| memory.sent(1, now)).collect();
        for number in [0, 1, 4] {
            memory.bad(calls[number], MS, false);
        }
        // 2 and 3 are not known yet, and 5 may yet fail.
        assert_eq!(memory.run(), 1);
        memory.bad(calls[3], MS, false);
        assert_eq!(memory.run(), 2);
        memory.gone(calls[2]);
        assert_eq!(memory.run(), 4);
        memory.taken(calls[2]);
        assert_eq!(memory.run(), 2);
        memory.taken(calls[5]);
        assert_eq!(memory.run(), 0);
    }

    #[test]
    fn what_is_unanswered_for_long_is_presumed_to_be_accepted_but_not_while_calls_hang() {
        let (mut memory, now) = (ServerMemory::default(), Instant::now());
        let (refused, hung, first) = (memory.sent(1, now), memory.sent(1, now), memory.sent(1, now));
        memory.bad(refused, 30 * MS, false);
        assert_eq!(memory.patience(), 120 * MS);
        memory.bad(hung, 9_000 * MS, true);
        assert_eq!(memory.presume(now + 10_000 * MS), None);
        memory.taken(first);
        let second = memory.sent(1, now);
        assert_eq!(memory.next_presumed(), Some(now + 120 * MS));
        assert_eq!(memory.presume(now + 119 * MS), None);
        assert_eq!(memory.presume(now + 120 * MS), Some(second));
        assert_eq!(memory.presume(now + 120 * MS), None);
        assert!(!memory.taken(second), "it was presumed");
    }

    #[test]
    fn a_call_that_was_accepted_is_found_by_when_it_was_sent() {
        let (mut memory, now) = (ServerMemory::default(), Instant::now());
        for (at, taken) in [(0, true), (10, false), (20, true), (30, false)] {
            let number = memory.sent(1, now + at * MS);
            if taken {
                memory.taken(number);
            }
        }
        assert!(memory.took_one(now, now + 25 * MS));
        assert!(memory.took_one(now + 10 * MS, now + 20 * MS));
        assert!(!memory.took_one(now, now + 19 * MS));
        assert!(!memory.took_one(now + 20 * MS, now + 90 * MS));
    }

    #[test]
    fn it_does_not_grow_with_the_number_of_calls() {
        let (mut memory, now) = (ServerMemory::default(), Instant::now());
        let long = memory.sent(1, now);
        for _ in 0..10 * MOST {
            let number = memory.sent(1, now);
            memory.taken(number);
            memory.ended();
        }
        assert!(memory.calls.len() <= MOST, "a pending call is kept, but not for ever");
        assert_eq!(memory.fate(long), Fate::Gone);
        assert_eq!((memory.unproven(), memory.in_flight()), (0, 1));
        memory.ended();
        memory.rest();
        assert_eq!(memory.calls.capacity(), 0);
        assert_eq!(memory.sent(1, now), memory.next() - 1);
    }

    /// The same with a list of all calls that were ever sent.
    #[derive(Default)]
    struct Model {
        calls: Vec<(Instant, Fate)>,
        watched: usize,
    }

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Send,
        Take(usize),
        Fail(usize),
        Leave(usize),
        Presume,
        Watch,
        Wait(u8),
    }

    fn any_act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => Just(Act::Send),
            2 => any::<usize>().prop_map(Act::Take),
            2 => any::<usize>().prop_map(Act::Fail),
            1 => any::<usize>().prop_map(Act::Leave),
            2 => Just(Act::Presume),
            1 => Just(Act::Watch),
            2 => any::<u8>().prop_map(Act::Wait),
        ]
    }

    proptest! {
        #[test]
        fn it_knows_what_a_list_of_all_calls_knows(acts in prop::collection::vec(any_act(), 0..400)) {
            let (mut memory, mut model, mut now) = (ServerMemory::default(), Model::default(), Instant::now());
            let start = now;
            for act in acts {
                let at = |which: usize, model: &Model| which.checked_rem(model.calls.len());
                match act {
                    Act::Send => {
                        prop_assert_eq!(memory.sent(1, now), model.calls.len() as u64);
                        model.calls.push((now, Fate::Pending));
                    }
                    Act::Take(which) => if let Some(which) = at(which, &model) {
                        let news = memory.taken(which as u64);
                        prop_assert_eq!(news, model.calls[which].1 == Fate::Pending);
                        model.calls[which].1 = Fate::Taken;
                    },
                    Act::Fail(which) => if let Some(which) = at(which, &model) {
                        memory.bad(which as u64, 10 * MS, false);
                        model.calls[which].1 = Fate::Bad;
                    },
                    Act::Leave(which) => if let Some(which) = at(which, &model) {
                        memory.gone(which as u64);
                        if matches!(model.calls[which].1, Fate::Pending | Fate::Presumed) {
                            model.calls[which].1 = Fate::Gone;
                        }
                    },
                    Act::Presume => {
                        let patience = memory.patience();
                        let due = model.calls.iter_mut().find(|call| call.1 == Fate::Pending);
                        let due = due.filter(|call| call.0 + patience <= now);
                        prop_assert_eq!(memory.presume(now).is_some(), due.is_some());
                        if let Some(due) = due {
                            due.1 = Fate::Presumed;
                        }
                    }
                    Act::Watch => {
                        memory.watch();
                        model.watched = model.calls.len();
                    }
                    Act::Wait(ms) => now += u32::from(ms) * MS,
                }
                let fates = || model.calls.iter().map(|call| call.1).filter(|fate| *fate != Fate::Gone);
                let known: Vec<_> = fates().rev().skip_while(|fate| *fate == Fate::Pending).collect();
                let run = known.iter().take_while(|fate| **fate == Fate::Bad).count();
                prop_assert_eq!(memory.run() as usize, run);
                let pending = model.calls[model.watched..].iter().filter(|call| call.1 == Fate::Pending);
                prop_assert_eq!(memory.unproven() as usize, pending.count());
                let accepted = |call: &&(Instant, Fate)| matches!(call.1, Fate::Taken | Fate::Presumed);
                let took_one = model.calls.iter().filter(accepted).any(|call| call.0 > start && call.0 < now);
                prop_assert_eq!(memory.took_one(start, now - MS), took_one);
            }
        }
    }
}
