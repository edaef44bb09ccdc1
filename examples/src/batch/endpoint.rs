//! The endpoint: aplomb's layers, configured for answers rather than haste.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aplomb::provider::Provider;
use aplomb::rate_limit::Quota;
use aplomb::{BoxError, EndpointBody, EndpointHandle, EndpointLayer, HttpClient, InvalidPolicy, Policy};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt};

use super::args::Args;
use super::ask::Endpoint;
use super::attempts::{Watched, WatchedBody, observer};
use super::health::Health;

/// The largest answer that is kept.
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;

/// The longest wait that a provider may ask for: beyond that, the work is for another day.
const LONGEST_HINT: Duration = Duration::from_secs(60 * 60);

/// The default of `--timeout`.
const SILENCE: Duration = Duration::from_secs(120);

/// The default of `--answer-timeout`: no answer takes that long.
const WHOLE_ANSWER: Duration = Duration::from_secs(60 * 60);

/// The limits the user knows of, and how patient the run is.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) quotas: Vec<Quota>,
    /// How long an attempt may be silent: before the head, before the first content, and between contents.
    pub(crate) silence: Duration,
    /// How long an attempt may take to the end of its answer, where the user set that.
    pub(crate) whole_answer: Option<Duration>,
    pub(crate) max_retries: Option<u32>,
}

impl Settings {
    /// The settings on the command line.
    pub(crate) fn of(args: &Args) -> Self {
        let requests = args.rpm.map(|rpm| known(Quota::requests_per_minute(rpm.into()), args.burst));
        let tokens = args.tpm.map(|tpm| known(Quota::tokens_per_minute(tpm.into()), args.token_burst));
        Self {
            quotas: requests.into_iter().chain(tokens).collect(),
            silence: args.timeout.unwrap_or(SILENCE),
            whole_answer: args.answer_timeout,
            max_retries: args.max_retries,
        }
    }

    /// A description of an attempt that our own timeout ended.
    pub(crate) fn timed_out(&self) -> String {
        let silence = format!("nothing arrived for {:?} (--timeout)", self.silence);
        match self.whole_answer {
            Some(time) => format!("{silence}, or the answer took longer than {time:?} (--answer-timeout)"),
            None => silence,
        }
    }
}

/// How much closer together two requests may arrive than they were sent: the first has to open its connection.
const TRAVEL: Duration = Duration::from_millis(50);

/// How much slower than the limit requests are sent where the burst has no room for that.
const SLOWER: f64 = 1.02;

/// A quota that the user told, with its burst where that is known too.
///
/// The provider counts requests as they arrive, not as they are sent. A client that uses the last token of a limit is
/// refused now and then. So the burst leaves out what flows back within `TRAVEL`. Where it is too small for that, as with one
/// request at a time, the rate is lowered a little instead.
pub(crate) fn known(quota: Quota, burst: Option<u32>) -> Quota {
    let burst = burst.unwrap_or(quota.max_burst());
    let flow = u128::from(quota.amount()) * TRAVEL.as_nanos();
    let margin = flow.div_ceil(quota.window().as_nanos().max(1));
    match burst.checked_sub(u32::try_from(margin).unwrap_or(u32::MAX)) {
        Some(burst) if burst > 0 => quota.burst(burst),
        _ => Quota::new(quota.dimension(), quota.amount(), quota.window().mul_f64(SLOWER)).burst(1),
    }
}

/// Puts `client` behind all of aplomb's layers.
pub(crate) fn endpoint<C>(
    client: C,
    provider: &'static dyn Provider,
    settings: &Settings,
    health: &Arc<Health>,
) -> Result<(Endpoint, EndpointHandle), InvalidPolicy>
where
    C: HttpClient<Full<Bytes>, Error: Error + Send + Sync, Future: Send, Body: Send> + Send + Sync + 'static,
{
    let whole_answer = settings.whole_answer.unwrap_or(WHOLE_ANSWER);
    let silence = settings.silence.min(whole_answer);
    let layer = EndpointLayer::with_policy(
        provider,
        Policy::new()
            .quotas(settings.quotas.iter().copied())
            .head_timeout(silence)
            .content_timeout(silence)
            .idle_timeout(silence)
            .attempt_timeout(whole_answer)
            // A batch waits as long as it takes; `Health` decides when there is no hope.
            .max_retries(settings.max_retries.unwrap_or(u32::MAX))
            .max_wait(Duration::MAX)
            .max_retry_after(LONGEST_HINT)
            .whole_answers(LARGEST_ANSWER),
    )?
    .observer(observer(Arc::clone(health)));
    let handle = layer.handle();
    let circuit = handle.watch_circuit().expect("all calls have the same circuit");
    let client = Watched::new(client, Arc::clone(health), circuit);
    let service = layer.layer(client).map_err(BoxError::from).and_then(
        |response: http::Response<EndpointBody<WatchedBody<C::Body>>>| async move {
            let (head, body) = response.into_parts();
            // The endpoint has read all of it: nothing is left that could break.
            let body: Bytes = body.collect().await?.to_bytes();
            Ok((head, body))
        },
    );
    Ok((BoxCloneSyncService::new(service), handle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_of_the_burst_is_left_for_the_network() {
        let burst = |quota, burst| known(quota, burst).max_burst();
        assert_eq!(burst(Quota::requests_per_minute(600), Some(20)), 19);
        assert_eq!(burst(Quota::requests_per_minute(600), None), 9);
        assert_eq!(burst(Quota::requests_per_minute(6_000), Some(20)), 15);
        assert_eq!(burst(Quota::requests_per_minute(60), Some(1)), 1);
        let slower = known(Quota::requests_per_minute(60), Some(1)).window();
        assert_eq!(slower, Duration::from_millis(61_200));
        assert_eq!(burst(Quota::tokens_per_minute(60_000), None), 59_950);
    }
}
