//! How much a request will consume, before it is sent.

use serde_json::Value;

/// A rough estimate of what a request will consume, in tokens.
///
/// Input is a quarter of the prompt's characters, which is near for English and low for other
/// scripts and for code; images and files count nothing. Output is the most the request allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    input: u64,
    output: Option<u64>,
}

impl Estimate {
    /// An estimate of the caller's own: input tokens, and the most output tokens if they are bounded.
    #[must_use]
    pub const fn new(input: u64, output: Option<u64>) -> Self {
        Self { input, output }
    }

    /// Estimates a request body in the shapes of OpenAI and Anthropic. One that is not JSON comes to
    /// nothing.
    pub(crate) fn of(body: &[u8]) -> Self {
        let Ok(request) = serde_json::from_slice::<Value>(body) else {
            return Self::default();
        };
        let prompts = ["messages", "system", "input", "instructions", "prompt"];
        let characters = prompts.iter().map(|name| characters(&request[*name])).sum::<u64>();
        let tools = request.get("tools").filter(|tools| tools.is_array());
        let tools = tools.map_or(0, |tools| u64::try_from(tools.to_string().len()).unwrap_or(u64::MAX));
        let limits = ["max_completion_tokens", "max_output_tokens", "max_tokens"];
        let output = limits.iter().find_map(|name| request[*name].as_u64());
        let answers = request["n"].as_u64().unwrap_or(1).max(1);
        Self {
            input: characters.saturating_add(tools).div_ceil(4),
            output: output.map(|tokens| tokens.saturating_mul(answers)),
        }
    }

    /// Tokens of the prompt.
    pub const fn input(&self) -> u64 {
        self.input
    }

    /// The most tokens of the answer, where the request bounds them.
    pub const fn output(&self) -> Option<u64> {
        self.output
    }
}

/// The characters of the texts in a prompt. Other strings (roles, ids, images in base64) are none.
fn characters(value: &Value) -> u64 {
    match value {
        Value::String(text) => u64::try_from(text.chars().count()).unwrap_or(u64::MAX),
        Value::Array(items) => items.iter().map(characters).sum(),
        Value::Object(fields) => {
            let texts = ["content", "text", "output", "arguments"];
            texts.iter().filter_map(|name| fields.get(*name)).map(characters).sum()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_count_and_images_do_not() {
        let chat = br#"{"model": "m", "max_tokens": 100, "n": 2, "messages": [
            {"role": "system", "content": "12345678"},
            {"role": "user", "content": [
                {"type": "text", "text": "1234"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAAAAAAAAAAAAAA"}}
            ]}
        ]}"#;
        assert_eq!(Estimate::of(chat), Estimate::new(3, Some(200)));
        let messages =
            br#"{"max_tokens": 5, "system": "1234", "messages": [{"role": "user", "content": "12345"}]}"#;
        assert_eq!(Estimate::of(messages), Estimate::new(3, Some(5)));
        let responses = br#"{"max_output_tokens": 7, "instructions": "1234", "input": "1234"}"#;
        assert_eq!(Estimate::of(responses), Estimate::new(2, Some(7)));
        assert_eq!(Estimate::of(b"not JSON"), Estimate::default());
        assert_eq!(Estimate::of(b"[1, 2]"), Estimate::default());
        assert_eq!(Estimate::of(br#"{"max_tokens": -1}"#), Estimate::default());
    }
}
