//! The plots.

use std::path::Path;

use super::{Point, Strategy};
use crate::plot::{Colour, Curve, Plot, Style};
use aplomb::BoxError;

/// A measure to plot.
#[derive(Clone, Copy, Debug)]
pub enum Measure {
    /// The number of calls.
    Calls,
    /// The time until all clients are done.
    Time,
}

impl Strategy {
    const fn colour(self) -> Colour {
        match self {
            Self::Nothing => Colour::Black,
            Self::Exponential => Colour::Vermilion,
            Self::Equal => Colour::Orange,
            Self::Full => Colour::Blue,
            Self::Decorrelated => Colour::Green,
        }
    }
}

/// Draws one measure of all points, as SVG.
///
/// # Errors
///
/// Fails if there are no points, or the file cannot be written.
pub fn plot(path: &Path, measure: Measure, points: &[Point]) -> Result<(), BoxError> {
    let value = |point: &Point| match measure {
        Measure::Calls => point.calls,
        Measure::Time => point.seconds,
    };
    let most = points.iter().map(value).fold(0.0, f64::max);
    let clients = points.iter().map(|point| point.clients).max().ok_or("nothing to draw")?;
    let curves = Strategy::ALL.map(|strategy| {
        let own = points.iter().filter(|point| point.strategy == strategy);
        let points = own.map(|point| (count(point.clients), value(point)));
        Curve::new(strategy.to_string(), strategy.colour(), Style::Dotted, points)
    });
    let (along, width) = ("clients that want the same row", count(clients));
    match measure {
        Measure::Calls => Plot {
            title: "Calls until every client has had its turn",
            values: "calls, on average",
            along,
            width,
            height: most * 1.05,
            logarithmic: false,
        },
        Measure::Time => Plot {
            title: "Time until every client has had its turn",
            values: "seconds, on average; logarithmic",
            along,
            width,
            height: most * 1.4,
            logarithmic: true,
        },
    }
    .draw(path, &curves)
}

#[expect(clippy::cast_precision_loss, reason = "there are not that many clients")]
fn count(clients: usize) -> f64 {
    clients as f64
}
