//! Curves over time.

use aplomb_examples::concurrency::Moment;
use aplomb_examples::plot::{Colour, Curve, Plot, Style};

/// A plot over `width` seconds, of values up to `height`.
pub(crate) fn over_time<'a>(title: &'a str, values: &'a str, width: f64, height: f64) -> Plot<'a> {
    Plot { title, values, along: "seconds", width, height, logarithmic: false }
}

/// A value of each moment.
pub(crate) fn of(name: &str, colour: Colour, moments: &[Moment], what: impl Fn(&Moment) -> usize) -> Curve {
    let points = moments.iter().map(|moment| (moment.at, number(what(moment))));
    Curve::new(name, colour, Style::Line, points)
}

/// The answers of a client per second, over the last ten seconds.
pub(crate) fn rate(name: &str, colour: Colour, moments: &[Moment], client: usize) -> Curve {
    let windows = moments.windows(100).step_by(10).filter_map(|window| {
        let (first, last) = (window.first()?, window.last()?);
        let answered = number(last.answered[client] - first.answered[client]);
        Some((last.at, answered / (last.at - first.at)))
    });
    Curve::new(name, colour, Style::Line, windows)
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
