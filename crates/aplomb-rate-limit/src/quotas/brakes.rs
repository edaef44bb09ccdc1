//! The server as its throttles show it: what holds calls back beside the quotas.

use aplomb_admission::server::{HeldBy, Server, ServerEvent, ServerSettings, ServerToken, ShutCause};
use aplomb_admission::{Decision, End, Worth};
use aplomb_core::{Event, LayerName};
use tokio::time::Instant;

use super::set::{QuotaSet, Settings};
use super::{Quotas, RateLimitReason, Reservation};
use crate::Charge;
use crate::charge::Counted;

impl RateLimitReason {
    /// The same decision, with the reason for which a rate limit gives it.
    #[doc(hidden)]
    pub fn held(decision: Decision<HeldBy>, now: Instant) -> Decision<Self> {
        let is_rejected = matches!(decision, Decision::Reject(_));
        decision.map(|held| match held {
            HeldBy::Shut { probe_at, .. } if is_rejected => {
                Self::Exhausted { retry_after: probe_at.saturating_duration_since(now) }
            }
            HeldBy::Shut { .. } => Self::Paused,
            HeldBy::Pace { .. } | HeldBy::SlowStart { .. } | HeldBy::Places { .. } => Self::Unknown,
        })
    }
}

/// The event of a rate limit, if it is one.
#[doc(hidden)]
#[must_use]
pub fn throttle_event(event: &ServerEvent, now: Instant) -> Option<Event> {
    match *event {
        ServerEvent::Shut { cause: ShutCause::Throttles, until, last } => {
            let pause = until.saturating_duration_since(now);
            Some(Event::paused(LayerName::RateLimit, pause, until, Some(last.into())))
        }
        ServerEvent::Opened { cause: ShutCause::Throttles, .. } => Some(Event::resumed(LayerName::RateLimit)),
        _ => None,
    }
}

/// The brakes that are a rate limit's. Of a server whose limit is unknown only a few calls are tried at first.
fn settings_of(set: &QuotaSet) -> ServerSettings {
    let Settings { learning, max_pause, seed, .. } = *set.settings();
    let brakes = ServerSettings::new()
        .failures(false)
        .pace(learning)
        .places(learning)
        .cold_start(learning && set.is_unconfigured())
        .max_pause(max_pause);
    match seed {
        Some(seed) => brakes.seed(seed),
        None => brakes,
    }
}

/// Calls are told to a server of the quotas' own, unless another gate acts on its throttles. It is made with the first of
/// them, so that quotas that are not used have none.
impl Quotas {
    /// Returns whether throttles are these quotas' business.
    pub(super) fn brakes_by_itself(&self) -> bool {
        let settings = self.set.settings();
        settings.pausing && !settings.inbound
    }

    /// Puts the settings in force.
    pub(super) fn set_up_brakes(&mut self, now: Instant) {
        if let Some(server) = &mut self.brakes {
            server.set_settings(settings_of(&self.set), now);
            self.report_brakes(now);
        }
    }

    /// The server, which is made if there is none.
    pub(super) fn brakes_mut(&mut self) -> &mut Server {
        let set = &self.set;
        self.brakes.get_or_insert_with(|| Box::new(Server::new(settings_of(set))))
    }

    /// Decides beside the quotas, which have enough at `filled`.
    #[inline(never)]
    pub(super) fn check_brakes(
        &mut self,
        filled: Option<(Instant, RateLimitReason)>,
        charge: &Charge,
        now: Instant,
    ) -> Decision<RateLimitReason> {
        let held = match &mut self.brakes {
            Some(server) => server.check(charge.counted(Counted::Tokens), now),
            None => Decision::Admit,
        };
        self.report_brakes(now);
        let is_shut = self.brakes.as_ref().is_some_and(|server| server.is_shut().is_some());
        // A call that does not count as a request waits only while nobody gets through.
        let held = if charge.counted(Counted::Requests) == 0 && !is_shut {
            Decision::Admit
        } else {
            RateLimitReason::held(held, now)
        };
        match filled {
            Some((at, reason)) => Decision::NotBefore(at, reason).and(|| held),
            None => held,
        }
    }

    /// A call goes.
    #[inline]
    pub(super) fn tell_admitted(&mut self, charge: &Charge, now: Instant) -> Option<ServerToken> {
        if charge.counted(Counted::Requests) == 0 || !self.brakes_by_itself() {
            return None;
        }
        let token = self.brakes_mut().admit(charge.counted(Counted::Tokens), true, now);
        self.report_brakes(now);
        Some(token)
    }

    /// The call is sent only now.
    pub(super) fn tell_sent(&mut self, reservation: &mut Reservation, now: Instant) {
        if let (Some(server), Some(token)) = (&mut self.brakes, &mut reservation.server) {
            server.sent_late(token, now);
        }
    }

    /// The server has accepted the call.
    pub(super) fn tell_taken(&mut self, reservation: &Reservation, now: Instant) {
        if let (Some(server), Some(token)) = (&mut self.brakes, &reservation.server) {
            server.taken(token, now);
            self.report_brakes(now);
        }
    }

    /// The call has ended.
    #[inline]
    pub(super) fn tell_ended(&mut self, reservation: &Reservation, end: &End, now: Instant) {
        let (Some(server), Some(token)) = (&mut self.brakes, &reservation.server) else {
            return;
        };
        match end {
            End::Judged { outcome, .. } if outcome.is_success() => {
                server.succeeded(token, now);
                self.report_brakes(now);
            }
            _ => self.tell_ended_otherwise(reservation, end, now),
        }
    }

    #[inline(never)]
    fn tell_ended_otherwise(&mut self, reservation: &Reservation, end: &End, now: Instant) {
        let (Some(server), Some(token)) = (&mut self.brakes, &reservation.server) else {
            return;
        };
        let was_shut = server.is_shut().is_some();
        server.end(token, *end, now);
        let shuts = server.is_shut().is_some() && !was_shut;
        self.report_brakes(now);
        if let (true, End::Judged { outcome, .. }) = (shuts, end) {
            self.on_refused(reservation, outcome, now);
        }
    }

    /// Queues the events of the server that are a rate limit's.
    #[inline]
    fn report_brakes(&mut self, now: Instant) {
        if self.brakes.as_ref().is_some_and(|server| server.has_events()) {
            self.queue_brakes_events(now);
        }
    }

    #[inline(never)]
    fn queue_brakes_events(&mut self, now: Instant) {
        while let Some(event) = self.brakes.as_mut().and_then(|server| server.next_event()) {
            if let Some(event) = throttle_event(&event, now) {
                self.server_mut().events.push_back(event);
            }
        }
    }

    /// Returns whether the server lets nobody through.
    pub(crate) fn is_shut(&self) -> bool {
        self.brakes.as_ref().is_some_and(|server| server.is_shut().is_some())
    }

    /// The server reports its limits, so that there is nothing to find out.
    pub(super) fn on_limits_reported(&mut self) {
        if let Some(server) = &mut self.brakes {
            server.end_cold_start();
        }
    }

    /// The limits that the server reported have expired, so they have to be found out again.
    pub(super) fn on_limits_expired(&mut self) {
        if let Some(server) = &mut self.brakes {
            server.start_anew();
        }
    }

    /// The worth of the server, which is dropped where it is worth nothing.
    pub(super) fn worth_of_brakes(&mut self, now: Instant) -> Worth {
        let worth = self.brakes.as_mut().map_or(Worth::FRESH, |server| server.worth(now));
        if worth == Worth::FRESH {
            self.brakes = None;
        }
        worth
    }
}
