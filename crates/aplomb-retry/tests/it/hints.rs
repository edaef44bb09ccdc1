//! What servers say about retrying, and how the official SDKs read it.

use std::time::Duration;

use aplomb_retry::{Retried, RetryLayer, Stopped};
use tower::ServiceExt;
use tower_layer::Layer;

use crate::peer::{Log, Peer, millis, request, respond};

/// `Retry-After` at Fri, 29 Sep 2023 16:26:37 GMT, and the seconds it asks for: the table that
/// `OpenAI`'s SDK 3.54.0 and Anthropic's 2.12.0 are tested with (`tests/test_client.py`), but for the
/// numbers of 35 digits and `inf`, which one of them takes for 50 days and we for no hint.
const RETRY_AFTER: &[(&str, Option<u64>)] = &[
    ("20", Some(20)),
    ("0", None),
    ("-10", None),
    ("60", Some(60)),
    ("61", Some(61)),
    ("120", Some(120)),
    ("121", Some(121)),
    ("Fri, 29 Sep 2023 16:26:57 GMT", Some(20)),
    ("Fri, 29 Sep 2023 16:26:37 GMT", None),
    ("Fri, 29 Sep 2023 16:26:27 GMT", None),
    ("Fri, 29 Sep 2023 16:27:37 GMT", Some(60)),
    ("Fri, 29 Sep 2023 16:27:38 GMT", Some(61)),
    ("Fri, 29 Sep 2023 16:28:37 GMT", Some(120)),
    ("Fri, 29 Sep 2023 16:28:38 GMT", Some(121)),
    ("99999999999999999999999999999999999", None),
    ("inf", None),
    ("nan", None),
    ("Zun, 29 Sep 2023 16:26:27 GMT", None),
    ("Fri, 29 Sep 100000 16:26:57 GMT", None),
    ("", None),
];

#[tokio::test(start_paused = true)]
async fn retry_after_is_read_as_the_official_sdks_read_it() {
    for &(retry_after, seconds) in RETRY_AFTER {
        let log = Log::default();
        let peer = Peer::new(move |call| {
            let date = ("date", "Fri, 29 Sep 2023 16:26:37 GMT");
            respond(if call == 0 { 503 } else { 200 }, &[date, ("retry-after", retry_after)])
        });
        let service = RetryLayer::new().observer(log.clone()).layer(peer.clone());
        let response = service.oneshot(request()).await.unwrap();
        let hint = seconds.map(Duration::from_secs);
        if hint > Some(Duration::from_secs(120)) {
            // They fall back to half a second and come too early; we hand the answer out.
            let retried = response.extensions().get::<Retried>().unwrap();
            assert_eq!((peer.calls(), retried.stopped()), (1, Some(Stopped::HintTooLong)));
            continue;
        }
        assert_eq!(response.status(), 200);
        let wait = log.waits()[0];
        match hint {
            Some(hint) => {
                let most = hint + (hint / 2).min(Duration::from_secs(5));
                assert!(wait >= hint && wait <= most, "{retry_after}: {wait:?}");
            }
            None => assert!(wait <= millis(500), "{retry_after}: {wait:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_hint_the_ceilings_are_those_of_the_official_sdks() {
    // Their waits are 0.5, 1, 2 s and so on, less up to a quarter; ours are spread below the same.
    for _ in 0..200 {
        let log = Log::default();
        let layer = RetryLayer::new().observer(log.clone());
        layer.layer(Peer::failing(4, 500)).oneshot(request()).await.unwrap();
        for (wait, ceiling) in log.waits().into_iter().zip([500, 1_000, 2_000, 4_000]) {
            assert!(wait <= millis(ceiling));
        }
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
