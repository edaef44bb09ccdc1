//! Conditions, precedence, and the index of a table against asking every route.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request};
use http_body::Frame;
use http_body_util::Full;
use proptest::prelude::*;

use super::*;

fn request(uri: &str, body: &str) -> Request<Full<Bytes>> {
    Request::post(uri).body(Full::from(body.to_owned())).unwrap()
}

fn matches<B>(route: &Route, request: &Request<B>) -> bool {
    route.matches(&RequestView::head(request))
}

#[test]
fn paths_match_by_whole_segments() {
    for (prefix, yes, no) in [
        (
            "/v1/embeddings",
            &["/v1/embeddings", "/v1/embeddings/", "/v1/embeddings/x?q=1"][..],
            &[
                "/v1/embeddingsx",
                "/v1",
                "/V1/embeddings",
                "/a/v1/embeddings",
                "/v1/%65mbeddings",
            ][..],
        ),
        ("/v1/", &["/v1", "/v1/x"], &["/v10", "/"]),
        ("/", &["/", "/v1", "https://a.b"], &["*"]),
    ] {
        for (paths, expected) in [(yes, true), (no, false)] {
            for path in paths {
                assert_eq!(
                    matches(&Route::new().path(prefix), &request(path, "")),
                    expected,
                    "{prefix} {path}"
                );
            }
        }
    }
}

#[test]
fn methods_and_headers() {
    let tenants = Request::get("/").header("x-tenant", "b").header("x-tenant", "a").body(()).unwrap();
    for (route, expected) in [
        (Route::new().method(Method::GET), true),
        (Route::new().method(Method::POST), false),
        (Route::new().method(Method::GET).method(Method::POST), false),
        (Route::new().header("x-tenant", "a"), true),
        (Route::new().header("X-TENANT", "b").header("x-tenant", "a"), true),
        (Route::new().header("x-tenant", "A"), false),
        (Route::new().header("x-tenant", ""), false),
        (Route::new().has_header("X-Tenant"), true),
        (Route::new().has_header("x-user"), false),
        (Route::new().has_header("x-tenant").method(Method::PUT), false),
        (
            Route::new().when(|request| request.extensions().is_some_and(http::Extensions::is_empty)),
            true,
        ),
        (Route::new().when(|_| false), false),
    ] {
        assert_eq!(matches(&route, &tenants), expected, "{route:?}");
    }
}

#[test]
fn the_host_is_that_of_the_address_or_else_of_the_header() {
    let gateway = Request::get("/v1").header("host", "API.openai.com:8443").body(()).unwrap();
    let direct = Request::get("https://api.anthropic.com/")
        .header("host", "api.openai.com")
        .body(())
        .unwrap();
    for (pattern, by_header, by_address) in [
        ("api.openai.com", true, false),
        ("api.openai.com:8443", true, false),
        ("api.openai.com:443", false, false),
        ("*.openai.com", true, false),
        ("api.anthropic.com", false, true),
        ("api.anthropic.com:443", false, true),
        ("api.anthropic.com:80", false, false),
    ] {
        let route = Route::new().host(pattern);
        assert_eq!(
            (matches(&route, &gateway), matches(&route, &direct)),
            (by_header, by_address),
            "{pattern}"
        );
    }
    assert!(!matches(&Route::new().host("a"), &Request::new(())));
    let binary = Request::get("/").header("host", &b"\xff"[..]).body(()).unwrap();
    assert!(!matches(&Route::new().host("a"), &binary));
}

#[test]
fn models_are_in_the_path_or_in_the_body() {
    let route = Route::new().model("gpt-4o*");
    for (uri, body, expected) in [
        ("/v1/chat/completions", r#"{"messages": [], "model": "gpt-4o-mini"}"#, true),
        ("/v1/chat/completions", r#"{"model": "o3"}"#, false),
        ("/openai/deployments/gpt-4o/chat/completions", r#"{"model": "o3"}"#, true),
        ("/v1/chat/completions", "gpt-4o", false),
        ("/v1/chat/completions", "", false),
    ] {
        assert_eq!(route.matches(&crate::route::view(&request(uri, body))), expected, "{uri} {body}");
    }
    assert!(!Route::new().model("*").matches(&crate::route::view(&request("/", "{}"))));
}

#[test]
fn a_body_that_is_too_long_is_not_looked_at() {
    let mut body = br#"{"model": "m"}"#.to_vec();
    for (length, expected) in [
        (RequestView::LONGEST_BODY, Some("m")),
        (RequestView::LONGEST_BODY + 1, None),
    ] {
        body.resize(length, b' ');
        let body = Bytes::from(body.clone());
        assert_eq!(
            RequestView::with_body(&Request::new(()), body)
                .finding_model_by(aplomb_provider::model)
                .model(),
            expected
        );
    }
}

/// A body in memory that counts how often it is looked at, or one that streams.
#[derive(Clone)]
struct Watched {
    text: Option<&'static str>,
    streams: bool,
    looks: Arc<AtomicU32>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.streams {
            return Poll::Pending;
        }
        let text = self.text.take();
        if text.is_some() {
            self.looks.fetch_add(1, Ordering::Relaxed);
        }
        Poll::Ready(text.map(|text| Ok(Frame::data(text.into()))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.text.map_or(0, str::len) as u64)
    }
}

#[test]
fn the_body_is_looked_at_only_where_it_decides_and_once() {
    let looks = Arc::new(AtomicU32::new(0));
    let watched = |uri: &str, streams: bool| {
        let body = Watched { text: Some(r#"{"model": "m"}"#), streams, looks: Arc::clone(&looks) };
        Request::post(uri).body(body).unwrap()
    };
    let table = Table::new([
        (Route::new().host("a.com").model("x"), "x"),
        (Route::new().model("y").path("/other"), "y"),
        (Route::new().host("b.com").model("x").when(|_| false), "never"),
        (Route::new().host("a.com").model("m"), "m"),
        (Route::new(), "rest"),
    ])
    .unwrap();
    for (uri, streams, expected, times) in [
        ("http://c.com/", false, "rest", 0),
        ("http://b.com/", false, "rest", 0),
        ("http://a.com/", false, "m", 1),
        ("http://a.com/", true, "rest", 0),
        ("http://a.com/model/m/invoke", false, "m", 0),
    ] {
        looks.store(0, Ordering::Relaxed);
        assert_eq!(table.find(&watched(uri, streams)), Some(&expected), "{uri}");
        assert_eq!(looks.load(Ordering::Relaxed), times, "{uri} {streams}");
    }
}

#[test]
fn the_first_that_matches_counts_be_it_by_host_or_not() {
    let table = Table::new([
        (Route::new().host("a.com").path("/v1"), 0),
        (Route::new().path("/v1/files"), 1),
        (Route::new().host("a.com"), 2),
        (Route::new().host("*.com").path("/v1"), 3),
        (Route::new().host("B.com."), 4),
        (Route::new().host("a.com"), 5),
    ])
    .unwrap();
    for (uri, expected) in [
        ("http://a.com/v1/files", Some(0)),
        ("http://b.com/v1/files", Some(1)),
        ("http://A.COM/x", Some(2)),
        ("http://b.com/v1", Some(3)),
        ("http://b.com/", Some(4)),
        ("http://b.com./", Some(4)),
        ("http://c.org/", None),
        ("/", None),
    ] {
        assert_eq!(table.find(&request(uri, "")).copied(), expected, "{uri}");
    }
    assert_eq!(table.iter().count(), 6);
}

#[test]
fn patterns_that_make_no_sense_are_told_of_and_match_nothing() {
    for (route, part, pattern, text) in [
        (Route::new().host(""), "host", "", "invalid host in a route: `` is empty"),
        (
            Route::new().host("a.*.com").path("x"),
            "host",
            "a.*.com",
            "invalid host in a route: `a.*.com` has a wildcard that is not the first label, as in *.example.com",
        ),
        (
            Route::new().path("v1"),
            "path",
            "v1",
            "invalid path in a route: `v1` does not begin with a slash",
        ),
        (
            Route::new().path("/v1?x"),
            "path",
            "/v1",
            "invalid path in a route: `/v1` has a query or a fragment",
        ),
        (
            Route::new().header("a b", "x"),
            "header",
            "a b",
            "invalid header in a route: `a b` is not a header name",
        ),
        (
            Route::new().has_header(""),
            "header",
            "",
            "invalid header in a route: `` is not a header name",
        ),
        (
            Route::new().header("x-api-key", "secret\n"),
            "header",
            "x-api-key",
            "invalid header in a route: `x-api-key` has an invalid value",
        ),
        (Route::new().model(""), "model", "", "invalid model in a route: `` is empty"),
    ] {
        assert!(!matches(&route, &Request::new(())));
        let shown = format!("{route:?}");
        assert!(shown.starts_with("invalid(") && !shown.contains("secret"), "{shown}");
        let invalid = Table::new([(Route::new(), ()), (route, ())]).unwrap_err();
        assert_eq!((invalid.part(), invalid.pattern()), (part, pattern));
        assert_eq!(invalid.to_string(), text);
    }
}

#[test]
fn debug_shows_patterns_and_nothing_of_requests() {
    let route = Route::new()
        .model("m*")
        .when(|_| true)
        .header("authorization", "Bearer secret")
        .header("x-tenant", "a")
        .has_header("x-b")
        .path("/v1/")
        .method(Method::POST)
        .host("*.A.com:80");
    let shown = "host(*.a.com:80) method(POST) path(/v1) header(authorization, Sensitive) \
                 header(x-tenant, Sensitive) has_header(x-b) when(…) model(m*)";
    assert_eq!(format!("{route:?}"), shown);
    assert_eq!(format!("{:?}", Route::new().path("/")), "path(/)");
    assert_eq!(format!("{:?}", Table::new([(Route::new(), 1)]).unwrap()), "{any: 1}");
    let secret = request("http://secret.com/secret", r#"{"model": "secret"}"#);
    let view = crate::route::view(&secret);
    assert_eq!(view.model(), Some("secret"));
    assert_eq!(format!("{view:?}"), "RequestView { .. }");
}

#[test]
fn a_closure_is_asked_after_the_head_and_before_the_body() {
    thread_local!(static ASKED: Cell<u32> = const { Cell::new(0) });
    let route = Route::new().model("x").when(|_| {
        ASKED.set(ASKED.get() + 1);
        true
    });
    let route = route.path("/v1");
    assert!(!matches(&route, &request("/v2", "")));
    assert_eq!(ASKED.get(), 0);
    assert!(!matches(&route, &request("/v1", "")));
    assert_eq!(ASKED.get(), 1);
}

/// A handful of hosts, paths and the rest, so that routes and requests often meet.
fn route() -> impl Strategy<Value = Route> {
    const HOSTS: [&str; 8] = [
        "a.com",
        "B.com",
        "x.a.com",
        "*.com",
        "*.a.com",
        "a.com:80",
        "*.com:81",
        "x.a.com:81",
    ];
    let some = |list: &'static [&'static str]| prop::option::weighted(0.3, prop::sample::select(list));
    (
        prop::collection::vec(prop::sample::select(&HOSTS[..]), 0..3),
        some(&["/", "/v1", "/v1/x", "/model"]),
        some(&["a", "b"]),
        some(&["*", "m*", "mm", "x"]),
    )
        .prop_map(|(hosts, prefix, tenant, pattern)| {
            let route = hosts.into_iter().fold(Route::new(), Route::host);
            let route = prefix.into_iter().fold(route, Route::path);
            let route = tenant.into_iter().fold(route, |route, tenant| route.header("x-tenant", tenant));
            pattern.into_iter().fold(route, Route::model)
        })
}

proptest! {
    #[test]
    fn the_table_finds_what_asking_every_route_finds(
        routes in prop::collection::vec(route(), 0..30),
        uri in "(http://(a\\.com|b\\.COM|X\\.a\\.com\\.?|y\\.x\\.a\\.com|c\\.org)(:8[01])?)?/(v1|v1/x|v1x|model/mm/invoke)?",
        header_host in prop::option::of("(a\\.com|B\\.com|x\\.a\\.com)(:8[01])?"),
        tenant in prop::option::of("[ab]"),
        body in "(\\{\"model\": ?\"(m|mm|x)\"\\}|[{}\"model:]{0,9})",
    ) {
        let mut request = request(&uri, &body);
        if let Some(host) = header_host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        if let Some(tenant) = tenant {
            request.headers_mut().insert("x-tenant", tenant.parse().unwrap());
        }
        let view = crate::route::view(&request);
        let expected = routes.iter().position(|route| route.matches(&view));
        let table = Table::new(routes.into_iter().zip(0_usize..)).unwrap();
        prop_assert_eq!(table.find(&request).copied(), expected);
    }

    #[test]
    fn nothing_that_comes_in_makes_it_panic(
        path_and_more in "/\\PC*", host in prop::collection::vec(0_u8.., 0..20), body: Vec<u8>, pattern in "\\PC*",
    ) {
        let table = Table::new([
            (host_or_any(&pattern).model("*x*"), ()),
            (Route::new().host("a.com").path("/v1"), ()),
            (Route::new().model("a*b"), ()),
        ]).unwrap();
        let mut request = Request::new(Full::<Bytes>::from(body));
        if let Ok(uri) = path_and_more.parse() {
            *request.uri_mut() = uri;
        }
        if let Ok(host) = host.as_slice().try_into() {
            request.headers_mut().insert("host", host);
        }
        let _ = table.find(&request);
    }
}

/// A route for what may be a host.
fn host_or_any(pattern: &str) -> Route {
    let route = Route::new().host(pattern);
    if route.check().is_ok() {
        route
    } else {
        Route::new()
    }
}
