//! Which of the several things that an error says decides.

use aplomb_core::{Kind, Scope};
use aplomb_provider::Reason;

use crate::support::judged;

const GENERIC: &str = "https://gateway.example.org";
const OPENROUTER: &str = "https://openrouter.ai/api/v1";

/// `error_type` repeats the status, and what comes with it says that this 402 passes.
#[test]
fn openrouters_in_flight_budget_is_retryable_beside_the_error_type_of_its_402() {
    for metadata in [
        r#"{"error_type": "payment_required", "limit_source": "openrouter_in_flight_budget",
            "reason": "in_flight_budget_exhausted"}"#,
        r#"{"error_type": "payment_required", "limit_source": "openrouter_in_flight_budget"}"#,
        r#"{"error_type": "payment_required", "reason": "in_flight_budget_exhausted"}"#,
    ] {
        let body = format!(r#"{{"error": {{"code": 402, "message": "m", "metadata": {metadata}}}}}"#);
        for url in [OPENROUTER, GENERIC] {
            let said = judged(url, 402, &[("retry-after", "3")], &body);
            assert_eq!(said, (Reason::TooManyAtOnce, Kind::Throttled, Scope::Account, Some(3)), "{body}");
        }
    }
    for source in ["openrouter_credits", "openrouter_key_limit"] {
        let body = format!(
            r#"{{"error": {{"code": 402, "message": "m", "metadata": {{"error_type": "payment_required",
                "limit_source": "{source}"}}}}}}"#
        );
        assert_eq!(judged(OPENROUTER, 402, &[], &body).1, Kind::Exhausted, "{source}");
    }
}
