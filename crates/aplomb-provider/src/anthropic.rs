//! Anthropic.

use aplomb_core::{Scope, Usage};
use serde_json::Value;

use crate::judge::{self, Rules};
use crate::shape::{Shape, Speaks};
use crate::stream::{self, StreamReader};
use crate::usage::Counts;
use crate::{Head, Judgement, Provider, hint, whole};

/// Anthropic's messages.
///
/// Where a 429 has no `Retry-After`, the hint is the reset of the dimension that is used up,
/// counted against the response's own date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anthropic;

static RULES: Rules = Rules {
    conflict: Scope::Request,
    wait: |_| None,
    reset: hint::anthropic,
    is_used_up: hint::is_subscription_used_up,
};

impl Provider for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn judge(&self, head: &Head<'_>, body: &[u8]) -> Judgement {
        judge::response(head, body, &RULES)
    }

    fn usage(&self, head: &Head<'_>, body: &[u8]) -> Option<Usage> {
        whole::usage(self, head, body, |usage: &Value| {
            let mut counts = Counts::default();
            counts.update(usage);
            counts.usage()
        })
    }

    fn stream(&self, head: &Head<'_>) -> Box<dyn StreamReader> {
        stream::begin(head, Shape::new(Speaks::Anthropic, &RULES, head))
    }
}
