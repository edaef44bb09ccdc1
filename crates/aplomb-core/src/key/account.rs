//! The account at a server: the key that most limits belong to.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::LazyLock;

use http::HeaderMap;
use http::header::HOST;

use crate::RequestHead;

/// The headers in which AI providers want a credential.
const CREDENTIALS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// Hashes credentials, with a key that is drawn at random when the process starts.
static KEYED: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// An account at a server: authority, credential, and model where that matters.
///
/// Limits and outages belong to an account: one tenant's exhausted account must not close the host for
/// others. Of the credential only a hash is kept, under a key that is drawn at random in each process:
/// neither the credential nor a guess at it can be checked against what is shown or stored.
///
/// The credential is what stands in `authorization`, `x-api-key`, `api-key` and `x-goog-api-key`; one
/// that travels in the query is not seen. The authority is that of the request's address, or else its
/// `Host` header.
///
/// # Examples
///
/// ```
/// use aplomb_core::Account;
///
/// let of = |key: &str| {
///     let request = http::Request::post("https://api.example.com/v1/chat").header("x-api-key", key);
///     Account::of(&request.body(()).unwrap())
/// };
/// assert_eq!(of("sk-1"), of("sk-1"));
/// assert_ne!(of("sk-1"), of("sk-2"));
/// assert_ne!(of("sk-1"), of("sk-1").with_model("small"));
/// assert!(format!("{:?}", of("sk-1")).starts_with("api.example.com:443 "));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Account {
    authority: Box<str>,
    credential: Option<u64>,
    model: Option<Box<str>>,
}

impl Account {
    /// The account that `request` is sent on.
    pub fn of<Req: RequestHead + ?Sized>(request: &Req) -> Self {
        let headers = request.headers();
        Self {
            authority: authority(request),
            credential: headers.and_then(credential),
            model: None,
        }
    }

    /// Tells the models of an account apart: with many providers each has limits of its own.
    #[must_use]
    pub fn with_model(mut self, model: impl Into<Box<str>>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// The server, with its port where that is known; empty where nothing is.
    pub const fn authority(&self) -> &str {
        &self.authority
    }

    /// The model, if it was named.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }
}

fn authority<Req: RequestHead + ?Sized>(request: &Req) -> Box<str> {
    let mut authority = match (request.host(), request.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => {
            let host = request.headers().and_then(|headers| headers.get(HOST));
            host.and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned()
        }
    };
    authority.make_ascii_lowercase();
    authority.into()
}

fn credential(headers: &HeaderMap) -> Option<u64> {
    let mut hasher = KEYED.build_hasher();
    let mut found = false;
    for (which, name) in CREDENTIALS.into_iter().enumerate() {
        for value in headers.get_all(name) {
            (which, value.as_bytes()).hash(&mut hasher);
            found = true;
        }
    }
    found.then(|| hasher.finish())
}

/// Shows the hash of the credential, never the credential.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority)?;
        if let Some(credential) = self.credential {
            // Enough of it to tell a handful of accounts apart in a log.
            write!(f, " credential #{:08x}", credential >> 32)?;
        }
        match &self.model {
            Some(model) => write!(f, " model {model}"),
            None => Ok(()),
        }
    }
}

/// As `Debug`.
impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[(&'static str, &str)]) -> http::Request<()> {
        let mut request = http::Request::post(uri).body(()).unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request
    }

    #[test]
    fn every_credential_and_every_server_is_an_account_of_its_own() {
        let requests = [
            request("https://a.example/v1", &[]),
            request("http://a.example/v1", &[]),
            request("https://b.example/v1", &[]),
            request("https://a.example:8443/v1", &[]),
            request("https://a.example/v1", &[("authorization", "Bearer 1")]),
            request("https://a.example/v1", &[("authorization", "Bearer 2")]),
            request("https://a.example/v1", &[("x-api-key", "Bearer 1")]),
            request("https://a.example/v1", &[("api-key", "1")]),
            request("https://a.example/v1", &[("x-goog-api-key", "1")]),
            request("https://a.example/v1", &[("x-api-key", "1"), ("authorization", "Bearer 1")]),
        ];
        for (i, a) in requests.iter().enumerate() {
            for (j, b) in requests.iter().enumerate() {
                assert_eq!(Account::of(a) == Account::of(b), i == j, "{i} and {j}");
            }
        }
    }

    #[test]
    fn the_spelling_of_an_address_makes_no_difference() {
        let same = [
            "https://A.example/v1",
            "https://a.example:443/v2?x",
            "https://a.EXAMPLE",
        ];
        let accounts = same.map(|uri| Account::of(&request(uri, &[])));
        assert!(accounts.iter().all(|account| *account == accounts[0]), "{accounts:?}");
        let by_header = Account::of(&request("/v1", &[("host", "A.example:443")]));
        assert_eq!(by_header, accounts[0]);
        assert_eq!(Account::of(&"nothing known").authority(), "");
    }

    #[test]
    fn a_credential_is_never_shown() {
        let account = Account::of(&request("https://a.example", &[("authorization", "Bearer sk-secret")]));
        let shown = format!("{account:?} {account}");
        assert!(!shown.contains("secret") && !shown.contains("Bearer"), "{shown}");
        assert!(shown.contains("a.example:443 credential #"), "{shown}");
    }
}
