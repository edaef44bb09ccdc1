//! Reports as data, for structured logs.

use std::time::Duration;

use aplomb_core::Usage;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::{Attempt, Report};

/// Times are in seconds.
impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_struct("Report", 6)?;
        report.serialize_field("provider", self.provider())?;
        report.serialize_field("sent", &self.sent())?;
        report.serialize_field("elapsed", &self.elapsed().as_secs_f64())?;
        report.serialize_field("queued", &self.queued().as_secs_f64())?;
        report.serialize_field("waited", &self.waited().as_secs_f64())?;
        report.serialize_field("attempts", &self.attempts())?;
        report.end()
    }
}

/// Times are in seconds. A value that is not known is null.
impl Serialize for Attempt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut attempt = serializer.serialize_struct("Attempt", 9)?;
        attempt.serialize_field("number", &self.number())?;
        attempt.serialize_field("queued", &self.queued().as_secs_f64())?;
        attempt.serialize_field("waited", &self.waited().as_secs_f64())?;
        attempt.serialize_field("took", &self.took().as_ref().map(Duration::as_secs_f64))?;
        attempt.serialize_field("status", &self.status().map(|status| status.as_u16()))?;
        attempt.serialize_field("outcome", &self.outcome().map(|outcome| outcome.kind().to_string()))?;
        attempt.serialize_field("reason", &self.reason().map(aplomb_core::Reason::as_str))?;
        attempt.serialize_field("cause", &self.cause())?;
        attempt.serialize_field("usage", &self.usage().map(Tokens))?;
        attempt.end()
    }
}

struct Tokens(Usage);

impl Serialize for Tokens {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut usage = serializer.serialize_struct("Usage", 4)?;
        usage.serialize_field("input", &self.0.input())?;
        usage.serialize_field("cached_input", &self.0.cached_input())?;
        usage.serialize_field("output", &self.0.output())?;
        usage.serialize_field("reasoning", &self.0.reasoning())?;
        usage.end()
    }
}

#[cfg(test)]
mod tests {
    use crate::Report;
    use crate::context::CallContext;
    use aplomb_core::{Classification, Reason};
    use aplomb_rate_limit::Charge;
    use std::time::Duration;
    use tokio::time::{Instant, advance};

    #[tokio::test(start_paused = true)]
    async fn a_report_is_data() {
        let call = CallContext::new("openai", Instant::now(), None, (Charge::request(), None));
        call.asks();
        advance(Duration::from_secs(1)).await;
        let (exchange, _) = call.sends(Instant::now());
        advance(Duration::from_millis(1_500)).await;
        exchange.set_result(
            Classification::from(Reason::Overloaded).with_status(http::StatusCode::SERVICE_UNAVAILABLE),
        );
        call.judged();
        call.ended();
        let expected = serde_json::json!({
            "provider": "openai", "sent": 1, "elapsed": 2.5, "queued": 1.0, "waited": 0.0,
            "attempts": [{
                "number": 1, "queued": 1.0, "waited": 0.0, "took": 1.5, "status": 503,
                "outcome": "transient failure", "reason": "overloaded", "cause": null, "usage": null,
            }],
        });
        assert_eq!(serde_json::to_value(Report::new(call)).unwrap(), expected);
    }
}
