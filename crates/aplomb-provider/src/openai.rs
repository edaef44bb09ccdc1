//! OpenAI.

use aplomb_core::{Scope, Usage};

use crate::judge::{self, Rules};
use crate::shape::{Shape, Speaks};
use crate::stream::{self, StreamReader};
use crate::{Head, Judgement, Provider, usage, whole};

/// OpenAI's chat completions and responses, and servers that copy them closely.
///
/// Its `x-ratelimit-reset-*` headers are no hint: they name the time until a bucket is full, not
/// until a request is admitted. The hint is in `retry-after-ms`, `Retry-After` or the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenAi;

static RULES: Rules = Rules {
    // A lock on its side timed out.
    conflict: Scope::Server,
    wait: |_| None,
    reset: |_| None,
    is_used_up: |_| false,
};

impl Provider for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn judge(&self, head: &Head<'_>, body: &[u8]) -> Judgement {
        judge::response(head, body, &RULES)
    }

    fn usage(&self, head: &Head<'_>, body: &[u8]) -> Option<Usage> {
        whole::usage(self, head, body, usage::openai)
    }

    fn stream(&self, head: &Head<'_>) -> Box<dyn StreamReader> {
        stream::begin(head, Shape::new(Speaks::OpenAi, &RULES, head))
    }
}
