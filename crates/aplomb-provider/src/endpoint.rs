//! For endpoints that change the body of a request. Not part of the stable interface.

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// Digests of a body: RFC 9530, RFC 3230 and RFC 1864.
const DIGESTS: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

/// Signatures that may cover a body: RFC 9421 and AWS.
const SIGNATURES: [&str; 3] = ["signature", "signature-input", "x-amz-content-sha256"];

/// Returns whether a signature may cover the body of a request with these headers, so that it must not be changed.
pub fn is_body_signed(headers: &HeaderMap) -> bool {
    let aws = || headers.get(AUTHORIZATION).is_some_and(|value| value.as_bytes().starts_with(b"AWS4-"));
    SIGNATURES.iter().any(|name| headers.contains_key(*name)) || aws()
}

/// Removes the digests of a body that has been changed.
pub fn remove_body_digests(headers: &mut HeaderMap) {
    for name in DIGESTS {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn digests_are_removed_and_nothing_else() {
        let mut headers = HeaderMap::new();
        for name in [
            "content-digest",
            "repr-digest",
            "digest",
            "content-md5",
            "content-type",
        ] {
            headers.append(name, HeaderValue::from_static("x"));
            headers.append(name, HeaderValue::from_static("y"));
        }
        remove_body_digests(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["content-type"]);
    }

    #[test]
    fn a_signature_is_recognized() {
        for (name, value, is_signed) in [
            ("authorization", "AWS4-HMAC-SHA256 Credential=x", true),
            ("authorization", "Bearer AWS4-x", false),
            ("x-amz-content-sha256", "0123", true),
            ("signature-input", "sig1=(\"content-digest\")", true),
            ("content-digest", "sha-256=:x:", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(is_body_signed(&headers), is_signed, "{name}: {value}");
        }
    }
}
