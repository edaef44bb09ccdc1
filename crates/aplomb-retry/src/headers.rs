//! The headers that this layer reads and writes.

use aplomb_core::{RequestHead, ResponseHead};
use http::{HeaderName, HeaderValue};
use rand::Rng;
use uuid::Uuid;

/// The header in which SDKs made by Stainless (those of OpenAI, Anthropic and others) count retries.
const OUTER_RETRIES: HeaderName = HeaderName::from_static("x-stainless-retry-count");

/// The header with which a server tells the same SDKs whether to retry. It overrides their own rules.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Returns whether the client in front of us is already retrying this request.
pub(crate) fn is_retried_outside(request: &(impl RequestHead + ?Sized)) -> bool {
    retries(request, &OUTER_RETRIES).is_some_and(|count| count >= 1)
}

fn retries(request: &(impl RequestHead + ?Sized), name: &HeaderName) -> Option<u64> {
    request.headers()?.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// Adds a key to the request, the same for all its attempts, unless it has one.
pub(crate) fn add_key(request: &mut (impl RequestHead + ?Sized), name: &HeaderName, random: &mut dyn Rng) {
    if let Some(http::header::Entry::Vacant(vacant)) = request.headers_mut().map(|it| it.entry(name)) {
        if let Ok(value) = HeaderValue::try_from(uuid(random).to_string()) {
            vacant.insert(value);
        }
    }
}

/// A random UUID (version 4), as servers recommend for such keys.
fn uuid(random: &mut dyn Rng) -> Uuid {
    let mut bytes = [0; 16];
    random.fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// Writes the number of retries so far, added to what an outer client counted in the same header.
pub(crate) fn count(request: &mut (impl RequestHead + ?Sized), name: &HeaderName, times: u32) {
    let before = retries(request, name).unwrap_or_default();
    if let Some(headers) = request.headers_mut() {
        headers.insert(name.clone(), HeaderValue::from(before.saturating_add(times.into())));
    }
}

/// Asks the client in front not to retry.
pub(crate) fn forbid_retry(response: &mut (impl ResponseHead + ?Sized)) {
    if let Some(headers) = response.headers_mut() {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn a_count_of_one_or_more_is_a_retry_outside() {
        for (value, retried) in [
            ("0", false),
            ("1", true),
            ("12", true),
            ("-1", false),
            ("", false),
            ("many", false),
            ("99999999999999999999999999", false),
        ] {
            let request = Request::builder().header(OUTER_RETRIES, value).body(()).unwrap();
            assert_eq!(is_retried_outside(&request), retried, "{value}");
        }
        assert!(!is_retried_outside(&Request::new(())));
    }

    #[test]
    fn a_key_is_a_uuid_and_an_existing_one_is_kept() {
        let mut random = StdRng::seed_from_u64(1);
        let name = HeaderName::from_static("idempotency-key");
        let mut request = Request::new(());
        add_key(&mut request, &name, &mut random);
        let key = request.headers()[&name].to_str().unwrap().to_owned();
        assert_eq!(Uuid::parse_str(&key).unwrap().get_version_num(), 4);
        add_key(&mut request, &name, &mut random);
        assert_eq!(request.headers()[&name], key);
    }

    #[test]
    fn retries_are_added_to_those_that_were_counted_before() {
        let mut request = Request::builder().header(OUTER_RETRIES, "2").body(()).unwrap();
        count(&mut request, &OUTER_RETRIES, 3);
        assert_eq!(request.headers()[OUTER_RETRIES], "5");
        count(&mut request, &HeaderName::from_static("x-retries"), 0);
        assert_eq!(request.headers()["x-retries"], "0");
    }
}
