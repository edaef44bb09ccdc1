//! Events as log lines.

use tracing::Level;
use tracing::level_filters::{LevelFilter, STATIC_MAX_LEVEL};

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

    /// Rejections are logged at the level `debug`.
    #[inline]
    fn observes_rejections(&self) -> bool {
        Level::DEBUG <= STATIC_MAX_LEVEL && Level::DEBUG <= LevelFilter::current()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConcurrencyCause, KeyLabel, LayerName, Outcome, Reason};
    use std::fmt::{Debug, Write as _};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Metadata, Subscriber};

    /// Collects lines: the level, the message, the fields.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    struct Fields(String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            let written = match field.name() {
                "message" => write!(self.0, "|{value:?}"),
                name => write!(self.0, " {name}={value:?}"),
            };
            written.unwrap();
        }
    }

    impl Subscriber for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            let mut fields = Fields(event.metadata().level().to_string());
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    fn logged(event: &Event) -> Vec<String> {
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.clone(), || LogEvents.on_event(event));
        let lines = lines.0.lock().unwrap();
        lines.clone()
    }

    #[test]
    fn a_retry_is_a_warning_with_status_reason_provider_and_cause() {
        let failed = Classification::from(Reason::Overloaded)
            .with_status(http::StatusCode::SERVICE_UNAVAILABLE)
            .with_provider("openai")
            .with_cause(&"no capacity");
        let event = Event::retrying(1, Duration::from_millis(1_200), failed);
        assert_eq!(
            logged(&event),
            [
                "WARN|retrying request in 1.2 s: 503 overloaded: no capacity (openai) layer=retry attempt=1 \
              status=503 reason=\"overloaded\" provider=\"openai\" cause=\"no capacity\""
            ]
        );
    }

    #[test]
    fn levels_follow_the_table() {
        let failed = || Classification::new(Outcome::transient());
        let gave_up = |attempts, why| Event::gave_up(attempts, Duration::ZERO, why, failed());
        for (event, level) in [
            (gave_up(5, StopReason::MaxRetries), "WARN"),
            (gave_up(1, StopReason::NotRetryable), "DEBUG"),
            (gave_up(2, StopReason::Nested), "DEBUG"),
            (Event::resumed(LayerName::RateLimit), "INFO"),
            (Event::rejected(LayerName::RateLimit, "queue full", None), "DEBUG"),
            (Event::concurrency_changed(1, 2, ConcurrencyCause::SlowStart), "DEBUG"),
        ] {
            assert!(logged(&event)[0].starts_with(level), "{event}: {:?}", logged(&event));
        }
        assert!(logged(&Event::attempt_started(1, Duration::ZERO)).is_empty());
        assert!(logged(&Event::attempt_ended(1, failed())).is_empty());
    }

    #[test]
    fn a_key_is_shown_as_its_label() {
        let event = Event::resumed(LayerName::RateLimit).with_key(Some(KeyLabel::hashed(0xbeef)));
        assert_eq!(logged(&event), ["INFO|rate limit resumed layer=rate limit key=#000000000000beef"]);
    }
}
