//! Pictures of runs: requests in flight, answers, waiting calls, and open circuits.

use std::path::Path;
use std::time::Duration;

use aplomb::BoxError;
use aplomb_examples::plot::{Colour, Curve, Plot, Style};
use aplomb_examples::simulate::{Client, Moment, Run, Scenario};

/// The clients have these colours, in their order.
const COLOURS: [Colour; 6] = [
    Colour::Blue,
    Colour::Vermilion,
    Colour::Orange,
    Colour::Green,
    Colour::Grey,
    Colour::Black,
];

/// Draws four pictures of a scenario.
pub(crate) fn draw(directory: &Path, scenario: &Scenario, runs: &[(Client, Run)]) -> Result<(), BoxError> {
    let picture = |what: &str, values: &str, curves: Vec<Curve>, height: f64| {
        let width = runs.iter().map(|(_, run)| run.took).max().unwrap_or_default().as_secs_f64();
        let title = format!("{}: {what}", scenario.about);
        let plot = Plot {
            title: &title,
            values,
            along: "seconds",
            width: width.max(1.0),
            height: height.max(1.0) * 1.1,
            logarithmic: false,
        };
        let file = format!("{}-{what}.svg", scenario.name).replace(' ', "-").replace('%', "");
        plot.draw(&directory.join(file), &curves)
    };
    let over_time = |of: &dyn Fn(&Moment) -> f64| -> (Vec<Curve>, f64) {
        let points = |run: &Run| -> Vec<_> {
            run.moments.iter().map(|moment| (moment.at.as_secs_f64(), of(moment))).collect()
        };
        curves(runs.iter().map(|(client, run)| (*client, points(run))))
    };
    let (in_flight, most) = over_time(&|moment| count(moment.in_flight));
    picture("in flight", "requests", in_flight, most)?;
    let (waiting, most) = over_time(&|moment| count(moment.look.waiting));
    picture("queue", "calls that wait", waiting, most)?;
    let (open, _) = over_time(&|moment| f64::from(u8::from(moment.look.open)));
    picture("circuit", "open: 1", open, 1.0)?;
    let (rate, most) = curves(runs.iter().map(|(client, run)| (*client, answers(run))));
    picture("rate", "answers per second", rate, most)
}

/// Curves, and the highest of their points.
fn curves(of: impl Iterator<Item = (Client, Vec<(f64, f64)>)>) -> (Vec<Curve>, f64) {
    let mut most: f64 = 0.0;
    let curves = of.zip(COLOURS.iter().cycle()).map(|((client, points), colour)| {
        most = points.iter().map(|(_, value)| *value).fold(most, f64::max);
        Curve::new(client.name(), *colour, Style::Line, points)
    });
    (curves.collect(), most)
}

/// The answers of each second.
fn answers(run: &Run) -> Vec<(f64, f64)> {
    (0..=run.took.as_secs())
        .map(|second| {
            let from = Duration::from_secs(second);
            let answered = run
                .waits
                .iter()
                .filter(|wait| wait.answered && wait.to >= from && wait.to < from + Duration::from_secs(1));
            (from.as_secs_f64(), count(answered.count()))
        })
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "there are few")]
fn count(number: usize) -> f64 {
    number as f64
}
