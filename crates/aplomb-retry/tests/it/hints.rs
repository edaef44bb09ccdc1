//! The hints of servers.

use aplomb_core::{HttpClassifier, WallClock};
use aplomb_retry::RetryLayer;
use tower::ServiceExt;
use tower_layer::Layer;

use crate::peer::{Log, Peer, millis, request, respond, secs};

const DATE: (&str, &str) = ("date", "Fri, 29 Sep 2023 16:26:37 GMT");
const IN_TWENTY_SECONDS: (&str, &str) = ("retry-after", "Fri, 29 Sep 2023 16:26:57 GMT");

#[tokio::test(start_paused = true)]
async fn the_most_precise_hint_wins_and_dates_count_by_the_servers_clock() {
    // (headers, the hint in milliseconds)
    let rows: &[(&'static [(&str, &str)], u64)] = &[
        (&[("retry-after-ms", "3000"), ("retry-after", "90")], 3_000),
        (&[("x-ms-retry-after-ms", "3000"), ("retry-after", "90")], 3_000),
        (&[("retry-after-ms", "2000"), ("x-ms-retry-after-ms", "3000")], 2_000),
        (&[("retry-after", "2.5")], 2_500),
        (&[DATE, IN_TWENTY_SECONDS], 20_000),
        (&[("retry-after-ms", "soon"), DATE, IN_TWENTY_SECONDS], 20_000),
    ];
    // Our own clock is a year behind, which must not matter if the response has a `Date`.
    let late = WallClock::from_fn(|| std::time::SystemTime::UNIX_EPOCH + secs(1_664_468_797));
    for &(headers, hint) in rows {
        let log = Log::default();
        let peer = Peer::new(move |call| respond(if call == 0 { 429 } else { 200 }, headers));
        let layer = RetryLayer::new().classifier(HttpClassifier::new().clock(late.clone()));
        layer.observer(log.clone()).layer(peer).oneshot(request()).await.unwrap();
        let (hint, wait) = (millis(hint), log.waits()[0]);
        assert!(wait >= hint && wait <= hint + (hint / 2).min(secs(5)), "{headers:?}: {wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn x_should_retry_is_obeyed() {
    // (status, header, calls)
    for (status, should_retry, calls) in [
        (500, "false", 1),
        (429, "false", 1),
        (503, "true", 2),
        (400, "true", 2),
        (400, "perhaps", 1),
        (401, "true", 1),
    ] {
        let peer = Peer::new(move |call| {
            respond(if call == 0 { status } else { 200 }, &[("x-should-retry", should_retry)])
        });
        let response = RetryLayer::new().layer(peer.clone()).oneshot(request()).await.unwrap();
        assert_eq!(peer.calls(), calls, "{status}, {should_retry}");
        assert_eq!(response.status() == 200, calls == 2);
    }
}
