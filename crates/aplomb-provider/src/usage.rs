//! What an answer says it consumed.

use aplomb_core::Usage;
use serde_json::Value;

/// All input, what went through a cache included.
const INPUT: &[&str] = &[
    "prompt_tokens",
    "input_tokens",
    "inputTokens",
    "promptTokenCount",
    "prompt_eval_count",
    "inputTextTokenCount",
];

/// Input that is not in the one above, where a cache counts apart.
const BESIDES: &[&[&str]] = &[
    &["cache_creation_input_tokens", "cacheWriteInputTokens"],
    &["cache_read_input_tokens", "cacheReadInputTokens"],
    &["toolUsePromptTokenCount"],
];

/// The part of the input that was read from a cache.
const CACHED: &[&str] = &[
    "/prompt_tokens_details/cached_tokens",
    "/input_tokens_details/cached_tokens",
    "/cache_read_input_tokens",
    "/cacheReadInputTokens",
    "/cachedContentTokenCount",
    "/prompt_cache_hit_tokens",
    "/cached_tokens",
];

const OUTPUT: &[&str] = &[
    "completion_tokens",
    "output_tokens",
    "outputTokens",
    "candidatesTokenCount",
    "eval_count",
    "generated_tokens",
];

const REASONING: &[&str] = &[
    "/completion_tokens_details/reasoning_tokens",
    "/output_tokens_details/reasoning_tokens",
    "/output_tokens_details/thinking_tokens",
    "/thoughtsTokenCount",
    "/reasoning_tokens",
];

const TOTAL: &[&str] = &["total_tokens", "totalTokens", "totalTokenCount"];

/// Where a usage stands in an answer or in an event of a stream; at last in the open, as Ollama has it.
const PLACES: &[&str] = &[
    "/usage",
    "/usageMetadata",
    "/response/usage",
    "/response/usageMetadata",
    "/message/usage",
    "/delta/usage",
    "/x_groq/usage",
    "/meta",
    "/response/meta",
    "/amazon-bedrock-invocationMetrics",
    "/details",
    "",
];

/// What is told in pieces, and only grows while a stream goes by.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    input: Option<u64>,
    besides: [Option<u64>; BESIDES.len()],
    cached: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
    total: Option<u64>,
}

/// What a whole answer says it consumed.
pub(crate) fn of(answer: &Value) -> Option<Usage> {
    let mut counts = Counts::default();
    counts.update(answer).then(|| counts.usage()).flatten()
}

impl Counts {
    /// Takes over what an answer or an event says. Returns whether it says anything.
    pub(crate) fn update(&mut self, value: &Value) -> bool {
        PLACES.iter().any(|place| value.pointer(place).is_some_and(|usage| self.take(usage)))
    }

    fn take(&mut self, usage: &Value) -> bool {
        // Cohere tells what it bills beside what it has counted.
        let usage = usage.get("tokens").filter(|tokens| tokens.is_object()).unwrap_or(usage);
        let usage = usage.get("billed_units").filter(|_| named(usage, INPUT).is_none()).unwrap_or(usage);
        let (input, output, total) = (named(usage, INPUT), named(usage, OUTPUT), named(usage, TOTAL));
        if input.is_none() && output.is_none() && total.is_none() {
            return false;
        }
        grow(&mut self.input, input);
        for (count, names) in self.besides.iter_mut().zip(BESIDES) {
            grow(count, named(usage, names));
        }
        grow(&mut self.cached, pointed(usage, CACHED));
        grow(&mut self.output, output);
        grow(&mut self.reasoning, pointed(usage, REASONING));
        grow(&mut self.total, total);
        true
    }

    /// All that was counted so far.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let besides = self.besides.iter().flatten().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let input = self.input.map(|input| input.saturating_add(besides));
        let set = |usage: Usage, count: Option<u64>, with: fn(Usage, u64) -> Usage| {
            count.map_or(usage, |count| with(usage, count))
        };
        let usage = set(Usage::unknown(), input, Usage::with_input);
        let usage = set(usage, self.cached, Usage::with_cached_input);
        let usage = set(usage, self.whole_output(input), Usage::with_output);
        let usage = set(usage, self.reasoning, Usage::with_reasoning);
        let usage = set(usage, self.total, Usage::with_total);
        (usage != Usage::unknown()).then_some(usage)
    }

    /// The output with its reasoning. Google and xAI count it apart, which shows in the sum.
    fn whole_output(&self, input: Option<u64>) -> Option<u64> {
        let Some(reasoning) = self.reasoning else {
            return self.output;
        };
        let with_reasoning = self.output.unwrap_or(0).saturating_add(reasoning);
        let sum = self.total?.checked_sub(input?);
        match sum {
            Some(sum) if sum == with_reasoning => Some(with_reasoning),
            _ => self.output,
        }
    }
}

fn named(usage: &Value, names: &[&str]) -> Option<u64> {
    names.iter().find_map(|name| count(usage.get(*name)?))
}

fn pointed(usage: &Value, pointers: &[&str]) -> Option<u64> {
    pointers.iter().find_map(|pointer| count(usage.pointer(pointer)?))
}

/// A count: Cohere writes `3.0`.
fn count(value: &Value) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is known to be a whole number within bounds"
    )]
    let whole =
        |number: f64| (number.fract() == 0.0 && (0.0..1e15).contains(&number)).then_some(number as u64);
    value.as_u64().or_else(|| whole(value.as_f64()?))
}

fn grow(count: &mut Option<u64>, later: Option<u64>) {
    *count = (*count).max(later);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn usage(input: u64, cached: Option<u64>, output: u64) -> Usage {
        let usage = Usage::unknown().with_input(input).with_output(output);
        cached.map_or(usage, |cached| usage.with_cached_input(cached))
    }

    #[test]
    fn every_shape() {
        for (answer, expected) in [
            (
                json!({"usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13,
                    "prompt_tokens_details": {"cached_tokens": 4},
                    "completion_tokens_details": {"reasoning_tokens": 2}}}),
                usage(10, Some(4), 3).with_reasoning(2).with_total(13),
            ),
            (
                json!({"usage": {"input_tokens": 10, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 4}}}),
                usage(10, Some(4), 3),
            ),
            (
                json!({"type": "message", "usage": {"input_tokens": 10, "cache_creation_input_tokens": 100,
                    "cache_read_input_tokens": 1_000, "output_tokens": 5}}),
                usage(1_110, Some(1_000), 5),
            ),
            (
                json!({"candidates": [], "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 3,
                    "thoughtsTokenCount": 20, "cachedContentTokenCount": 4, "totalTokenCount": 33}}),
                usage(10, Some(4), 23).with_reasoning(20).with_total(33),
            ),
            (
                json!({"usageMetadata": {"promptTokenCount": 10, "toolUsePromptTokenCount": 5,
                    "candidatesTokenCount": 3, "totalTokenCount": 18}}),
                usage(15, None, 3).with_total(18),
            ),
            (
                json!({"usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 33,
                    "completion_tokens_details": {"reasoning_tokens": 20}}}),
                usage(10, None, 23).with_reasoning(20).with_total(33),
            ),
            (
                json!({"output": {}, "usage": {"inputTokens": 10, "outputTokens": 3, "totalTokens": 113,
                    "cacheReadInputTokens": 100, "cacheWriteInputTokens": 0}}),
                usage(110, Some(100), 3).with_total(113),
            ),
            (
                json!({"usage": {"billed_units": {"input_tokens": 1, "output_tokens": 1},
                    "tokens": {"input_tokens": 10.0, "output_tokens": 3.0}}}),
                usage(10, None, 3),
            ),
            (
                json!({"meta": {"billed_units": {"input_tokens": 10, "output_tokens": 3}}}),
                usage(10, None, 3),
            ),
            (json!({"done": true, "prompt_eval_count": 10, "eval_count": 3}), usage(10, None, 3)),
            (
                json!({"usage": {"prompt_tokens": 10, "completion_tokens": 3, "prompt_cache_hit_tokens": 4}}),
                usage(10, Some(4), 3),
            ),
            (
                json!({"x_groq": {"usage": {"prompt_tokens": 10, "completion_tokens": 3}}, "choices": []}),
                usage(10, None, 3),
            ),
            (
                json!({"amazon-bedrock-invocationMetrics": {"inputTokenCount": 10}, "usage": {"input_tokens": 10, "output_tokens": 3}}),
                usage(10, None, 3),
            ),
            (
                json!({"object": "list", "usage": {"prompt_tokens": 10, "total_tokens": 10}}),
                Usage::unknown().with_input(10).with_total(10),
            ),
        ] {
            assert_eq!(of(&answer), Some(expected), "{answer}");
        }
        for nothing in [
            json!({"usage": {"prompt_tokens": -1, "output_tokens": "3"}}),
            json!({"usage": null}),
            json!(null),
            json!({"usage": {"prompt_tokens": 1.5}}),
            json!({"input_tokens_details": {}}),
        ] {
            assert_eq!(of(&nothing), None, "{nothing}");
        }
    }

    #[test]
    fn pieces_of_a_stream_add_up() {
        let mut counts = Counts::default();
        assert!(counts.update(&json!({"message": {"usage": {"input_tokens": 4, "cache_read_input_tokens": 5, "output_tokens": 1}}})));
        assert!(counts.update(&json!({"usage": {"output_tokens": 7}})));
        assert!(!counts.update(&json!({"delta": {}})));
        assert_eq!(counts.usage(), Some(usage(9, Some(5), 7)));
    }

    proptest! {
        #[test]
        fn counts_never_overflow(a in any::<u64>(), b in any::<u64>(), c in any::<f64>()) {
            let answer = json!({"usage": {"input_tokens": a, "cache_read_input_tokens": b, "output_tokens": c,
                "total_tokens": a, "reasoning_tokens": b}});
            let read = of(&answer).map(|usage| usage.total());
            prop_assert!(read.is_some());
        }
    }
}
