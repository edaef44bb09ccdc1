//! The endpoint, as a batch wants it: answers rather than haste.

use std::sync::Arc;
use std::time::Duration;

use aplomb::circuit_breaker::Trip;
use aplomb::core::Exponential;
use aplomb::provider::Provider;
use aplomb::rate_limit::Quota;
use aplomb::retry::ByKind;
use aplomb::{EndpointBody, EndpointHandle, EndpointLayer, InvalidPolicy, Policy};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt};

use super::args::Args;
use super::ask::Endpoint;
use super::client::Http;
use super::counted::Counted;
use super::signs::Signs;

/// The largest answer that is kept.
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;

/// The longest that a provider may ask to wait: after that it is another day's work.
const LONGEST_HINT: Duration = Duration::from_secs(60 * 60);

/// What the user knows of the limits, and how patient they are.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) quotas: Vec<Quota>,
    pub(crate) timeout: Duration,
    pub(crate) max_retries: Option<u32>,
}

/// How much closer together two requests may arrive than they were sent: the first has to open its connection.
const TRAVEL: Duration = Duration::from_millis(50);

/// How much slower than the limit requests go that can not be let closer together.
const SLOWER: f64 = 1.02;

impl Settings {
    /// The settings on the command line.
    pub(crate) fn of(args: &Args, timeout: Duration) -> Self {
        let requests = args.rpm.map(|rpm| known(Quota::requests_per_minute(rpm.into()), args.burst));
        let tokens = args.tpm.map(|tpm| known(Quota::tokens_per_minute(tpm.into()), args.token_burst));
        Self {
            quotas: requests.into_iter().chain(tokens).collect(),
            timeout,
            max_retries: args.max_retries,
        }
    }
}

/// A quota that is known, with its burst where that is known too.
///
/// The provider counts what arrives, not what was sent. So what flows back in the time of `TRAVEL` is left out of the
/// burst: a client that uses a limit to the last token is refused now and then. Where the burst has no room for that, as
/// with one request at a time, a little of the rate is left out instead.
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
pub(crate) fn endpoint(
    client: Http,
    provider: &'static dyn Provider,
    settings: &Settings,
    signs: &Arc<Signs>,
) -> Result<(Endpoint, EndpointHandle), InvalidPolicy> {
    // Where the limits are known they pace what is sent again as well, and an outage is the circuit's to notice: the
    // first retry need not wait long.
    let first_backoff = Duration::from_millis(if settings.quotas.is_empty() { 500 } else { 200 });
    let layer = EndpointLayer::with_policy(
        provider,
        Policy::new()
            .backoff(ByKind::default().others(Exponential::new(first_backoff)))
            .quotas(settings.quotas.iter().copied())
            .attempt_timeout(settings.timeout)
            .trip(Trip::default().one_credential())
            // Who wants all answers waits as long as it takes; whether there is hope is watched elsewhere.
            .max_retries(settings.max_retries.unwrap_or(u32::MAX))
            .max_wait(Duration::MAX)
            .max_retry_after(LONGEST_HINT)
            .whole_answers(LARGEST_ANSWER),
    )?;
    let handle = layer.handle();
    let service = layer.layer(Counted::new(client, Arc::clone(signs)));
    let service = service.and_then(|response: http::Response<EndpointBody<Incoming>>| async move {
        let (head, body) = response.into_parts();
        // It has been read already: nothing is left that could break.
        let body: Bytes = body.collect().await?.to_bytes();
        Ok((head, body))
    });
    Ok((BoxCloneSyncService::new(service), handle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_of_the_burst_is_left_to_the_way() {
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
