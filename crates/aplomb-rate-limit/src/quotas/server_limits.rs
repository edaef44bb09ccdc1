//! State of the server: the pause it asked for, the limits it reported, the rate it accepts.

use std::collections::VecDeque;
use std::time::Duration;

use aplomb_admission::Decision;
use aplomb_core::{Event, LayerName};
use tokio::time::Instant;

use super::RateLimitReason;
use super::rates::Trial;
use crate::Charge;
use crate::charge::Counted;
use crate::gauge::Gauge;
use crate::pause::{Pause, PauseSettings, PauseState};
use crate::rate_estimator::{RateEstimator, Readiness};
use crate::reported_limit::Agreement;

/// Created when there is something to know, and dropped when that is over.
#[derive(Clone, Debug)]
pub(super) struct ServerLimits {
    pub(super) pause: Pause,
    pub(super) estimator: Option<RateEstimator>,
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
    /// What the server says is left, until the reset that it names.
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
    pub(super) const fn new(settings: PauseSettings, seed: u64) -> Self {
        Self {
            pause: Pause::new(settings, seed),
            estimator: None,
            estimates: Estimates::new(),
            expires: None,
            events: VecDeque::new(),
        }
    }

    /// Decides what the quotas have decided so far (`filled`: when they have enough) together with the pause
    /// and the rate that the server accepts.
    pub(super) fn check(
        &mut self,
        filled: Option<(Instant, RateLimitReason)>,
        charge: &Charge,
        unanswered: u32,
        now: Instant,
    ) -> Decision<RateLimitReason> {
        self.note_end_of_pause(now);
        let paused = match self.pause.check(now) {
            PauseState::Exhausted(retry_after) => {
                return Decision::Reject(RateLimitReason::Exhausted { retry_after });
            }
            PauseState::NotBefore(at) => Some((at, RateLimitReason::Paused)),
            PauseState::Go => None,
        };
        let readiness = match &mut self.estimator {
            Some(estimator) => estimator.readiness(charge.counted(Counted::Requests), unanswered, now),
            None => Readiness::Now,
        };
        let estimated = match readiness {
            Readiness::At(at) => Some((at, RateLimitReason::Unknown)),
            Readiness::Now | Readiness::WhenAnswered => None,
        };
        match filled.into_iter().chain(paused).chain(estimated).max_by_key(|(at, _)| *at) {
            Some((at, reason)) => Decision::NotBefore(at, reason),
            None if readiness == Readiness::WhenAnswered => Decision::WhenReleased(RateLimitReason::Unknown),
            None => Decision::Admit,
        }
    }

    /// Reports the end of a pause, once.
    #[inline]
    pub(super) fn note_end_of_pause(&mut self, now: Instant) {
        if self.pause.take_end(now) {
            self.events.push_back(Event::resumed(LayerName::RateLimit));
        }
    }

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

    /// Returns whether it knows no more than a new one.
    pub(super) fn is_empty(&self, now: Instant) -> bool {
        self.estimates.is_empty()
            && self.events.is_empty()
            && self.estimator.is_none()
            && self.pause.is_ramp_over(now)
            && !self.pause.has_grown(now)
    }
}
