//! The usage that an answer reports.

use aplomb_core::Usage;
use http::HeaderName;

use crate::Head;
use crate::head::text;
use crate::json::{Document, Key, View};

/// All input, including what went through a cache.
const INPUT: &[Key] = &[
    Key::PromptTokens,
    Key::InputTokens,
    Key::InputTokensOfConverse,
    Key::PromptTokenCount,
    Key::PromptEvalCount,
    Key::InputTextTokenCount,
    Key::InputTokenCount,
    Key::PromptTokenCountOfLlama,
    Key::NumPromptTokens,
];

/// Input that is counted separately from the above, mostly that of a cache.
const ADDITIONAL_INPUT: &[&[Key]] = &[
    &[Key::CacheCreationInputTokens, Key::CacheWriteInputTokens],
    &[Key::CacheReadInputTokens, Key::CacheReadInputTokensOfConverse],
    &[Key::ToolUsePromptTokenCount],
];

/// Input that was read from a cache.
const CACHED: &[&[Key]] = &[
    &[Key::PromptTokensDetails, Key::CachedTokens],
    &[Key::InputTokensDetails, Key::CachedTokens],
    &[Key::CacheReadInputTokens],
    &[Key::CacheReadInputTokensOfConverse],
    &[Key::CachedContentTokenCount],
    &[Key::PromptCacheHitTokens],
    &[Key::CachedTokens],
];

const OUTPUT: &[Key] = &[
    Key::CompletionTokens,
    Key::OutputTokens,
    Key::OutputTokensOfConverse,
    Key::CandidatesTokenCount,
    Key::EvalCount,
    Key::GeneratedTokens,
    Key::OutputTokenCount,
    Key::GenerationTokenCount,
    Key::NumCompletionTokens,
];

const REASONING: &[&[Key]] = &[
    &[Key::CompletionTokensDetails, Key::ReasoningTokens],
    &[Key::OutputTokensDetails, Key::ReasoningTokens],
    &[Key::OutputTokensDetails, Key::ThinkingTokens],
    &[Key::ThoughtsTokenCount],
    &[Key::ReasoningTokens],
];

const TOTAL: &[Key] = &[Key::TotalTokens, Key::TotalTokensOfConverse, Key::TotalTokenCount];

/// Paths to the usage in an answer or an event.
const PLACES: &[&[Key]] = &[
    &[Key::Usage],                        // OpenAI and most others
    &[Key::UsageMetadata],                // Google
    &[Key::Response, Key::Usage],         // OpenAI's responses, as an event
    &[Key::Response, Key::UsageMetadata], // Google, behind its command line client
    &[Key::Message, Key::Usage],          // Anthropic, as an event
    &[Key::Delta, Key::Usage],            // Cohere, as an event
    &[Key::XGroq, Key::Usage],            // Groq, as an event
    &[Key::Metadata, Key::Usage],         // Nova at Bedrock, as an event
    &[Key::Meta],                         // Cohere
    &[Key::Response, Key::Meta],          // Cohere, as an event
    &[Key::InvocationMetrics],            // models at Bedrock, in their last chunk
    &[Key::Details],                      // text-generation-inference
    &[Key::Output],                       // LLM Engine
    &[],                                  // Ollama; Llama at Bedrock
];

const BEDROCK: &str = "x-amzn-bedrock-";

// Static names need not be parsed for each lookup.
static BEDROCK_INPUT: HeaderName = HeaderName::from_static("x-amzn-bedrock-input-token-count");
static BEDROCK_OUTPUT: HeaderName = HeaderName::from_static("x-amzn-bedrock-output-token-count");

/// Counts that arrive in pieces, and only grow in the course of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    input: Option<u64>,
    additional: [Option<u64>; ADDITIONAL_INPUT.len()],
    cached: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
    total: Option<u64>,
}

/// The usage that a complete answer reports.
pub(crate) fn of(answer: Document<'_>) -> Option<Usage> {
    let mut counts = Counts::default();
    counts.update(answer).then(|| counts.usage()).flatten()
}

/// The usage in headers. Bedrock reports it for models that do not do so themselves.
pub(crate) fn in_headers(head: &Head<'_>) -> Option<Usage> {
    // Few responses are Bedrock's, and comparing prefixes is cheaper than two lookups.
    if !head.headers().keys().any(|name| name.as_str().starts_with(BEDROCK)) {
        return None;
    }
    let count = |name: &HeaderName| text(head.headers().get(name)?)?.parse::<u64>().ok();
    let (input, output) = (count(&BEDROCK_INPUT), count(&BEDROCK_OUTPUT));
    let usage = input.map_or(Usage::unknown(), |tokens| Usage::unknown().with_input(tokens));
    let usage = output.map_or(usage, |tokens| usage.with_output(tokens));
    (usage != Usage::unknown()).then_some(usage)
}

impl Counts {
    /// Adds what an answer or an event reports. Returns whether it reports anything.
    pub(crate) fn update(&mut self, document: Document<'_>) -> bool {
        document.has_counts() && PLACES.iter().any(|place| self.add(document.view().at(place)))
    }

    fn add(&mut self, usage: View<'_>) -> bool {
        // Cohere reports billed units besides tokens.
        let tokens = usage.get(Key::Tokens);
        let usage = if tokens.is_object() { tokens } else { usage };
        let billed = usage.get(Key::BilledUnits);
        let is_billed = billed.is_there() && any_of(usage, INPUT).is_none();
        let usage = if is_billed { billed } else { usage };
        let (input, output, total) = (any_of(usage, INPUT), any_of(usage, OUTPUT), any_of(usage, TOTAL));
        if input.is_none() && output.is_none() && total.is_none() {
            return false;
        }
        grow(&mut self.input, input);
        for (count, names) in self.additional.iter_mut().zip(ADDITIONAL_INPUT) {
            grow(count, any_of(usage, names));
        }
        grow(&mut self.cached, at_any(usage, CACHED));
        grow(&mut self.output, output);
        grow(&mut self.reasoning, at_any(usage, REASONING));
        grow(&mut self.total, total);
        true
    }

    /// The usage so far.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let additional =
            self.additional.iter().flatten().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let input = self.input.map(|input| input.saturating_add(additional));
        let set = |usage: Usage, count: Option<u64>, with: fn(Usage, u64) -> Usage| {
            count.map_or(usage, |count| with(usage, count))
        };
        let usage = set(Usage::unknown(), input, Usage::with_input);
        let usage = set(usage, self.cached, Usage::with_cached_input);
        let usage = set(usage, self.total_output(input), Usage::with_output);
        let usage = set(usage, self.reasoning, Usage::with_reasoning);
        let usage = set(usage, self.total, Usage::with_total);
        (usage != Usage::unknown()).then_some(usage)
    }

    /// The output including reasoning. Google and xAI count it separately, which shows in the total.
    fn total_output(&self, input: Option<u64>) -> Option<u64> {
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

fn any_of(usage: View<'_>, names: &[Key]) -> Option<u64> {
    names.iter().find_map(|&name| usage.get(name).count())
}

fn at_any(usage: View<'_>, places: &[&[Key]]) -> Option<u64> {
    places.iter().find_map(|place| usage.at(place).count())
}

fn grow(count: &mut Option<u64>, later: Option<u64>) {
    *count = (*count).max(later);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Nodes;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn of(answer: &Value) -> Option<Usage> {
        super::of(Document::read(answer.to_string().as_bytes(), &mut Nodes::new()).unwrap())
    }

    fn usage(input: u64, cached: Option<u64>, output: u64) -> Usage {
        let usage = Usage::unknown().with_input(input).with_output(output);
        cached.map_or(usage, |cached| usage.with_cached_input(cached))
    }

    #[test]
    fn usage_in_every_shape() {
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
                json!({"amazon-bedrock-invocationMetrics": {"inputTokenCount": 11}, "usage": {"input_tokens": 10, "output_tokens": 3}}),
                usage(10, None, 3),
            ),
            (
                json!({"generation": "", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 10, "outputTokenCount": 3}}),
                usage(10, None, 3),
            ),
            (
                json!({"generation": "Hi", "prompt_token_count": 10, "generation_token_count": 3}),
                usage(10, None, 3),
            ),
            (json!({"metadata": {"usage": {"inputTokens": 10, "outputTokens": 3}}}), usage(10, None, 3)),
            (
                json!({"output": {"text": "Hi", "num_prompt_tokens": 10, "num_completion_tokens": 3}}),
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
        let mut all = Counts::default();
        let mut update = |event: Value| {
            all.update(Document::read(event.to_string().as_bytes(), &mut Nodes::new()).unwrap())
        };
        assert!(update(
            json!({"message": {"usage": {"input_tokens": 4, "cache_read_input_tokens": 5, "output_tokens": 1}}})
        ));
        assert!(update(json!({"usage": {"output_tokens": 7}})));
        assert!(!update(json!({"delta": {}})));
        assert_eq!(all.usage(), Some(usage(9, Some(5), 7)));
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
