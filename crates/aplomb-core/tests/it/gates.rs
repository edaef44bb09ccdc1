//! Two small gates: one that paces, one that counts.

use std::convert::Infallible;
use std::time::Duration;

use aplomb_core::{Decision, End, Gate, Reading, Usage};
use tokio::time::Instant;

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
    type Ask = ();
    type Slip = ();
    type Why = &'static str;
    type Notice = Infallible;

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
}

/// Lets a number in at a time, or refuses everybody; tells of every release.
#[derive(Debug)]
pub(crate) struct Slots {
    pub(crate) free: usize,
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
            refuses: false,
            released: 0,
            heard: Vec::new(),
            used: Vec::new(),
            ends: Vec::new(),
        }
    }
}

impl Gate for Slots {
    type Ask = ();
    type Slip = ();
    type Why = &'static str;
    type Notice = usize;

    fn check(&mut self, (): &(), _: Instant) -> Decision<&'static str> {
        match self.free {
            _ if self.refuses => Decision::Refuse("refuses"),
            0 => Decision::WhenReleased("taken"),
            _ => Decision::Admit,
        }
    }

    fn admit(&mut self, (): &(), _: Instant) {
        self.free -= 1;
    }

    fn heard(&mut self, (): &mut (), readings: &[Reading], _: Instant) {
        self.heard.extend(readings);
    }

    fn used(&mut self, (): &mut (), usage: Usage, _: Instant) {
        self.used.push(usage);
    }

    fn end(&mut self, (): (), end: End, _: Instant) {
        self.free += 1;
        self.released += 1;
        self.ends.push(end);
    }

    fn notice(&mut self) -> Option<usize> {
        (self.released > 0).then(|| std::mem::take(&mut self.released))
    }
}
