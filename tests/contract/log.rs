//! Changes of limits in the log: one line each, and no secrets.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use aplomb::Closing;
use aplomb::concurrency::{Adaptive, ConcurrencyLimitLayer, ConcurrencyLimiter};
use aplomb::core::Account;
use aplomb::{CallOptions, Outcome};
use tower::{Layer, ServiceExt, service_fn};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::peer::{Request, Response};
use crate::promises::request;
use crate::{endpoint, policy};

/// The lines that the concurrency limit writes, each with its level.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<(Level, String)>>>);

impl Lines {
    /// Those of this thread, as long as the guard is held.
    fn gather() -> (Self, DefaultGuard) {
        let lines = Self::default();
        (lines.clone(), tracing::subscriber::set_default(lines))
    }

    fn take(&self) -> Vec<(Level, String)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("aplomb_core")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        if line.0.contains("concurrency") {
            self.0.lock().unwrap().push((*event.metadata().level(), line.0));
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

const OVERLOAD: Outcome = Outcome::transient();

#[tokio::test(start_paused = true)]
async fn each_move_of_a_limit_is_one_line_at_debug() {
    let (lines, _guard) = Lines::gather();
    let limiter = ConcurrencyLimiter::new(Adaptive::new());
    limiter.acquire(&CallOptions::new()).await.unwrap().end(OVERLOAD);
    limiter.close(Closing::Drain);
    let line = "message=concurrency limit 4 → 3: overload layer=concurrency limit ";
    assert_eq!(lines.take(), [(Level::DEBUG, line.to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_line_names_the_key_and_not_the_credential() {
    let (lines, _guard) = Lines::gather();
    let limiter = ConcurrencyLimitLayer::new(Adaptive::new()).by_account().limiter();
    let request = http::Request::post("https://api.example.com/").header("x-api-key", "sk-secret");
    let key = Account::of(&request.body(()).unwrap());
    limiter.acquire_for(&key, &CallOptions::new()).await.unwrap().end(OVERLOAD);
    let line = format!("message=concurrency limit 4 → 3: overload layer=concurrency limit key={key} ");
    assert!(!line.contains("secret"));
    assert_eq!(lines.take(), [(Level::DEBUG, line)]);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_logs_the_moves_of_its_limit() {
    let (lines, _guard) = Lines::gather();
    let layer = endpoint(policy().concurrency(Adaptive::new()).max_retries(0));
    let service = layer.layer(service_fn(async |_: Request| {
        let mut response = Response::default();
        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        Ok::<_, aplomb::BoxError>(response)
    }));
    assert_eq!(service.oneshot(request("/")).await.unwrap().status(), 503);
    let line = "message=concurrency limit 4 → 3: overload layer=concurrency limit ";
    assert_eq!(lines.take(), [(Level::DEBUG, line.to_owned())]);
}
