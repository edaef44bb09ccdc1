//! A stream, step by step, whole or spoiled.

use std::time::Duration;

use bytes::Bytes;

use crate::Fault;
use crate::answer::Answer;
use crate::api::{Api, Origin};
use crate::ask::Ask;
use crate::body::Step;

/// Returns the steps of a stream that suffers this fault, made as they are taken.
pub(crate) fn steps(
    (api, origin): (Api, Origin),
    ask: Ask,
    answer: Answer,
    gap: Duration,
    fault: Option<Fault>,
) -> Box<dyn Iterator<Item = Step> + Send + Sync> {
    let events = api.events(&ask, &answer, &origin);
    let half = (answer.words.len() / 2).max(1);
    let (said, ending) = match fault {
        Some(Fault::StreamError) => return Box::new(std::iter::once(Step::Data(events.error))),
        Some(Fault::LateStreamError) => (half, vec![Step::Data(events.error)]),
        Some(Fault::Unfinished) => (half, Vec::new()),
        Some(Fault::Truncate) => (half, vec![Step::Data(first_half(&events.closing[0])), Step::Cut]),
        _ => (usize::MAX, events.closing.into_iter().map(Step::Data).collect()),
    };
    let words = answer.words.into_iter().take(said).enumerate().flat_map(move |(n, word)| {
        let text = if n == 0 { word } else { format!(" {word}") };
        let pause = (n > 0 && !gap.is_zero()).then_some(Step::Pause(gap));
        pause.into_iter().chain([Step::Data((events.delta)(&ask, &origin, &text))])
    });
    Box::new(events.opening.into_iter().map(Step::Data).chain(words).chain(ending))
}

/// What of a body arrives when the connection is cut.
pub(crate) fn first_half(whole: &Bytes) -> Bytes {
    whole.slice(..whole.len() / 2)
}
