//! The layers in an axum service in front of a model: limits for its callers, and an endpoint behind it.

use std::time::Duration;

use aplomb::provider::OpenAi;
use aplomb::rate_limit::{Quota, RateLimitLayer};
use aplomb::{EndpointLayer, ErrorResponseLayer, RequestView, Shape};
use aplomb_mock::{Fault, Mock, Plan};
use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::Full;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::chat;

#[derive(Clone)]
struct Model {
    endpoint: aplomb::Endpoint<Client<HttpConnector, Full<Bytes>>>,
    url: String,
}

/// Hands a prompt on, and the answer back as it comes.
async fn complete(State(model): State<Model>, prompt: String) -> Result<Response, StatusCode> {
    let request = http::Request::post(&model.url).body(Full::from(chat(&prompt, true)));
    let request = request.map_err(|_| StatusCode::BAD_REQUEST)?;
    let answer = model.endpoint.oneshot(request).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(answer.map(axum::body::Body::new))
}

#[tokio::test]
async fn routes_share_one_limit_and_streams_pass_through_the_endpoint() {
    let provider = Mock::builder().plan(Plan::script([Some(Fault::Unavailable)])).start().await.unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let model = Model {
        endpoint: EndpointLayer::new(OpenAi).layer(client),
        url: format!("{}/chat/completions", provider.openai_base_url()),
    };
    // axum applies a layer once for each route; its state must not multiply.
    let limit = RateLimitLayer::new([Quota::requests_per_minute(2).burst(2)]).max_wait(Duration::ZERO);
    let layers = ServiceBuilder::new()
        .layer(SetResponseHeaderLayer::overriding(
            http::header::SERVER,
            http::HeaderValue::from_static("gateway"),
        ))
        .layer(ErrorResponseLayer::new(Shape::Plain))
        .layer(limit);
    let gateway = axum::Router::new()
        .route("/summarize", post(complete))
        .route("/translate", post(complete))
        .layer(layers)
        .with_state(model);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, gateway).await });
    let client = reqwest::Client::new();
    let ask = |path: &str| client.post(format!("http://{address}{path}")).body("hello").send();

    for path in ["/summarize", "/translate"] {
        let answer = ask(path).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["server"]),
            (200, &"gateway".parse().unwrap())
        );
        assert!(answer.text().await.unwrap().contains("[DONE]"));
    }
    let refused = ask("/summarize").await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (429, &"30".parse().unwrap())
    );
    assert_eq!(provider.stats().seen, 3, "one of them had to be sent again");
    serving.abort();
}

/// A gateway with this limit in front of its handler.
async fn limited(
    limit: RateLimitLayer,
) -> (std::net::SocketAddr, tokio::task::JoinHandle<std::io::Result<()>>) {
    let layers = ServiceBuilder::new().layer(ErrorResponseLayer::new(Shape::OpenAi)).layer(limit);
    // Each route has each layer once for each of its methods: the state must not multiply.
    let gateway = axum::Router::new()
        .route("/one", post(async || "one").get(async || "one"))
        .route("/two", post(async || "two"))
        .layer(layers)
        .into_make_service_with_connect_info::<std::net::SocketAddr>();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(async move { axum::serve(listener, gateway).await }))
}

#[tokio::test]
async fn a_limit_by_api_key_by_peer_and_by_tenant_is_one_for_all_routes_and_methods() {
    let each = || RateLimitLayer::inbound([Quota::requests_per_hour(2).burst(2)]);
    let by_tenant = each().by_key(|request: &RequestView<'_>| {
        request.headers().and_then(|headers| headers.get("x-tenant").cloned())
    });
    let by_peer = each().by_public_key(|request: &RequestView<'_>| {
        let peer = request.extensions().and_then(|all| all.get::<ConnectInfo<std::net::SocketAddr>>());
        peer.map_or_else(|| "unknown".to_owned(), |peer| peer.0.ip().to_string())
    });
    for (limit, [first, second], others_are_limited) in [
        (
            each().by_account(),
            [("authorization", "Bearer one"), ("authorization", "Bearer two")],
            false,
        ),
        (by_tenant, [("x-tenant", "acme"), ("x-tenant", "tiny")], false),
        (by_peer, [("x-any", "one"), ("x-any", "two")], true),
    ] {
        let (address, serving) = limited(limit).await;
        let client = reqwest::Client::new();
        let ask = |method, path, (name, value): (&str, &str)| {
            client.request(method, format!("http://{address}{path}")).header(name, value).send()
        };
        assert_eq!(ask(Method::POST, "/one", first).await.unwrap().status(), 200);
        assert_eq!(ask(Method::GET, "/one", first).await.unwrap().status(), 200);
        let refused = ask(Method::POST, "/two", first).await.unwrap();
        assert_eq!(refused.status(), 429);
        assert_eq!(refused.headers()["retry-after"], "1800");
        assert_eq!(refused.headers()["ratelimit"], "\"requests\";r=0;t=1800");
        assert!(refused.text().await.unwrap().contains("rate_limit_exceeded"));
        let other = ask(Method::POST, "/two", second).await.unwrap().status();
        assert_eq!(other, if others_are_limited { 429 } else { 200 });
        serving.abort();
    }
}
