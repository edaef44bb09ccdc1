//! Events as log lines.

use super::{CircuitState, Event, EventKind, StopReason};
use crate::{Classification, Observe};

/// Logs events with `tracing`, one line each. The default observer of every layer.
///
/// | event | level |
/// | --- | --- |
/// | retrying, gave up after a retry, paused, circuit opened | warn |
/// | resumed, limit learned or lapsed, other changes of a circuit | info |
/// | rejected, gave up at once, recovered, concurrency limit changed | debug |
///
/// Attempts that start and end are not logged. The message is the event's `Display`; the fields are
/// `layer`, `key`, and for failed attempts `attempt`, `status`, `reason`, `provider` and `cause`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogEvents;

/// The fields are the same for all levels.
macro_rules! log {
    ($level:ident, $event:expr, $attempt:expr, $failed:expr) => {{
        let (event, failed): (&Event, Option<&Classification>) = ($event, $failed);
        let key = event.key().map(tracing::field::display);
        let attempt: Option<u32> = $attempt;
        let status = failed.and_then(Classification::status).map(|status| status.as_u16());
        let reason = failed.and_then(Classification::reason).map(|reason| reason.as_str());
        let provider = failed.and_then(Classification::provider);
        let cause = failed.and_then(Classification::cause);
        tracing::$level!(layer = %event.layer(), key, attempt, status, reason, provider, cause, "{event}");
    }};
}

impl Observe for LogEvents {
    #[inline]
    fn on_event(&self, event: &Event) {
        // Apart, since these two happen on every call.
        if !matches!(event.kind(), EventKind::AttemptStarted { .. } | EventKind::AttemptEnded { .. }) {
            log(event);
        }
    }
}

fn log(event: &Event) {
    match event.kind() {
        EventKind::AttemptStarted { .. } | EventKind::AttemptEnded { .. } => {}
        EventKind::Retrying { attempt, failed, .. } => log!(warn, event, Some(*attempt), Some(failed)),
        EventKind::GaveUp { attempts, why, failed, .. } => {
            if *attempts > 1 && *why != StopReason::Nested {
                log!(warn, event, Some(*attempts), Some(failed));
            } else {
                log!(debug, event, Some(*attempts), Some(failed));
            }
        }
        EventKind::Recovered { attempts, .. } => log!(debug, event, Some(*attempts), None),
        EventKind::Paused { cause, .. } => log!(warn, event, None, cause.as_ref()),
        EventKind::CircuitChanged { to: CircuitState::Open, failed, .. } => {
            log!(warn, event, None, failed.as_ref());
        }
        EventKind::CircuitChanged { failed, .. } => log!(info, event, None, failed.as_ref()),
        EventKind::Resumed | EventKind::LimitLearned { .. } | EventKind::LimitLapsed { .. } => {
            log!(info, event, None, None);
        }
        EventKind::Rejected { .. } | EventKind::ConcurrencyChanged { .. } => {
            log!(debug, event, None, None);
        }
    }
}
