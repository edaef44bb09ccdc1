//! A stream, step by step, with or without a fault.

use std::time::Duration;

use bytes::Bytes;

use crate::answer::Content;
use crate::api::{Api, Ask, Origin};
use crate::body::{Step, Steps, first_half};
use crate::fault::Fault;

/// Endless pings without a pause would keep a client busy forever.
const LEAST_PAUSE: Duration = Duration::from_millis(1);

/// Returns the steps of a stream with this fault. Each is made when it is taken.
pub(crate) fn steps(
    (api, origin): (Api, Origin),
    ask: Ask,
    answer: Content,
    gap: Duration,
    fault: Option<Fault>,
) -> Steps {
    let events = api.events(&ask, &answer, &origin);
    let half = (answer.words.len() / 2).max(1);
    let (said, ending): (usize, Steps) = match fault {
        Some(Fault::StreamError) => return Box::new(std::iter::once(Step::Data(events.error))),
        Some(Fault::LateStreamError) => (half, Box::new(std::iter::once(Step::Data(events.error)))),
        Some(Fault::Unfinished) => (half, Box::new(std::iter::empty())),
        Some(Fault::Truncate) => {
            let end = [Step::Data(first_half(&events.closing[0])), Step::Cut];
            (half, Box::new(end.into_iter()))
        }
        Some(Fault::OnlyPings(every)) => (0, pings(&events.ping, every)),
        Some(Fault::LatePings(every)) => (half, pings(&events.ping, every)),
        Some(Fault::Stall) => (half, Box::new(std::iter::once(Step::Stall))),
        _ => (usize::MAX, Box::new(events.closing.into_iter().map(Step::Data))),
    };
    let words = answer.words.into_iter().take(said).enumerate().flat_map(move |(n, word)| {
        let text = if n == 0 { word } else { format!(" {word}") };
        let pause = (n > 0 && !gap.is_zero()).then_some(Step::Pause(gap));
        pause.into_iter().chain([Step::Word((events.delta)(&ask, &origin, n, &text))])
    });
    Box::new(events.opening.into_iter().map(Step::Data).chain(words).chain(ending))
}

/// Endless pings, each after a pause.
pub(crate) fn pings(ping: &Bytes, every: Duration) -> Steps {
    let (ping, every) = (ping.clone(), every.max(LEAST_PAUSE));
    Box::new((0..).flat_map(move |_: u64| [Step::Pause(every), Step::Data(ping.clone())]))
}
