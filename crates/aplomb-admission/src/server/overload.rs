//! The signature of overload: calls hang, or answers take longer with more in flight.

use std::time::Duration;

use tokio::time::Instant;

use super::memory::CallNumber;

/// Watches how long answers take, and which calls hang.
///
/// Answers are compared in batches in the order of *sending*: the first answers to arrive are the quick ones, and
/// everything later looks slow.
#[derive(Clone, Debug)]
pub(super) struct Overload {
    batch: Batch,
    /// The best mean of a batch, in seconds, of which a little is forgotten with each.
    best: Option<f64>,
    /// The most calls that were in flight while answers were as quick.
    went_well: u32,
    /// How many calls hung since one was answered, and how many were in flight when the first of them hung.
    hung: u32,
    hung_with: u32,
    /// Until when calls that were given up are probably still worked on.
    abandoned: Vec<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Batch {
    first: CallNumber,
    size: u32,
    ended: u32,
    answered: u32,
    seconds: f64,
}

const BATCH: u32 = 16;

/// The best mean grows by this factor with each batch.
const FORGOTTEN: f64 = 1.05;

/// Answers that take this many times as long as the best are as good.
const WELL: f64 = 1.25;

/// So many calls in a row that hang are a sign, and with fewer in flight than this there cannot be too many.
const HUNG: u32 = 8;
const LEAST: u32 = 4;

/// At most so many abandoned calls are counted.
const ABANDONED: usize = 256;

impl Overload {
    /// Compares the calls from `next` on.
    pub(super) const fn from(next: CallNumber) -> Self {
        Self {
            batch: Batch::starting(next, BATCH),
            best: None,
            went_well: 0,
            hung: 0,
            hung_with: 0,
            abandoned: Vec::new(),
        }
    }

    /// A call has ended: `answered` after so long, or not. When its batch is complete, returns how many times longer
    /// than the best it took, and begins another of `size` calls.
    pub(super) fn ended(
        &mut self,
        number: CallNumber,
        answered: Option<Duration>,
        (in_flight, size): (u32, u32),
        next: CallNumber,
    ) -> Option<f64> {
        let batch = &mut self.batch;
        if number < batch.first || number - batch.first >= u64::from(batch.size) {
            return None;
        }
        batch.ended += 1;
        if let Some(took) = answered {
            batch.answered += 1;
            batch.seconds += took.as_secs_f64();
        }
        if batch.ended < batch.size {
            return None;
        }
        let Batch { answered, seconds, size: of, .. } = *batch;
        *batch = Batch::starting(next, size.clamp(4, 32));
        if answered * 2 < of {
            return None;
        }
        let mean = seconds / f64::from(answered);
        let best = self.best.map_or(mean, |best| (best * FORGOTTEN).min(mean));
        self.best = Some(best);
        if mean <= WELL * best {
            self.went_well = self.went_well.max(in_flight + 1);
        }
        Some(mean / best.max(1e-9))
    }

    /// A call was answered.
    pub(super) const fn answered(&mut self) {
        self.hung = 0;
    }

    /// A call hung for so long, with so many others in flight; it is probably still worked on. Returns how many calls
    /// should be in flight at most, if there are too many.
    pub(super) fn hung(&mut self, took: Duration, in_flight: u32, now: Instant) -> Option<u32> {
        if self.hung == 0 {
            self.hung_with = in_flight + 1;
        }
        self.hung = self.hung.saturating_add(1);
        if self.abandoned.len() < ABANDONED {
            self.abandoned.push(now + took * 2);
        }
        // With as many it went well before: the server is gone, and not overloaded.
        if self.hung < HUNG || self.hung_with <= self.went_well || self.hung_with < LEAST {
            return None;
        }
        let quarter = self.hung_with / 4;
        Some(
            if self.went_well > 0 {
                self.went_well
            } else {
                quarter
            }
            .max(1),
        )
    }

    /// How many calls that were given up are probably still worked on.
    pub(super) fn abandoned(&mut self, now: Instant) -> u32 {
        self.abandoned.retain(|until| *until > now);
        u32::try_from(self.abandoned.len()).unwrap_or(u32::MAX)
    }

    /// When the next of them is not any more.
    pub(super) fn next_abandoned(&self) -> Option<Instant> {
        self.abandoned.iter().min().copied()
    }
}

impl Batch {
    const fn starting(first: CallNumber, size: u32) -> Self {
        Self { first, size, ended: 0, answered: 0, seconds: 0.0 }
    }
}
