//! The plots.

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use super::{Point, Strategy};

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub enum Measure {
    /// How many calls were made.
    Calls,
    /// How long it took.
    Time,
}

const SIZE: (u32, u32) = (860, 470);
/// Where the curves begin.
const LEFT: i32 = 64;
/// Where the curves end and their names begin.
const NAMES: i32 = 690;
/// How far names are kept apart.
const LINE_HEIGHT: i32 = 20;

const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);

impl Strategy {
    /// The colours of Okabe and Ito, which can be told apart with any kind of colour vision.
    const fn colour(self) -> RGBColor {
        match self {
            Self::Nothing => RGBColor(0x00, 0x00, 0x00),
            Self::Exponential => RGBColor(0xd5, 0x5e, 0x00),
            Self::Equal => RGBColor(0xe6, 0x9f, 0x00),
            Self::Full => RGBColor(0x00, 0x72, 0xb2),
            Self::Decorrelated => RGBColor(0x00, 0x9e, 0x73),
        }
    }
}

/// Draws one measure of all points, as SVG.
///
/// # Errors
///
/// Where there is nothing to draw, or the file can not be written.
pub fn plot(path: &Path, measure: Measure, points: &[Point]) -> Result<(), Box<dyn Error>> {
    let value = |point: &Point| match measure {
        Measure::Calls => point.calls,
        Measure::Time => point.seconds,
    };
    let most = points.iter().map(value).fold(0.0, f64::max);
    let clients = points.iter().map(|point| point.clients).max().ok_or("nothing to draw")?;
    let curves = Strategy::ALL.map(|strategy| {
        let own = points.iter().filter(|point| point.strategy == strategy);
        (strategy, own.map(|point| (count(point.clients), value(point))).collect::<Vec<_>>())
    });

    match measure {
        Measure::Calls => {
            let title = "Calls until every client has had its turn";
            draw(path, title, "calls, on average", 0.0..count(clients), 0.0..most * 1.05, &curves)
        }
        Measure::Time => {
            let title = "Time until every client has had its turn";
            let range = (1.0..most * 1.4).log_scale();
            draw(path, title, "seconds, on average; logarithmic", 0.0..count(clients), range, &curves)
        }
    }
}

type Curve = (Strategy, Vec<(f64, f64)>);

fn draw<Y>(
    path: &Path,
    title: &str,
    unit: &str,
    clients: Range<f64>,
    values: Y,
    curves: &[Curve],
) -> Result<(), Box<dyn Error>>
where
    Y: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>>,
{
    let page = SVGBackend::new(path, SIZE).into_drawing_area();
    page.fill(&WHITE)?;
    let text = |size: i32| ("sans-serif", size).into_font().color(&INK);
    page.draw(&Text::new(title, (LEFT, 14), text(20)))?;
    page.draw(&Text::new(unit, (LEFT, 42), text(15)))?;

    let (left, _) = page.split_horizontally(NAMES);
    let mut chart = ChartBuilder::on(&left)
        .margin_top(72)
        .margin_right(8)
        .x_label_area_size(52)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(clients, values)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(text(14))
        .axis_desc_style(text(15))
        .x_desc("clients that want the same row")
        .x_labels(11)
        .x_label_formatter(&|clients| format!("{clients:.0}"))
        .y_labels(6)
        .y_label_formatter(&|value| thousands(*value))
        .draw()?;

    let mut names = Vec::new();
    for (strategy, curve) in curves {
        let style = strategy.colour().stroke_width(2);
        chart.draw_series(LineSeries::new(curve.iter().copied(), style))?;
        let dots = curve.iter().map(|at| Circle::new(*at, 3, strategy.colour().filled()));
        chart.draw_series(dots)?;
        if let Some(last) = curve.last() {
            names.push((chart.backend_coord(last).1, *strategy));
        }
    }
    for (height, strategy) in apart(names) {
        let bar = [(NAMES + 2, height), (NAMES + 18, height)];
        page.draw(&PathElement::new(bar, strategy.colour().stroke_width(4)))?;
        page.draw(&Text::new(strategy.to_string(), (NAMES + 26, height - 7), text(15)))?;
    }
    page.present()?;
    Ok(())
}

/// Moves names that would overlap apart, in their order: down from the topmost.
fn apart(mut names: Vec<(i32, Strategy)>) -> Vec<(i32, Strategy)> {
    names.sort_unstable();
    for n in 1..names.len() {
        names[n].0 = names[n].0.max(names[n - 1].0 + LINE_HEIGHT);
    }
    names
}

#[expect(clippy::cast_precision_loss, reason = "there are not that many clients")]
fn count(clients: usize) -> f64 {
    clients as f64
}

/// A whole number, with its thousands apart.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    match digits.len() {
        0..=3 => digits,
        long => format!("{},{}", &digits[..long - 3], &digits[long - 3..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_overlap_and_keep_their_order() {
        let names = vec![
            (30, Strategy::Full),
            (10, Strategy::Nothing),
            (32, Strategy::Equal),
        ];
        let moved = apart(names);
        assert_eq!(
            moved,
            [
                (10, Strategy::Nothing),
                (30, Strategy::Full),
                (50, Strategy::Equal)
            ]
        );
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(["7", "700", "7,000", "12,345"], [7.0, 700.0, 7e3, 12_345.0].map(thousands));
    }
}
