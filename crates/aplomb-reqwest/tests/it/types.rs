//! Types that hold in real programs: in fields, across threads, behind `impl Trait`.

use aplomb::{Endpoint, EndpointError, Router};
use aplomb_reqwest::{Client, Reqwest, ReqwestLayer, Transport};
use reqwest::{Request, Response};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service};

use crate::endpoint;

/// A program's own state.
#[derive(Clone)]
struct App {
    client: Client,
    routed: Option<Client<Router<Transport<reqwest::Client>>>>,
    service: Reqwest<Endpoint<Transport<reqwest::Client>>>,
    erased: BoxCloneSyncService<Request, Response, EndpointError>,
}

fn service()
-> impl Service<Request, Response = Response, Error = EndpointError, Future: Send> + Clone + Send + Sync {
    ReqwestLayer::new(endpoint()).layer(reqwest::Client::new())
}

fn is_shared<T: Clone + Send + Sync + 'static>(value: &T) -> T {
    value.clone()
}

#[tokio::test]
async fn they_are_fields_and_cross_threads() {
    let app = App {
        client: Client::new(endpoint(), reqwest::Client::new()),
        routed: None,
        service: ReqwestLayer::new(endpoint()).layer(reqwest::Client::new()),
        erased: BoxCloneSyncService::new(service()),
    };
    let App { client, routed, mut service, erased } = is_shared(&app);
    let task = tokio::spawn(async move {
        let sent = client.get("not a url").send().await.is_err();
        let called = service.call(Request::new(http::Method::GET, "data:,".parse().unwrap())).await.is_err();
        drop((routed, erased));
        (sent, called)
    });
    assert_eq!(task.await.unwrap(), (true, true));
}
