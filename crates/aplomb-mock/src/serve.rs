//! One request, from its head to its answer.

use std::error::Error;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::Instant;

use crate::answer::Content;
use crate::api::{Api, Ask, Headers, Origin, Problem, told};
use crate::body::Body;
use crate::chosen::Chosen;
use crate::config::Config;
use crate::draw;
use crate::fault::Fault;
use crate::in_flight::InFlight;
use crate::ledger::Verdict;
use crate::limit::Levels;
use crate::outage::Outage;
use crate::request;
use crate::shared::Shared;
use crate::size::Size;
use crate::stream;

const PATHS: [&str; 4] = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/messages",
];

pub(crate) async fn respond<B>(shared: Arc<Shared>, request: Request<B>) -> io::Result<Response<Body>>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    match (&head.method, head.uri.path()) {
        (&Method::GET, "/stats") => return Ok(stats(&shared)),
        (&Method::POST, "/reset") => {
            shared.reset();
            return Ok(stats(&shared));
        }
        _ => {}
    }
    shared.ledger().count_seen();
    let api = Api::of(head.uri.path(), &head.headers);
    let call = Call { shared, api };
    let response = match call.read(&head, body).await? {
        Ok(ask) => call.decide(ask).await?,
        Err(problem) => call.refuse(&problem, &Levels::default()),
    };
    call.shared.ledger().count_status(response.status().as_u16());
    Ok(response)
}

fn stats(shared: &Shared) -> Response<Body> {
    let json = serde_json::to_vec_pretty(&shared.ledger().stats()).unwrap_or_default();
    let mut headers = Headers::default();
    headers.add("content-type", "application/json");
    respond_with(StatusCode::OK, headers, Body::whole(json.into(), None))
}

/// One request to one of the APIs.
struct Call {
    shared: Arc<Shared>,
    api: Api,
}

impl Call {
    /// Checks the head, then reads the body. The outer error means that the client went away.
    async fn read<B>(&self, head: &Parts, body: B) -> io::Result<Result<Ask, Problem>>
    where
        B: http_body::Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if let Err(problem) = self.check(head) {
            return Ok(Err(problem));
        }
        let most = self.shared.config.max_body_bytes;
        if body.size_hint().lower() > u64::try_from(most).unwrap_or(u64::MAX) {
            return Ok(Err(Problem::TooLarge));
        }
        match Limited::new(body, most).collect().await {
            Ok(body) => Ok(self.parse(head, body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Ok(Err(Problem::TooLarge)),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn check(&self, head: &Parts) -> Result<(), Problem> {
        let (method, path) = (&head.method, head.uri.path());
        let accepts_all = self.shared.config.answer_with.is_some();
        if !accepts_all && !PATHS.contains(&path) {
            return Err(Problem::NoSuchPath(method.clone(), path.to_owned()));
        }
        if !accepts_all && method != Method::POST {
            return Err(Problem::WrongMethod(method.clone(), path.to_owned()));
        }
        match &self.shared.config.api_key {
            Some(key) if self.api.key_in(&head.headers) != Some(&key.0) => Err(Problem::Unauthorized),
            _ => Ok(()),
        }
    }

    fn parse(&self, head: &Parts, body: Bytes) -> Result<Ask, Problem> {
        let path = head.uri.path();
        if PATHS.contains(&path) && head.method == Method::POST {
            return request::parse(self.api, path, body);
        }
        Ok(Ask::other(path, body))
    }

    async fn decide(&self, ask: Ask) -> io::Result<Response<Body>> {
        let key = draw::key(&ask.prompt);
        let size = size(self.api, &ask, key, &self.shared.config);
        let (verdict, levels) = self.shared.ledger().arrive(&self.shared.config, key, &ask.model, &size);
        match verdict {
            Verdict::Refused(problem) => {
                self.tell(key, &problem);
                Ok(self.refuse(&problem, &levels))
            }
            Verdict::Out(Outage::Unavailable) => Ok(self.refuse(&Problem::Unavailable(None), &levels)),
            Verdict::Out(Outage::Refuse) => Err(io::ErrorKind::ConnectionRefused.into()),
            Verdict::Out(Outage::Reset) => Err(reset()),
            Verdict::Out(Outage::Hang) => std::future::pending().await,
            Verdict::Accepted { attempt, fault, charged } => {
                let in_flight = InFlight::new(&self.shared, key, fault, charged);
                self.wait(key, attempt, fault).await;
                let fault = if ask.stream {
                    fault
                } else {
                    fault.map(Fault::without_stream)
                };
                self.suffer(key, (ask, size), &levels, fault, in_flight).await
            }
        }
    }

    /// Waits as long as the answer takes, or the fault.
    async fn wait(&self, key: u64, attempt: u32, fault: Option<Fault>) {
        let config = &self.shared.config;
        if let Some(latency) = &config.fault_latency {
            if fault.is_some_and(Fault::precedes_the_answer) {
                return tokio::time::sleep(latency.draw_for(config.plan.seed(), key, attempt)).await;
            }
        }
        let latency = config.latency.draw_for(config.plan.seed(), key, attempt);
        match &self.shared.capacity {
            Some(capacity) => capacity.work(latency).await,
            None if latency.is_zero() => {}
            None => tokio::time::sleep(latency).await,
        }
    }

    async fn suffer(
        &self,
        key: u64,
        asked: (Ask, Size),
        levels: &Levels,
        fault: Option<Fault>,
        in_flight: InFlight,
    ) -> io::Result<Response<Body>> {
        let problem = match fault {
            Some(Fault::InternalError) => Problem::InternalError,
            Some(Fault::BadGateway) => Problem::BadGateway,
            Some(Fault::Unavailable) => Problem::Unavailable(None),
            Some(Fault::UnavailableFor(delay)) => Problem::Unavailable(Some(delay)),
            Some(Fault::Throttled) => Problem::Busy { concurrency: false, delay: None },
            Some(Fault::ThrottledFor(delay)) => Problem::Busy { concurrency: false, delay: Some(delay) },
            Some(Fault::Overloaded) => Problem::Overloaded,
            Some(Fault::Reset) => return Err(reset()),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::SlowHead(delay)) => {
                tokio::time::sleep(delay).await;
                return Ok(self.answer(asked, levels, None, in_flight));
            }
            _ => return Ok(self.answer(asked, levels, fault, in_flight)),
        };
        self.tell(key, &problem);
        Ok(self.refuse(&problem, levels))
    }

    fn answer(
        &self,
        (ask, size): (Ask, Size),
        levels: &Levels,
        fault: Option<Fault>,
        mut in_flight: InFlight,
    ) -> Response<Body> {
        let config = &self.shared.config;
        let origin = self.shared.origin();
        let mut answer = Content::new(&ask.prompt, &size);
        let mut headers = self.headers(levels, &origin);
        let mut status = StatusCode::OK;
        if let Some(chooser) = &config.answer_with {
            let chosen = chooser.choose(&ask);
            status = chosen.status;
            headers.extend(chosen.headers);
            match chosen.content {
                Chosen::Usual if PATHS.contains(&&*ask.path) => {}
                Chosen::Usual => return self.refuse(&Problem::NoSuchPath(Method::POST, ask.path), levels),
                Chosen::Text(text) => answer.words = text.split(' ').map(str::to_owned).collect(),
                Chosen::ToolCalls(calls) => (answer.words, answer.tool_calls) = (Vec::new(), calls),
                Chosen::Json(json) => {
                    headers.add("content-type", "application/json");
                    let whole = json.to_string().into();
                    return whole_or_cut(status, headers, whole, fault, in_flight);
                }
            }
        }
        if ask.stream {
            headers.add("content-type", "text/event-stream; charset=utf-8");
            headers.add("cache-control", "no-cache");
            let steps = stream::steps((self.api, origin), ask, answer, config.token_gap, fault);
            return respond_with(status, headers, Body::steps(steps, Some(in_flight)));
        }
        headers.add("content-type", "application/json");
        if let Some(Fault::OnlyPings(every)) = fault {
            let blank_lines = stream::pings(&Bytes::from_static(b"\n"), every);
            return respond_with(StatusCode::OK, headers, Body::steps(blank_lines, Some(in_flight)));
        }
        let whole = self.api.whole(&ask, &answer, &origin);
        in_flight.produced(answer.words.len());
        whole_or_cut(status, headers, whole, fault, in_flight)
    }

    fn refuse(&self, problem: &Problem, levels: &Levels) -> Response<Body> {
        let origin = self.shared.origin();
        let reply = self.api.problem(problem, self.shared.config.hints, &origin);
        let mut headers = self.headers(levels, &origin);
        headers.extend(reply.headers);
        respond_with(reply.status, headers, Body::whole(reply.body, None))
    }

    /// The headers of every answer.
    fn headers(&self, levels: &Levels, origin: &Origin) -> Headers {
        let mut headers = Headers::default();
        headers.add("date", httpdate::fmt_http_date(origin.date));
        self.api.request_id(origin, &mut headers);
        if self.shared.config.hints.levels() {
            self.api.levels(levels, origin.date, &mut headers);
        }
        headers
    }

    fn tell(&self, key: u64, problem: &Problem) {
        let told = told(self.api, problem, self.shared.config.hints);
        if let Some(not_before) = told.and_then(|delay| Instant::now().checked_add(delay)) {
            self.shared.ledger().tell(key, not_before);
        }
    }
}

/// An answer in one piece, or the part of it that a fault leaves.
fn whole_or_cut(
    status: StatusCode,
    mut headers: Headers,
    whole: Bytes,
    fault: Option<Fault>,
    in_flight: InFlight,
) -> Response<Body> {
    let body = match fault {
        Some(Fault::Truncate) => Body::cut,
        Some(Fault::Stall) => Body::stalled,
        _ => return respond_with(status, headers, Body::whole(whole, Some(in_flight))),
    };
    headers.add("content-length", whole.len());
    respond_with(status, headers, body(&whole, Some(in_flight)))
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by the mock")
}

/// The tokens of a request and of its answer.
fn size(api: Api, ask: &Ask, key: u64, config: &Config) -> Size {
    let seed = config.plan.seed();
    if api == Api::Embeddings {
        let input = config.input_factor.tokens(seed, key, ask.input_chars);
        return Size { input, bound: None, longest: 0, words: 0, cut: false };
    }
    let (usual, longest) = config.answer_words.draw(seed, key, &ask.prompt);
    let bound = ask.max_tokens.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    Size {
        input: config.input_factor.tokens(seed, key, ask.input_chars),
        bound: ask.max_tokens,
        longest: ask.max_tokens.unwrap_or(u64::try_from(longest).unwrap_or(u64::MAX)),
        words: usual.min(bound),
        cut: bound < usual,
    }
}

fn respond_with(status: StatusCode, headers: Headers, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers.into_map();
    response
}
