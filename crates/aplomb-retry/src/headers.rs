//! What this layer writes into requests and final responses, and reads from them.

use aplomb_core::{RequestHead, ResponseHead};
use http::{HeaderName, HeaderValue};
use rand::Rng;
use uuid::Uuid;

/// The header in which SDKs made by Stainless (those of OpenAI, Anthropic and others) say how often
/// they have sent this request again.
const OUTER_RETRIES: HeaderName = HeaderName::from_static("x-stainless-retry-count");

/// The header with which a server tells the same SDKs whether to retry; they obey it before anything else.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Whether the client in front of us is already retrying this request.
pub(crate) fn is_retried_outside(request: &(impl RequestHead + ?Sized)) -> bool {
    let count = request.headers().and_then(|headers| headers.get(&OUTER_RETRIES));
    count
        .and_then(|count| count.to_str().ok()?.trim().parse::<u64>().ok())
        .is_some_and(|count| count >= 1)
}

/// Gives the request a key that is the same for all its attempts, unless it has one.
pub(crate) fn add_key(request: &mut (impl RequestHead + ?Sized), name: &HeaderName, random: &mut dyn Rng) {
    if let Some(headers) = request.headers_mut()
        && let http::header::Entry::Vacant(vacant) = headers.entry(name)
        && let Ok(value) = HeaderValue::try_from(uuid(random).to_string())
    {
        vacant.insert(value);
    }
}

/// A random UUID, version 4, as servers recommend for such keys.
fn uuid(random: &mut dyn Rng) -> Uuid {
    let mut bytes = [0; 16];
    random.fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// Says how often the request has been sent before.
pub(crate) fn count(request: &mut (impl RequestHead + ?Sized), name: &HeaderName, retries: u32) {
    if let Some(headers) = request.headers_mut() {
        headers.insert(name.clone(), HeaderValue::from(retries));
    }
}

/// Asks the client in front of us not to start over.
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
    fn a_retry_outside_is_told_by_a_count_of_one_or_more() {
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
    fn a_key_is_a_uuid_and_an_own_one_is_kept() {
        let mut random = StdRng::seed_from_u64(1);
        let name = HeaderName::from_static("idempotency-key");
        let mut request = Request::new(());
        add_key(&mut request, &name, &mut random);
        let key = request.headers()[&name].to_str().unwrap().to_owned();
        assert_eq!(Uuid::parse_str(&key).unwrap().get_version_num(), 4);
        add_key(&mut request, &name, &mut random);
        assert_eq!(request.headers()[&name], key);
    }
}
