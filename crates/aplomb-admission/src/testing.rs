//! A gate for the tests of this crate.

use std::convert::Infallible;

use tokio::time::Instant;

use crate::{Decision, End, Gate};

/// Says the same to everybody and counts.
#[derive(Debug)]
pub(crate) struct Scripted {
    pub(crate) says: Decision<u32>,
    pub(crate) admitted: u32,
    pub(crate) ends: Vec<End>,
}

impl Scripted {
    pub(crate) fn new(says: Decision<u32>) -> Self {
        Self { says, admitted: 0, ends: Vec::new() }
    }
}

impl Gate for Scripted {
    type Ask = ();
    type Slip = ();
    type Why = u32;
    type Notice = Infallible;

    fn check(&mut self, (): &(), _: Instant) -> Decision<u32> {
        self.says
    }

    fn admit(&mut self, (): &(), _: Instant) {
        self.admitted += 1;
    }

    fn end(&mut self, (): (), end: End, _: Instant) {
        self.ends.push(end);
    }
}
