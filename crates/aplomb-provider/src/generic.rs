//! Whoever is not known.

use aplomb_core::{Scope, Usage};

use crate::judge::{self, Rules};
use crate::shape::{Shape, Speaks};
use crate::stream::{self, StreamReader};
use crate::{Head, Judgement, Provider, hint, usage, whole};

/// The dialect for whoever is not known: gateways, self-hosted servers, everyone else.
///
/// It goes by the status, tries the common shapes of error bodies, honours the codes of every known
/// provider and understands every known stream. What it does not understand it holds against
/// nobody: a stream of an unknown shape that ends is taken as whole, and its events as content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generic;

static RULES: Rules = Rules {
    conflict: Scope::Request,
    wait: hint::milliseconds,
    reset: |head| hint::anthropic(head).or_else(|| hint::common(head)),
    is_used_up: hint::is_subscription_used_up,
};

impl Provider for Generic {
    fn name(&self) -> &'static str {
        "generic"
    }

    fn judge(&self, head: &Head<'_>, body: &[u8]) -> Judgement {
        judge::response(head, body, &RULES)
    }

    fn usage(&self, head: &Head<'_>, body: &[u8]) -> Option<Usage> {
        whole::usage(self, head, body, usage::any)
    }

    fn stream(&self, head: &Head<'_>) -> Box<dyn StreamReader> {
        stream::begin(head, Shape::new(Speaks::Any, &RULES, head))
    }
}
