//! Three small gates: one that paces, one that counts, one that can be evicted.

use std::convert::Infallible;
use std::time::Duration;

use aplomb_admission::{Decision, End, Evictable, Gate, Hints, Progress, Worth};
use aplomb_core::{Reading, Usage};
use tokio::time::Instant;

use crate::gate_support::simple;

/// Lets one through per second.
#[derive(Debug)]
pub(crate) struct Paced {
    next: Instant,
    pub(crate) ends: Vec<End>,
}

pub(crate) const PACE: Duration = Duration::from_secs(1);

impl Paced {
    pub(crate) fn new() -> Self {
        Self { next: Instant::now(), ends: Vec::new() }
    }
}

impl Gate for Paced {
    type Cost = ();
    type Token = ();
    type Reason = &'static str;
    type Event = Infallible;

    fn check(&mut self, (): &(), now: Instant) -> Decision<&'static str> {
        if now < self.next {
            Decision::NotBefore(self.next, "paced")
        } else {
            Decision::Admit
        }
    }

    fn admit(&mut self, (): &(), now: Instant) {
        self.next = now + PACE;
    }

    fn end(&mut self, (): (), end: End, _: Instant) {
        self.ends.push(end);
    }

    fn forecast(&mut self, asks: &mut dyn Iterator<Item = &()>, _: Instant) -> Option<Instant> {
        let ahead = u32::try_from(asks.count()).unwrap() - 1;
        Some(self.next + PACE * ahead)
    }

    simple!(on hints next_event pooled);
}

/// Admits a number of calls at a time, or rejects all; reports every release.
#[derive(Debug)]
pub(crate) struct Slots {
    pub(crate) free: usize,
    pub(crate) longest_wait: Option<Duration>,
    pub(crate) refuses: bool,
    released: usize,
    pub(crate) heard: Vec<Reading>,
    pub(crate) used: Vec<Usage>,
    pub(crate) ends: Vec<End>,
}

impl Slots {
    pub(crate) fn new(free: usize) -> Self {
        Self {
            free,
            longest_wait: None,
            refuses: false,
            released: 0,
            heard: Vec::new(),
            used: Vec::new(),
            ends: Vec::new(),
        }
    }
}

impl Gate for Slots {
    type Cost = ();
    type Token = ();
    type Reason = &'static str;
    type Event = usize;

    fn check(&mut self, (): &(), _: Instant) -> Decision<&'static str> {
        match self.free {
            _ if self.refuses => Decision::Reject("refuses"),
            0 => Decision::WhenReleased("taken"),
            _ => Decision::Admit,
        }
    }

    fn admit(&mut self, (): &(), _: Instant) {
        self.free -= 1;
    }

    fn on(&mut self, (): &mut (), progress: Progress<'_>, _: Instant) {
        match progress {
            Progress::Limits(readings) => self.heard.extend(readings),
            Progress::Usage(usage) => self.used.push(usage),
            Progress::Sent | Progress::FirstByte => {}
        }
    }

    fn end(&mut self, (): (), end: End, _: Instant) {
        self.free += 1;
        self.released += 1;
        self.ends.push(end);
    }

    fn hints(&self) -> Hints {
        Hints { max_wait: self.longest_wait, ..Hints::default() }
    }

    fn next_event(&mut self) -> Option<usize> {
        (self.released > 0).then(|| std::mem::take(&mut self.released))
    }

    simple!(forecast pooled);
}

impl Evictable for Slots {
    fn worth(&mut self, _: Instant) -> Worth {
        Worth::HIGH
    }
}

/// Lets a number in at a time; counts all calls, and equals a fresh one a second after the last of them.
#[derive(Debug)]
pub(crate) struct Tally {
    at_once: u32,
    pub(crate) begun: u32,
    pub(crate) ended: u32,
    pub(crate) last: Instant,
    worth: Worth,
    event: bool,
}

impl Tally {
    pub(crate) fn new(at_once: u32) -> Self {
        Self {
            at_once,
            begun: 0,
            ended: 0,
            last: Instant::now(),
            worth: Worth::HIGH,
            event: false,
        }
    }

    /// Its worth until a second after its last call.
    pub(crate) fn worth(mut self, worth: Worth) -> Self {
        self.worth = worth;
        self
    }

    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.begun == self.ended && now > self.last + Duration::from_secs(1)
    }
}

impl Evictable for Tally {
    fn worth(&mut self, now: Instant) -> Worth {
        assert_eq!(self.begun, self.ended, "nobody has a permit");
        if self.is_fresh(now) {
            Worth::FRESH
        } else {
            self.worth
        }
    }
}

impl Gate for Tally {
    type Cost = ();
    type Token = ();
    type Reason = &'static str;
    type Event = u32;

    fn check(&mut self, (): &(), _: Instant) -> Decision<&'static str> {
        if self.begun - self.ended < self.at_once {
            Decision::Admit
        } else {
            Decision::WhenReleased("taken")
        }
    }

    fn admit(&mut self, (): &(), now: Instant) {
        self.begun += 1;
        self.last = now;
        assert!(self.begun - self.ended <= self.at_once, "one gate for each key");
    }

    fn end(&mut self, (): (), _: End, now: Instant) {
        self.ended += 1;
        self.last = now;
        self.event = true;
    }

    fn next_event(&mut self) -> Option<u32> {
        std::mem::take(&mut self.event).then_some(self.ended)
    }

    simple!(on forecast hints pooled);
}
