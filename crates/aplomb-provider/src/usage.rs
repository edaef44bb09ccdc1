//! What an answer says it consumed.

use aplomb_core::Usage;
use serde_json::Value;

/// Reads a `usage` object of OpenAI's chat or responses API.
pub(crate) fn openai(usage: &Value) -> Option<Usage> {
    let either = |chat: &str, responses: &str| usage[chat].as_u64().or_else(|| usage[responses].as_u64());
    let details = |name: &str| usage[name]["cached_tokens"].as_u64();
    report(
        either("prompt_tokens", "input_tokens"),
        details("prompt_tokens_details").or_else(|| details("input_tokens_details")),
        either("completion_tokens", "output_tokens"),
    )
}

/// Reads a `usage` object of whichever dialect it has the marks of.
pub(crate) fn any(usage: &Value) -> Option<Usage> {
    let mut counts = Counts::default();
    counts.update(usage);
    if counts.created.is_some() || counts.read.is_some() {
        counts.usage()
    } else {
        openai(usage)
    }
}

/// Anthropic's counts: they come in pieces, and only grow while a stream goes by.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    input: Option<u64>,
    created: Option<u64>,
    read: Option<u64>,
    output: Option<u64>,
}

impl Counts {
    pub(crate) fn update(&mut self, usage: &Value) {
        let grow = |count: &mut Option<u64>, name: &str| *count = (*count).max(usage[name].as_u64());
        grow(&mut self.input, "input_tokens");
        grow(&mut self.created, "cache_creation_input_tokens");
        grow(&mut self.read, "cache_read_input_tokens");
        grow(&mut self.output, "output_tokens");
    }

    /// All that was counted so far. What was written to or read from a cache is not in
    /// `input_tokens`, but it is input.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let cache = self.created.unwrap_or(0).saturating_add(self.read.unwrap_or(0));
        let input = self.input.map(|input| input.saturating_add(cache));
        report(input, self.read, self.output)
    }
}

fn report(input: Option<u64>, cached_input: Option<u64>, output: Option<u64>) -> Option<Usage> {
    let mut usage = Usage::unknown();
    if let Some(tokens) = input {
        usage = usage.with_input(tokens);
    }
    if let Some(tokens) = cached_input {
        usage = usage.with_cached_input(tokens);
    }
    if let Some(tokens) = output {
        usage = usage.with_output(tokens);
    }
    (input.is_some() || output.is_some()).then_some(usage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn chat_and_responses() {
        let expected = Usage::unknown().with_input(10).with_cached_input(4).with_output(3);
        let chat = json!({"prompt_tokens": 10, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}});
        let responses =
            json!({"input_tokens": 10, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 4}});
        assert_eq!(openai(&chat), Some(expected));
        assert_eq!(any(&chat), Some(expected));
        assert_eq!(openai(&responses), Some(expected));
        assert_eq!(any(&json!({"prompt_tokens": -1, "output_tokens": "3"})), None);
        assert_eq!(any(&Value::Null), None);
    }

    #[test]
    fn what_went_through_a_cache_is_input() {
        let usage = any(&json!({
            "input_tokens": 10,
            "cache_creation_input_tokens": 100,
            "cache_read_input_tokens": 1_000,
            "output_tokens": 5
        }));
        let expected = Usage::unknown().with_input(1_110).with_cached_input(1_000).with_output(5);
        assert_eq!(usage, Some(expected));
    }
}
