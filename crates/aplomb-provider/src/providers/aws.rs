//! AWS.

use super::provider;
use crate::dialect::Dialect;
use crate::error::phrases;
use crate::estimate::Rates;
use crate::{Accounting, Reason};

provider! {
    /// AWS Bedrock: errors by `x-amzn-errortype`, waits by `x-amz-retry-after`, usage from bodies and
    /// headers.
    ///
    /// Its streams come in binary frames, which are believed and not looked into. The prompt and the most
    /// output are reserved when a request arrives, and corrected when it ends.
    Bedrock: Dialect {
        name: "bedrock",
        // What AWS's own SDKs know as throttling.
        codes: &[(
            Reason::RateLimited,
            &[
                "throttling",
                "throttledexception",
                "requestthrottledexception",
                "toomanyrequestsexception",
                "provisionedthroughputexceededexception",
                "requestlimitexceeded",
                "bandwidthlimitexceeded",
                "limitexceededexception",
                "requestthrottled",
                "slowdown",
                "priorrequestnotcomplete",
                "ec2throttledexception",
            ],
        )],
        phrases: &[phrases::BEDROCK],
        limits: &[],
        // It serves the shapes of many models.
        is_lenient: true,
        accounting: Accounting::reserved_then_corrected(),
        rates: Rates::ANTHROPIC,
        ..Dialect::COMMON
    }
}
