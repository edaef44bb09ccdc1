//! A call that was refused or failed, and what it says of the server.

use std::time::Duration;

use aplomb_core::{ConcurrencyCause, Kind, Outcome};
use tokio::time::Instant;

use super::memory::{Fate, Point};
use super::trouble::{Refusal, Trouble};
use super::{Server, ServerEvent, ServerToken, ShutCause};

/// A call that is given up sooner than this was not given up because the server hangs.
const HANGS: Duration = Duration::from_millis(500);

impl Server {
    #[inline(never)]
    pub(super) fn ended_badly(&mut self, token: &ServerToken, outcome: Outcome, now: Instant) {
        self.tick(now);
        let cause = match outcome.kind() {
            // The connection was of no use; the server has not seen the request.
            Kind::Transient if !outcome.is_never_begun() => ShutCause::Failures,
            Kind::Throttled if outcome.is_shared_throttle() => ShutCause::Throttles,
            // The server answers, whatever it says of this request.
            Kind::Busy | Kind::Permanent | Kind::Unauthorized => {
                return self.succeeded(token, now);
            }
            _ => {
                if let Some(trouble) = &mut self.trouble {
                    trouble.not_accepted(token.number, token.tokens);
                }
                return self.left(token);
            }
        };
        let was_accepted = self.memory.fate(token.number) == Fate::Taken;
        let took = now.saturating_duration_since(token.sent);
        let is_silent = outcome.is_unanswered() && !outcome.is_connection_lost();
        let hung = is_silent && !was_accepted && took > self.memory.patience().max(HANGS);
        if token.is_witness {
            self.memory.bad(token.number, took, hung);
        } else {
            self.memory.gone(token.number);
        }
        self.memory.ended();
        self.batch(token, None);
        let (accepted, settings) = (self.accepted, self.settings);
        let next = self.memory.point(now);
        let trouble = self.trouble.get_or_insert_with(|| Box::new(Trouble::after(accepted, settings, next)));
        let before = trouble.limit();
        if hung {
            if let Some(most) = self.overload.hung(took, self.memory.in_flight(), now) {
                if self.settings.places {
                    trouble.overloaded(most);
                }
            }
        }
        let refusal = Refusal {
            number: token.number,
            up_to: Point { number: token.number + 1, tokens: token.up_to, at: token.sent },
            tokens: token.tokens,
            is_witness: token.is_witness,
            cause,
            outcome,
            hint: trouble.hints.believed(outcome.retry_after()),
        };
        let was_shut = trouble.shut.is_some();
        trouble.refused(&refusal, self.settings, &mut self.memory, now);
        if let Some(shut) = trouble.shut {
            if !was_shut {
                self.slow_start = None;
                self.memory.watch();
                self.events.push_back(ServerEvent::Shut {
                    cause: shut.cause,
                    until: shut.probe_at,
                    last: outcome,
                });
            } else if token.number >= shut.first_probe && token.is_witness {
                self.events.push_back(ServerEvent::StillShut {
                    cause: shut.cause,
                    until: shut.probe_at,
                    last: outcome,
                });
            }
        }
        self.note_places(before, ConcurrencyCause::Overload);
    }
}
