//! Whom to ask, and in which shape.

use std::fmt;

use aplomb::provider::{Anthropic, Provider, detect};
use aplomb::rate_limit::Charge;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use serde_json::{Value, json};

use super::args::ApiName;
use super::prompt::Prompt;

const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// Anthropic's API wants to be told; enough for most answers, and little enough for any model.
const ANTHROPIC_MAX_TOKENS: u64 = 1_024;

/// What a prompt is sent as.
pub(crate) type PromptRequest = Request<Full<Bytes>>;

/// A model at an endpoint.
#[derive(Debug)]
pub(crate) struct Target {
    url: Uri,
    headers: HeaderMap,
    shape: Shape,
}

#[derive(Debug)]
struct Shape {
    api: ApiName,
    model: String,
    stream: bool,
    max_tokens: Option<u64>,
    /// What OpenAI calls it today; its older models and most of its imitators know only `max_tokens`.
    max_completion_tokens: bool,
}

impl Target {
    /// A model behind a base URL.
    pub(crate) fn new(api: ApiName, base_url: &str, model: String) -> Result<Self, BadUrl> {
        let url = endpoint(api, base_url)?;
        let max_completion_tokens = url.host() == Some("api.openai.com");
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if api == ApiName::Anthropic {
            headers.insert(HeaderName::from_static("anthropic-version"), ANTHROPIC_VERSION);
        }
        let shape = Shape { api, model, stream: false, max_tokens: None, max_completion_tokens };
        Ok(Self { url, headers, shape })
    }

    /// Asks for streams.
    pub(crate) fn stream(mut self, stream: bool) -> Self {
        self.shape.stream = stream;
        self
    }

    /// Sets the most tokens of answers to prompts that do not name it themselves.
    pub(crate) fn max_tokens(mut self, max_tokens: Option<u64>) -> Self {
        self.shape.max_tokens = max_tokens;
        self
    }

    /// Sends this key along.
    pub(crate) fn key(mut self, key: &Key) -> Self {
        let name = match self.shape.api {
            ApiName::OpenAi => AUTHORIZATION,
            ApiName::Anthropic => HeaderName::from_static("x-api-key"),
        };
        self.headers.insert(name, key.header(self.shape.api));
        self
    }

    /// Where prompts are sent to.
    pub(crate) fn url(&self) -> &Uri {
        &self.url
    }

    /// The dialect it speaks. Who only imitates OpenAI is not held to every letter.
    pub(crate) fn provider(&self) -> &'static dyn Provider {
        match self.shape.api {
            ApiName::OpenAi => detect(self.url.host().unwrap_or_default()),
            ApiName::Anthropic => &Anthropic,
        }
    }

    /// The request that asks for an answer to `prompt`, and what it costs.
    pub(crate) fn request(&self, prompt: &Prompt) -> PromptRequest {
        let body = self.shape.body(prompt).to_string();
        let estimate = self.provider().estimate(self.url.path(), body.as_bytes(), None);
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        request.headers_mut().clone_from(&self.headers);
        // Where nobody knows how long the answer will be, its real length is charged when it has come.
        let charge = Charge::request()
            .input_tokens(estimate.input())
            .output_tokens(estimate.output().unwrap_or(0));
        request.extensions_mut().insert(charge);
        request
    }
}

impl Shape {
    fn body(&self, prompt: &Prompt) -> Value {
        let mut body = json!({
            "model": self.model,
            "messages": [{"role": "user", "content": prompt.text}],
        });
        let most = prompt.max_tokens.map(u64::from).or(self.max_tokens);
        match (self.api, most) {
            (ApiName::Anthropic, most) => {
                body["max_tokens"] = most.unwrap_or(ANTHROPIC_MAX_TOKENS).into();
            }
            (ApiName::OpenAi, Some(most)) if self.max_completion_tokens => {
                body["max_completion_tokens"] = most.into();
            }
            (ApiName::OpenAi, Some(most)) => body["max_tokens"] = most.into(),
            (ApiName::OpenAi, None) => {}
        }
        if self.stream {
            body["stream"] = true.into();
        }
        body
    }
}

/// The URL prompts are sent to.
fn endpoint(api: ApiName, base_url: &str) -> Result<Uri, BadUrl> {
    let url: Uri = base_url.parse().map_err(|_| BadUrl::Malformed)?;
    let is_http = url.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
    let Some(authority) = url.authority().filter(|_| is_http) else {
        return Err(BadUrl::Malformed);
    };
    if authority.as_str().contains('@') {
        return Err(BadUrl::Credentials);
    }
    let call = match api {
        ApiName::OpenAi => "/chat/completions",
        ApiName::Anthropic => "/v1/messages",
    };
    let mut path = format!("{}{call}", url.path().trim_end_matches('/'));
    if let Some(query) = url.query() {
        path = format!("{path}?{query}");
    }
    let mut parts = url.into_parts();
    parts.path_and_query = Some(path.parse::<PathAndQuery>().map_err(|_| BadUrl::Malformed)?);
    Uri::from_parts(parts).map_err(|_| BadUrl::Malformed)
}

/// Why a base URL is none. Does not repeat it: there are those who put passwords there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadUrl {
    Malformed,
    Credentials,
}

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the base URL must begin with http:// or https:// and name a host",
            Self::Credentials => {
                "the base URL must hold no password: name the key's variable with --api-key-env"
            }
        })
    }
}

impl std::error::Error for BadUrl {}

/// An API key, which nothing shows.
#[derive(Clone)]
pub(crate) struct Key(String);

impl Key {
    /// A key that can be sent in a header.
    pub(crate) fn new(key: &str) -> Option<Self> {
        let key = key.trim();
        let usable = !key.is_empty() && HeaderValue::from_str(key).is_ok();
        usable.then(|| Self(key.to_owned()))
    }

    fn header(&self, api: ApiName) -> HeaderValue {
        let value = match api {
            ApiName::OpenAi => HeaderValue::try_from(format!("Bearer {}", self.0)),
            ApiName::Anthropic => HeaderValue::from_str(&self.0),
        };
        let mut value = value.unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }

    /// Takes the key out of a text: there are servers that repeat what they did not like.
    pub(crate) fn conceal(&self, text: &str) -> String {
        text.replace(&self.0, "[the API key]")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn url(api: ApiName, base: &str) -> Result<String, BadUrl> {
        endpoint(api, base).map(|url| url.to_string())
    }

    #[test]
    fn base_urls_are_taken_as_the_sdks_take_them() {
        let (openai, anthropic) = (ApiName::OpenAi, ApiName::Anthropic);
        for (api, base, expected) in [
            (openai, "https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions"),
            (openai, "http://127.0.0.1:8080/v1//", "http://127.0.0.1:8080/v1/chat/completions"),
            (
                openai,
                "http://h/openai/v1/?api-version=x",
                "http://h/openai/v1/chat/completions?api-version=x",
            ),
            (openai, "http://[::1]:80", "http://[::1]:80/chat/completions"),
            (anthropic, "https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
            (anthropic, "http://h:1/proxy/", "http://h:1/proxy/v1/messages"),
        ] {
            assert_eq!(url(api, base).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_base_url_is_refused() {
        for bad in [
            "",
            "localhost:8080/v1",
            "api.openai.com",
            "/v1",
            "ftp://h/v1",
            "http://",
            "http://a b/",
            "http:///v1",
        ] {
            assert!(url(ApiName::OpenAi, bad).is_err(), "{bad}");
        }
        assert_eq!(url(ApiName::OpenAi, "http://me:secret@h/v1"), Err(BadUrl::Credentials));
    }

    fn prompt(max_tokens: Option<u64>) -> Prompt {
        let json = json!({"id": 1, "prompt": "why", "max_tokens": max_tokens});
        serde_json::from_value(json).unwrap()
    }

    async fn sent(target: &Target, max_tokens: Option<u64>) -> (HeaderMap, Value) {
        let request = target.request(&prompt(max_tokens));
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.headers, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn openai_has_its_shape() {
        let target = |base| Target::new(ApiName::OpenAi, base, "m".to_owned()).unwrap();
        let messages = json!([{"role": "user", "content": "why"}]);
        let local = target("http://h/v1").key(&Key::new(" sk-1\n").unwrap()).stream(true);
        let (headers, body) = sent(&local, Some(5)).await;
        assert_eq!(headers["authorization"], "Bearer sk-1");
        assert_eq!(body, json!({"model": "m", "messages": messages, "max_tokens": 5, "stream": true}));
        let (headers, body) = sent(&target("https://api.openai.com/v1").max_tokens(Some(9)), None).await;
        assert!(!headers.contains_key("authorization"));
        assert_eq!(body, json!({"model": "m", "messages": messages, "max_completion_tokens": 9}));
    }

    #[tokio::test]
    async fn anthropic_has_its_shape() {
        let target = Target::new(ApiName::Anthropic, "http://h", "m".to_owned()).unwrap();
        let target = target.key(&Key::new("k").unwrap());
        let (headers, body) = sent(&target, None).await;
        assert_eq!(
            (&headers["x-api-key"], &headers["anthropic-version"]),
            (&"k".parse().unwrap(), &ANTHROPIC_VERSION)
        );
        assert_eq!(body["max_tokens"], ANTHROPIC_MAX_TOKENS);
    }

    #[test]
    fn the_key_is_nowhere_to_be_seen() {
        let key = Key::new("sk-secret").unwrap();
        let target = Target::new(ApiName::OpenAi, "http://h/v1", "m".to_owned()).unwrap().key(&key);
        let shown = format!("{key:?} {target:?} {:?}", target.request(&prompt(None)));
        assert!(!shown.contains("secret"), "{shown}");
        assert_eq!(key.conceal("bad key sk-secret"), "bad key [the API key]");
        assert!(Key::new(" ").is_none() && Key::new("a\nb").is_none());
    }
}
