//! The limits that the server reported.

use std::collections::VecDeque;
use std::time::Duration;

use aplomb_core::Event;

use super::rates::Trial;
use crate::gauge::Gauge;
use crate::reported_limit::Agreement;

/// Created when there is something to know.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerLimits {
    /// By the id of the quota.
    pub(super) estimates: Estimates,
    /// When the first limit that the server reported expires, unless it is reported again.
    pub(super) expires: Option<u64>,
    /// Events that have not been reported yet.
    pub(super) events: VecDeque<Event>,
}

pub(super) type Estimates = Vec<(u32, Estimate)>;

/// The readings of one quota.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Estimate {
    pub(super) level: Agreement,
    pub(super) rate: Agreement,
    /// The remainder that the server reports, until the reset that it names.
    pub(super) gauge: Gauge,
    /// How often resets were those of a bucket: twice, and what flows back is believed instead of the gauge.
    pub(super) flows: u8,
    /// The window that followed from the last reset, while another is in force.
    pub(super) inferred: Option<Duration>,
    /// Whether a reported rate that is stricter than the configured one is right.
    pub(super) trial: Trial,
    /// True if the server has refused calls though its own account had enough: less than it reports may come at once.
    pub(super) burst_refuted: bool,
    /// When the first of the calls was sent that it refuses; 0 if it accepts them.
    pub(super) refused_from: u64,
    /// When its fixed window is over; 0 if it does not seem to have one.
    pub(super) full_at: u64,
    /// When everything that readings took from the bucket has flowed back.
    pub(super) tightened_until: u64,
    /// The time of the last one.
    pub(super) confirmed: u64,
}

/// How long a reported limit holds unless it is reported again, in nanoseconds.
pub(super) const EXPIRES_AFTER: u64 = 60 * 60 * 1_000_000_000;

impl Estimate {
    pub(super) const fn expires(&self) -> u64 {
        self.confirmed.saturating_add(EXPIRES_AFTER)
    }
}

impl ServerLimits {
    pub(super) fn estimate(&self, id: u32) -> Option<&Estimate> {
        self.estimates.iter().find(|(of, _)| *of == id).map(|(_, estimate)| estimate)
    }

    pub(super) fn find_estimate(&mut self, id: u32) -> Option<&mut Estimate> {
        self.estimates.iter_mut().find(|(of, _)| *of == id).map(|(_, estimate)| estimate)
    }

    pub(super) fn estimate_mut(&mut self, id: u32) -> &mut Estimate {
        let found = self.estimates.iter().position(|(of, _)| *of == id);
        let index = found.unwrap_or_else(|| {
            self.estimates.push((id, Estimate::default()));
            self.estimates.len() - 1
        });
        &mut self.estimates[index].1
    }
}
