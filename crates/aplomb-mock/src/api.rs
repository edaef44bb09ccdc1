//! The APIs, and the types of their requests and answers.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode};

use crate::clock::{ceil_millis, ceil_seconds};
use crate::hints::Hints;
use crate::limit::Refusal;

/// The API that a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    /// OpenAI's chat completions.
    OpenAi,
    /// OpenAI's responses.
    Responses,
    /// OpenAI's embeddings.
    Embeddings,
    /// Anthropic's messages.
    Anthropic,
}

/// A valid request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) model: String,
    pub(crate) prompt: String,
    pub(crate) input_chars: usize,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) embeddings: Embeddings,
    /// As it was sent.
    pub(crate) path: String,
    pub(crate) body: Bytes,
}

/// The vectors that a request asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Embeddings {
    pub(crate) inputs: usize,
    pub(crate) dimensions: usize,
    pub(crate) base64: bool,
}

/// A failure, before it is put into a provider's words.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The request is invalid: why, and which field.
    Invalid(String, Option<&'static str>),
    Unauthorized,
    NoSuchPath(Method, String),
    WrongMethod(Method, String),
    TooLarge,
    QuotaExhausted,
    /// A limit refused the request for this model.
    Throttled(Refusal, String),
    InternalError,
    BadGateway,
    /// A 503, with this `retry-after`.
    Unavailable(Option<Duration>),
    /// A 529.
    Overloaded,
    /// Too many requests are in flight: what each provider sends when it is overloaded.
    Full,
    /// A 429 that no limit decides, with this `retry-after`: about concurrency, or about shared capacity.
    Busy {
        concurrency: bool,
        delay: Option<Duration>,
    },
}

/// A whole answer with its own headers.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
}

/// The headers of an answer, in order.
#[derive(Debug, Default)]
pub(crate) struct Headers(Vec<(String, String)>);

impl Headers {
    pub(crate) fn add(&mut self, name: impl Into<String>, value: impl fmt::Display) {
        self.0.push((name.into(), format!("{value}")));
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub(crate) fn into_map(self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in self.0 {
            // All names are ours and all values are printable, so both always parse.
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), value.try_into()) {
                map.insert(name, value);
            }
        }
        map
    }
}

/// The events of a stream: before the words, for each word, after them, and instead of them.
#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) opening: Vec<Bytes>,
    pub(crate) delta: fn(&Ask, &Origin, usize, &str) -> Bytes,
    pub(crate) closing: Vec<Bytes>,
    pub(crate) error: Bytes,
    /// Keeps the connection alive.
    pub(crate) ping: Bytes,
}

/// The number and the date of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) id: u64,
    pub(crate) date: SystemTime,
}

impl Api {
    /// The API of a path. For an unknown path, that of the client: Anthropic's clients send headers of their own.
    pub(crate) fn of(path: &str, headers: &HeaderMap) -> Self {
        let anthropic = ["anthropic-version", "x-api-key"].iter().any(|name| headers.contains_key(*name));
        match path {
            "/v1/messages" => Self::Anthropic,
            "/v1/chat/completions" => Self::OpenAi,
            "/v1/responses" => Self::Responses,
            "/v1/embeddings" => Self::Embeddings,
            _ if anthropic => Self::Anthropic,
            _ => Self::OpenAi,
        }
    }

    /// The key of a request, in the header that this API expects.
    pub(crate) fn key_in(self, headers: &HeaderMap) -> Option<&str> {
        match self {
            Self::Anthropic => headers.get("x-api-key")?.to_str().ok(),
            _ => headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer "),
        }
    }

    pub(crate) fn request_id(self, origin: &Origin, headers: &mut Headers) {
        let name = match self {
            Self::Anthropic => "request-id",
            _ => "x-request-id",
        };
        headers.add(name, request_id(origin));
    }
}

pub(crate) fn request_id(origin: &Origin) -> String {
    format!("req_mock{:016x}", origin.id)
}

/// The HTML page of a proxy.
pub(crate) fn bad_gateway() -> Reply {
    let mut headers = Headers::default();
    headers.add("content-type", "text/html");
    let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n\
                <hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n";
    Reply {
        status: StatusCode::BAD_GATEWAY,
        headers,
        body: Bytes::from_static(page.as_bytes()),
    }
}

/// The delay that an answer tells, as precisely as it tells it.
pub(crate) fn told(api: Api, problem: &Problem, hints: Hints) -> Option<Duration> {
    let (delay, fine) = match problem {
        Problem::Unavailable(delay) | Problem::Busy { delay, .. } => ((*delay)?, false),
        Problem::Throttled(refusal, _) => (refusal.delay?, api != Api::Anthropic && hints.text()),
        _ => return None,
    };
    let throttled = matches!(problem, Problem::Throttled(..));
    if fine {
        Some(Duration::from_millis(ceil_millis(delay)))
    } else if !throttled || hints.retry_after() {
        Some(Duration::from_secs(ceil_seconds(delay)))
    } else {
        None
    }
}
