//! Hosts, and patterns of them.

use std::fmt;
use std::net::Ipv6Addr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPattern {
    /// In lower case, without a trailing dot.
    host: Box<str>,
    /// Matches the hosts below this one instead.
    below: bool,
    port: Option<u16>,
}

impl HostPattern {
    pub(super) fn parse(pattern: &str) -> Result<Self, &'static str> {
        let (host, port) = match pattern.rsplit_once(':') {
            // Colons in brackets belong to an address.
            Some((host, port)) if !port.ends_with(']') => {
                (host, Some(port.parse().map_err(|_| "has an invalid port")?))
            }
            _ => (pattern, None),
        };
        let (host, below) = host.strip_prefix("*.").map_or((host, false), |domain| (domain, true));
        if host.contains('*') {
            return Err("has a wildcard that is not the first label, as in *.example.com");
        }
        let host = normal(host);
        if host.is_empty() {
            return Err("is empty");
        }
        let is_address = |host: &str| {
            let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
        };
        let is_name = |host: &str| host.split('.').all(is_label);
        if !is_name(host) && (below || !is_address(host)) {
            return Err("is not a host name");
        }
        Ok(Self { host: host.to_ascii_lowercase().into(), below, port })
    }

    pub(super) fn matches(&self, host: &str, port: impl FnOnce() -> Option<u16>) -> bool {
        if self.port.is_some() && self.port != port() {
            return false;
        }
        let (host, pattern) = (normal(host).as_bytes(), self.host.as_bytes());
        if !self.below {
            return host.eq_ignore_ascii_case(pattern);
        }
        let split = host.len().checked_sub(pattern.len()).and_then(|at| host.split_at_checked(at));
        split.is_some_and(|(labels, domain)| {
            labels.len() > 1 && labels.ends_with(b".") && domain.eq_ignore_ascii_case(pattern)
        })
    }

    /// The host, if it matches only one; in lower case.
    pub(super) fn exact(&self) -> Option<&str> {
        (!self.below).then_some(&self.host)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.below { "*." } else { "" })?;
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn is_label(label: &str) -> bool {
    // Host names have no underscores, but the names of services in containers do.
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !label.is_empty() && label.bytes().all(is_part)
}

/// Without the trailing dot of a fully qualified name.
pub(super) fn normal(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aplomb_core::split_authority as split;
    use proptest::prelude::*;

    fn matches(pattern: &str, host: &str) -> bool {
        let (host, port) = split(host);
        HostPattern::parse(pattern).unwrap().matches(host, || port)
    }

    #[test]
    fn exact_below_and_with_a_port() {
        for (pattern, yes, no) in [
            (
                "API.OpenAI.com",
                &[
                    "api.openai.com",
                    "Api.Openai.Com",
                    "api.openai.com.",
                    "api.openai.com:8443",
                ][..],
                &[
                    "eu.api.openai.com",
                    "openai.com",
                    "api.openai.com.evil.org",
                    "xapi.openai.com",
                    "",
                ][..],
            ),
            (
                "*.openai.azure.com",
                &[
                    "my.openai.azure.com",
                    "MY.privatelink.OpenAI.azure.com",
                    "my.openai.azure.com.:443",
                ],
                &[
                    "openai.azure.com",
                    ".openai.azure.com",
                    "myopenai.azure.com",
                    "my.openai.azure.com.org",
                ],
            ),
            ("localhost:8000", &["localhost:8000"], &["localhost", "localhost:80", "localhost:"]),
            ("*.internal:8000", &["a.internal:8000"], &["a.internal", "a.internal:80"]),
            ("[::1]", &["[::1]", "[::1]:8000"], &["[::2]", "::1"]),
            ("[::1]:8000", &["[::1]:8000"], &["[::1]"]),
            ("my_service", &["my_service:8000"], &["my-service"]),
            ("127.0.0.1", &["127.0.0.1:1"], &["127.0.0.10"]),
        ] {
            assert!(yes.iter().all(|host| matches(pattern, host)), "{pattern}");
            assert!(!no.iter().any(|host| matches(pattern, host)), "{pattern}");
            assert_eq!(HostPattern::parse(pattern).unwrap().to_string(), pattern.to_ascii_lowercase());
        }
    }

    #[test]
    fn what_is_not_a_host_is_rejected() {
        for pattern in [
            "",
            ".",
            "*",
            "*.",
            "a..b",
            ".a",
            "a*.b",
            "a.*.b",
            "*.*.b",
            "**.b",
            "a:",
            "a:x",
            "a:99999",
            ":80",
            "https://a",
            "a/b",
            "user@a",
            "a b",
            "bücher.example",
            "::1",
            "[::1",
            "[x]",
            "*.[::1]",
        ] {
            assert!(HostPattern::parse(pattern).is_err(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_split_and_parsed(text in "\\PC*", host in "[a.*:\\[\\]é0]{0,10}") {
            let _ = HostPattern::parse(&text);
            let (name, port) = split(&text);
            for pattern in [HostPattern::parse(&host), HostPattern::parse("*.a:0")].into_iter().flatten() {
                let _ = pattern.matches(name, || port);
            }
        }
    }
}
