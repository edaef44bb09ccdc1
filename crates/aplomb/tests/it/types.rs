//! Uses of the types: threads, boxes, runtimes, borrowing clients.

use std::io;
use std::rc::Rc;

use aplomb::rate_limit::{Pool, Quota};
use aplomb::route::{Route, Routes};
use aplomb::{Policy, RouterLayer};
use aplomb_mock::Mock;
use bytes::Bytes;
use http_body_util::Full;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::calls::{chat, under};
use crate::clients::quick;

type Request = http::Request<Full<Bytes>>;
type Response = http::Response<Full<Bytes>>;

// Layers, handles and services go to other threads and into boxes, and their futures can be spawned.
#[test]
fn types_are_what_users_need() {
    fn all<T: Send + Sync + Clone + 'static>(_: &T) {}
    fn sent<T: Send + 'static>(_: T) {}
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    let layer = under(Policy::new());
    let endpoint = ServiceBuilder::new().layer(layer.clone()).service(Mock::builder().build());
    all(&layer);
    all(&layer.handle());
    all(&endpoint);
    all(&layer.clone().by_account());
    all(&layer.clone().by_account().handle());
    all(&Routes::new().route(Route::new(), layer.clone()));
    let routes = RouterLayer::new(Routes::new()).unwrap();
    all(&routes);
    all(&routes.handle());
    all(&routes.layer(Mock::builder().build()));
    sent(endpoint.clone().call(chat("a", false)));
    let mut boxed = BoxCloneSyncService::new(endpoint);
    sent(boxed.call(chat("a", false)));
    sent(routes.layer(Mock::builder().build()).call(chat("a", false)));
}

// Neither `Send` nor `'static`: a client that lives on one thread, and one that borrows.
#[tokio::test(start_paused = true)]
async fn any_client_will_do() {
    let here = Rc::new(());
    let client = service_fn(move |_: Request| {
        let here = Rc::clone(&here);
        async move {
            drop(here);
            Ok::<_, io::Error>(Response::new(Full::from("{}")))
        }
    });
    assert!(under(Policy::new()).layer(client).oneshot(chat("hello", false)).await.is_ok());
    let name = String::from("a");
    let borrowed = service_fn(|_: Request| {
        let name = &name;
        async move {
            let _ = name.len();
            Ok::<_, io::Error>(Response::new(Full::from("{}")))
        }
    });
    assert!(under(Policy::new()).layer(borrowed).oneshot(chat("hello", false)).await.is_ok());
}

// As a `static` is: nothing needs a runtime until a call is made, whichever runtime that is.
#[test]
fn layers_are_made_outside_of_a_runtime_and_used_in_several() {
    let pool = Pool::new([Quota::requests_per_second(1_000)]);
    let layer = under(
        Policy::interactive()
            .pool(&pool)
            .concurrency(2)
            .quota(Quota::requests_per_second(20).burst(1)),
    );
    let routes = RouterLayer::new(Routes::new().fallback(layer.clone().by_account())).unwrap();
    let (endpoint, service) = (layer.layer(quick()), routes.layer(quick()));
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (endpoint, service) = (endpoint.clone(), service.clone());
        runtime.block_on(async move {
            for _ in 0..3 {
                assert!(endpoint.clone().oneshot(chat("hello", false)).await.is_ok());
                assert!(service.clone().oneshot(chat("hello", false)).await.is_ok());
            }
            // Left waiting when the runtime goes away.
            for _ in 0..5 {
                tokio::spawn(endpoint.clone().oneshot(chat("hello", false)));
            }
            tokio::task::yield_now().await;
        });
    }
    assert_eq!((layer.handle().waiting(), layer.handle().in_flight()), (0, 0));
}
