//! Events as log lines.

use aplomb_core::Observe;

use crate::Event;

/// Logs with `tracing`: one `warn` line for every retry, with the attempt, the wait and the cause.
///
/// Nothing of the request or of the answer's body is logged.
///
/// # Examples
///
/// ```
/// use aplomb_retry::{RetryLayer, TracingObserver};
///
/// let layer = RetryLayer::new().observer(TracingObserver);
/// # drop(layer);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingObserver;

impl Observe<Event> for TracingObserver {
    fn on_event(&self, event: &Event) {
        if let Event::Waiting { attempt, outcome, wait } = event {
            tracing::warn!(attempt, ?wait, cause = %outcome, "the request will be sent again");
        }
    }
}
