//! The server that a circuit owns: it decides whether anybody gets through.

use aplomb_admission::server::{HeldBy, Server, ServerEvent, ServerSettings, ServerToken, ShutCause};
use aplomb_admission::{Decision, End, Worth};
use aplomb_core::Outcome;
use tokio::time::Instant;

use super::Circuit;
use super::phase::Phase;
use crate::probes::HalfOpen;
use crate::{CircuitSettings, OpenReason};

/// The brakes that are a circuit's. Before anything has failed it lets everybody through.
fn brakes(settings: &CircuitSettings) -> ServerSettings {
    let brakes = ServerSettings::new().throttles(false).places(false).cold_start(false);
    match settings.seed {
        Some(seed) => brakes.seed(seed),
        None => brakes,
    }
}

/// Calls are told to the server while the trip needs one. It is made with the first of them, so that a circuit that is not
/// used has none, and goes when it is not used any more.
impl Circuit {
    /// The server decides about a call that the circuit lets through.
    #[inline]
    pub(super) fn check_owned(&mut self, now: Instant) -> Decision<OpenReason> {
        match &mut self.server {
            Some(server) if self.needs_server => match server.check(0, now) {
                Decision::Admit => Decision::Admit,
                held => self.held(held, now),
            },
            _ => Decision::Admit,
        }
    }

    #[cold]
    fn held(&mut self, held: Decision<HeldBy>, now: Instant) -> Decision<OpenReason> {
        // Calls that were presumed to be accepted may have opened it.
        self.follow_owned(now);
        self.hold(held, now)
    }

    /// A call goes.
    #[inline]
    pub(super) fn admit_owned(&mut self, now: Instant) -> Option<ServerToken> {
        if !self.needs_server {
            return None;
        }
        let settings = &self.settings;
        let server = self.server.get_or_insert_with(|| Box::new(Server::new(brakes(settings))));
        let token = server.admit(0, true, now);
        self.follow_owned(now);
        Some(token)
    }

    /// The call is sent only now.
    pub(super) fn sent_owned(&mut self, token: Option<&mut ServerToken>, now: Instant) {
        if let (Some(server), Some(token)) = (&mut self.server, token) {
            server.sent_late(token, now);
        }
    }

    /// The first content of the answer has come.
    pub(super) fn taken_owned(&mut self, token: Option<&ServerToken>, now: Instant) {
        if let (Some(server), Some(token)) = (&mut self.server, token) {
            server.taken(token, now);
            self.follow_owned(now);
        }
    }

    /// The call was a success.
    #[inline]
    pub(super) fn succeeded_owned(&mut self, token: Option<&ServerToken>, now: Instant) {
        if let (Some(server), Some(token)) = (&mut self.server, token) {
            server.succeeded(token, now);
            self.follow_owned(now);
        }
    }

    /// The call has ended.
    pub(super) fn end_owned(&mut self, token: Option<&ServerToken>, end: End, failed: bool, now: Instant) {
        if let (Some(server), Some(token)) = (&mut self.server, token) {
            let end = if failed {
                End::Judged { outcome: Outcome::transient(), usage: None }
            } else {
                end
            };
            server.end(token, end, now);
            self.follow_owned(now);
        }
    }

    /// Does what the server says.
    #[inline]
    fn follow_owned(&mut self, now: Instant) {
        if self.server.as_ref().is_some_and(|server| server.has_events()) {
            self.follow_events(now);
        }
    }

    #[cold]
    fn follow_events(&mut self, now: Instant) {
        while let Some(event) = self.server.as_mut().and_then(|server| server.next_event()) {
            let shuts = matches!(event, ServerEvent::Shut { cause: ShutCause::Failures, .. });
            if shuts && self.settings.own_recovery {
                self.trip(&event, now);
                self.open_owned(now);
            } else {
                self.follow(&event, now);
            }
        }
    }

    fn open_owned(&mut self, now: Instant) {
        if let Some(server) = &mut self.server {
            server.open(now);
        }
    }

    /// Forgets what the server was seen to do.
    pub(super) fn reset_owned(&mut self, now: Instant) {
        if let Some(server) = &mut self.server {
            server.reset(now);
            while server.next_event().is_some() {}
        }
    }

    /// Goes on under other settings. An outage stays what it was, but a circuit that needs no server any more, or has a
    /// recovery of its own now, recovers by itself.
    pub(super) fn adopt_owned(&mut self, now: Instant) {
        let needs = self.settings.trip.needs_server();
        let needed = std::mem::replace(&mut self.needs_server, needs);
        if let Some(server) = &mut self.server {
            server.set_settings(brakes(&self.settings), now);
        }
        if needs && !needed {
            self.reset_owned(now);
        }
        if needs && !self.settings.own_recovery {
            return;
        }
        if let (Phase::Follows { until, probing }, Some(_)) = (&self.phase, &self.server) {
            self.phase = if *probing {
                Phase::HalfOpen(Box::new(HalfOpen::new(self.settings.probes, now)))
            } else {
                self.open_until(*until)
            };
            self.reset_owned(now);
        }
    }

    /// How many calls may be out of which nothing is known, after an outage.
    pub(super) fn slow_start(&self) -> Option<u32> {
        self.server.as_ref().and_then(|server| server.slow_start())
    }

    /// The worth of the server, which is dropped where it is worth nothing.
    pub(super) fn worth_of_owned(&mut self, now: Instant) -> Worth {
        let worth = self.server.as_mut().map_or(Worth::FRESH, |server| server.worth(now));
        if worth == Worth::FRESH {
            self.server = None;
        }
        worth
    }
}
