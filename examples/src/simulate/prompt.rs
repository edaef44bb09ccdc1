//! The prompts, and how the right answer is recognized.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

/// A prompt: a number, its size, and that of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The number, by which the server knows it.
    pub number: u64,
    /// The tokens of its text.
    pub input: u64,
    /// `max_tokens`; not sent if 0.
    pub max_output: u64,
    /// True if the answer is to be a stream.
    pub stream: bool,
    /// The tenant that it belongs to.
    pub tenant: Option<u64>,
}

/// The header that names the tenant.
pub(crate) const TENANT: &str = "x-tenant";

impl Prompt {
    /// The request that asks for the answer.
    pub fn request(&self) -> Request<Full<Bytes>> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": self.text()}]});
        if self.max_output > 0 {
            body["max_tokens"] = self.max_output.into();
        }
        if self.stream {
            body["stream"] = true.into();
        }
        let mut request = Request::new(Full::from(body.to_string()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = http::Uri::from_static("http://model.test/v1/chat/completions");
        request
            .headers_mut()
            .insert("content-type", http::HeaderValue::from_static("application/json"));
        if let Some(tenant) = self.tenant {
            request.headers_mut().insert(TENANT, tenant.into());
        }
        request
    }

    fn text(&self) -> String {
        let start = format!("prompt {} ", self.number);
        let length = usize::try_from(self.input * 4).unwrap_or(usize::MAX);
        format!("{start:x<length$}")
    }

    /// Returns whether this body is the right answer, all of it: that of the server here, or of a mock.
    pub fn is_answered_by(&self, body: &[u8]) -> bool {
        let answer = answer(self.number);
        if !self.stream {
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            let text = body["choices"][0]["message"]["content"].as_str();
            let is_mocked = || text == Some(&aplomb_mock::answer(&self.text(), MOCK_WORDS));
            return text == Some(&answer) || is_mocked();
        }
        let text = String::from_utf8_lossy(body);
        text.contains(&answer) && text.ends_with("data: [DONE]\n\n")
    }
}

/// The words of a mock's answer.
const MOCK_WORDS: usize = 32;

/// The right answer to a prompt.
pub(crate) fn answer(prompt: u64) -> String {
    format!("the answer to prompt {prompt}.")
}

/// A prompt's request, as the server reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) number: u64,
    pub(crate) input: u64,
    pub(crate) max_output: u64,
    /// The tokens that the answer will need.
    pub(crate) output: u64,
    pub(crate) stream: bool,
}

impl Asked {
    /// Reads a prompt's request.
    pub(crate) fn of(prompt: &Prompt) -> Self {
        let Prompt { number, input, max_output, stream, .. } = *prompt;
        Self { number, input, max_output, output: max_output.div_ceil(NEEDED), stream }
    }

    /// The tokens that are reserved for it.
    pub(crate) const fn may_need(&self) -> u64 {
        self.input + self.max_output
    }

    /// The tokens that it will have used in the end.
    pub(crate) const fn will_need(&self) -> u64 {
        self.input + self.output
    }
}

/// Answers need a quarter of their maximum.
const NEEDED: u64 = 4;

/// Reads a request; one that is not from the simulator is prompt 0.
pub(crate) fn read(body: &[u8]) -> Asked {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = body["messages"][0]["content"].as_str().unwrap_or_default();
    let number = text.split(' ').nth(1).and_then(|number| number.parse().ok());
    let max_output = body["max_tokens"].as_u64().unwrap_or(0);
    Asked {
        number: number.unwrap_or(0),
        input: text.len().div_ceil(4) as u64,
        max_output,
        output: max_output.div_ceil(NEEDED),
        stream: body["stream"] == true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_request_is_read_as_it_was_meant() {
        let prompt = Prompt { number: 17, input: 50, max_output: 400, stream: true, tenant: Some(3) };
        let request = prompt.request();
        assert_eq!(request.headers()[TENANT], "3");
        let asked = read(&request.into_body().collect().await.unwrap().to_bytes());
        let expected = Asked { number: 17, input: 50, max_output: 400, output: 100, stream: true };
        assert_eq!((asked, asked.may_need(), asked.will_need()), (expected, 450, 150));
        assert_eq!(Asked::of(&prompt), expected);
    }
}
