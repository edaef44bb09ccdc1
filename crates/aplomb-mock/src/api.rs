//! The two APIs, and the types that their requests and answers are made of.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode};

use crate::clock::{ceil_millis, ceil_seconds};
use crate::hints::Hints;
use crate::limit::Refusal;

/// Whose shape an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    OpenAi,
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
}

/// A failure, before it is put into a provider's words.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The request makes no sense: why, and which field.
    Invalid(String, Option<&'static str>),
    Unauthorized,
    NoSuchPath(Method, String),
    WrongMethod(Method, String),
    TooLarge,
    QuotaExhausted,
    /// Refused by a limit, for this model.
    Throttled(Refusal, String),
    InternalError,
    BadGateway,
    /// The 503, with what `retry-after` says.
    Unavailable(Option<Duration>),
    /// The 529.
    Overloaded,
    /// Too many in flight: what each provider sends when it is overloaded.
    Full,
}

/// A body in JSON with its status, to which headers are added.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
}

/// Headers of an answer, in the order in which they are told.
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

/// The parts of a stream: what comes before the words, around each, after them, or instead of them.
#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) opening: Vec<Bytes>,
    pub(crate) delta: fn(&Ask, &Origin, &str) -> Bytes,
    pub(crate) closing: Vec<Bytes>,
    pub(crate) error: Bytes,
    /// A sign of life.
    pub(crate) ping: Bytes,
}

/// Where and when an answer was made: its number and its date.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) id: u64,
    pub(crate) date: SystemTime,
}

impl Api {
    /// Whose shape an answer to an unknown path has: Anthropic's clients always say who they are.
    pub(crate) fn of(path: &str, headers: &HeaderMap) -> Self {
        let anthropic = ["anthropic-version", "x-api-key"].iter().any(|name| headers.contains_key(*name));
        match path {
            "/v1/messages" => Self::Anthropic,
            "/v1/chat/completions" => Self::OpenAi,
            _ if anthropic => Self::Anthropic,
            _ => Self::OpenAi,
        }
    }

    /// The key a request carries, where this API expects it.
    pub(crate) fn key_in(self, headers: &HeaderMap) -> Option<&str> {
        match self {
            Self::OpenAi => headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer "),
            Self::Anthropic => headers.get("x-api-key")?.to_str().ok(),
        }
    }

    pub(crate) fn request_id(self, origin: &Origin, headers: &mut Headers) {
        let name = match self {
            Self::OpenAi => "x-request-id",
            Self::Anthropic => "request-id",
        };
        headers.add(name, request_id(origin));
    }
}

pub(crate) fn request_id(origin: &Origin) -> String {
    format!("req_mock{:016x}", origin.id)
}

/// A proxy's page, in nobody's shape.
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

/// What a client may count on after this problem: the delay it was told, in the finest words it was told in.
pub(crate) fn told(api: Api, problem: &Problem, hints: Hints) -> Option<Duration> {
    let (delay, fine) = match problem {
        Problem::Unavailable(delay) => ((*delay)?, false),
        Problem::Throttled(refusal, _) => (refusal.delay?, api == Api::OpenAi && hints.text()),
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
