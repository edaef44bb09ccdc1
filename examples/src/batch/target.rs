//! The model to ask: its URL, its headers, and the shape of its requests.

use std::fmt;
use std::num::NonZeroU16;

use aplomb::provider::{Anthropic, Provider, detect};
use aplomb::rate_limit::Charge;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use serde_json::{Value, json};

use super::args::ApiName;
use super::key::Key;
use super::prompt::Prompt;

const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// Anthropic's API requires `max_tokens`. This is enough for most answers, and allowed by every model.
const ANTHROPIC_MAX_TOKENS: u64 = 1_024;

/// The request that a prompt is sent as.
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
    /// True if the limit is called `max_completion_tokens`, as OpenAI does now. Its older models and most
    /// compatible servers know only `max_tokens`.
    max_completion_tokens: bool,
}

impl Target {
    /// The model of that name behind a base URL.
    pub(crate) fn new(api: ApiName, base_url: &str, model: String) -> Result<Self, InvalidUrl> {
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

    /// Sets whether to ask for streams.
    pub(crate) fn stream(mut self, stream: bool) -> Self {
        self.shape.stream = stream;
        self
    }

    /// Sets `max_tokens` for prompts that have none of their own.
    pub(crate) fn max_tokens(mut self, max_tokens: Option<u64>) -> Self {
        self.shape.max_tokens = max_tokens;
        self
    }

    /// Sets the API key to send.
    pub(crate) fn key(mut self, key: &Key) -> Self {
        let name = match self.shape.api {
            ApiName::OpenAi => AUTHORIZATION,
            ApiName::Anthropic => HeaderName::from_static("x-api-key"),
        };
        self.headers.insert(name, key.header(self.shape.api));
        self
    }

    /// The URL that prompts are sent to.
    pub(crate) fn url(&self) -> &Uri {
        &self.url
    }

    /// The dialect to read answers in: a compatible server is read more leniently than OpenAI itself.
    pub(crate) fn provider(&self) -> &'static dyn Provider {
        match self.shape.api {
            ApiName::OpenAi => detect(self.url.host().unwrap_or_default()),
            ApiName::Anthropic => &Anthropic,
        }
    }

    /// The request for `prompt`, with its cost in the extensions.
    pub(crate) fn request(&self, prompt: &Prompt) -> PromptRequest {
        let body = self.shape.body(prompt).to_string();
        let estimate = self.provider().estimate(self.url.path(), body.as_bytes(), None);
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        request.headers_mut().clone_from(&self.headers);
        // An answer of unknown length is charged when it has arrived.
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

/// The URL that prompts are sent to.
fn endpoint(api: ApiName, base_url: &str) -> Result<Uri, InvalidUrl> {
    let url: Uri = base_url.parse().map_err(|_| InvalidUrl::Malformed)?;
    let is_http = url.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
    let authority = url.authority().filter(|_| is_http).ok_or(InvalidUrl::Malformed)?;
    if authority.as_str().contains('@') {
        return Err(InvalidUrl::Credentials);
    }
    // A port that does not parse would silently become the scheme's default port.
    if let Some(port) = invalid_port(authority.as_str()) {
        return Err(InvalidUrl::Port(port.to_owned()));
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
    parts.path_and_query = Some(path.parse::<PathAndQuery>().map_err(|_| InvalidUrl::Malformed)?);
    Uri::from_parts(parts).map_err(|_| InvalidUrl::Malformed)
}

/// The port of `host:port` or `[address]:port`, if it is invalid. An empty one is allowed: it means the default.
fn invalid_port(authority: &str) -> Option<&str> {
    let after_host = authority.rfind(']').map_or(authority, |end| &authority[end..]);
    let (_, port) = after_host.split_once(':')?;
    (!port.is_empty() && port.parse::<NonZeroU16>().is_err()).then_some(port)
}

/// Why a base URL is invalid. Does not show the URL, which may contain a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InvalidUrl {
    Malformed,
    Credentials,
    Port(String),
}

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid --base-url: ")?;
        match self {
            Self::Malformed => f.write_str("it must start with http:// or https:// and name a host"),
            Self::Credentials => {
                f.write_str("it must not contain a user name or password; use --api-key-env for the key")
            }
            Self::Port(port) => write!(f, "the port must be a number from 1 to 65535, not {port}"),
        }
    }
}

impl std::error::Error for InvalidUrl {}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn url(api: ApiName, base: &str) -> Result<String, InvalidUrl> {
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
    fn a_port_that_is_no_port_is_refused_and_not_replaced_by_port_80() {
        for (base, port) in [
            ("http://host:99999/v1", "99999"),
            ("https://host:65536", "65536"),
            ("http://host:0/v1", "0"),
            ("http://[::1]:70000/v1", "70000"),
            ("http://127.0.0.1:123456", "123456"),
        ] {
            assert_eq!(url(ApiName::OpenAi, base), Err(InvalidUrl::Port(port.to_owned())), "{base}");
        }
        assert!(url(ApiName::OpenAi, "http://host:65535/v1").is_ok());
        // RFC 3986 allows an empty port: it means the default.
        assert!(url(ApiName::OpenAi, "http://host:/v1").is_ok());
        assert_eq!(
            InvalidUrl::Port("99999".to_owned()).to_string(),
            "invalid --base-url: the port must be a number from 1 to 65535, not 99999"
        );
    }

    #[test]
    fn a_base_url_that_is_no_url_is_refused() {
        for bad in [
            "",
            "localhost:8080/v1",
            "api.openai.com",
            "/v1",
            "ftp://h/v1",
            "http://",
            "http://a b/",
            "http:///v1",
            "http://host:port/v1",
            "http://host:-1/v1",
        ] {
            assert!(url(ApiName::OpenAi, bad).is_err(), "{bad}");
        }
        assert_eq!(url(ApiName::OpenAi, "http://me:secret@h/v1"), Err(InvalidUrl::Credentials));
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
    fn the_key_is_shown_nowhere() {
        let key = Key::new("sk-secret").unwrap();
        let target = Target::new(ApiName::OpenAi, "http://h/v1", "m".to_owned()).unwrap().key(&key);
        let shown = format!("{key:?} {target:?} {:?}", target.request(&prompt(None)));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
