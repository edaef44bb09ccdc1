//! The layers in an axum service in front of a model: limits for its callers, and an endpoint behind it.

use std::time::Duration;

use aplomb::provider::OpenAi;
use aplomb::rate_limit::{Quota, RateLimitLayer, RateLimited};
use aplomb::{BoxError, EndpointLayer, find};
use aplomb_mock::{Fault, Mock, Plan};
use axum::error_handling::HandleErrorLayer;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::StatusCode;
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

/// The response to a caller that is too fast.
async fn refuse(error: BoxError) -> Response {
    match find::<RateLimited>(&*error).map(RateLimited::retry_after) {
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Some(retry_after) => {
            let seconds = retry_after.unwrap_or_default().as_secs_f64().ceil();
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds.to_string())]).into_response()
        }
    }
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
        .layer(HandleErrorLayer::new(refuse))
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
