//! Plots as SVG: curves with their names at their ends. The same data makes the same file.

use std::ops::Range;
use std::path::Path;

use aplomb::BoxError;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

/// The titles and axes of a plot.
#[derive(Clone, Debug)]
pub struct Plot<'a> {
    /// The title.
    pub title: &'a str,
    /// The title of the vertical axis.
    pub values: &'a str,
    /// The title of the horizontal axis.
    pub along: &'a str,
    /// The end of the horizontal axis, which begins at 0.
    pub width: f64,
    /// The end of the vertical axis.
    pub height: f64,
    /// True if the vertical axis is logarithmic and begins at 1. Otherwise it is linear and begins at 0.
    pub logarithmic: bool,
}

/// How a [`Curve`] is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Style {
    /// A line.
    Line,
    /// A thin line, for a companion of another line.
    Thin,
    /// A line with a dot at each point, for separate measurements.
    Dotted,
    /// Only dots.
    Dots,
    /// A dashed line, for the ideal.
    Dashed,
}

/// Named points.
#[derive(Clone, Debug)]
pub struct Curve {
    name: String,
    colour: Colour,
    style: Style,
    points: Vec<(f64, f64)>,
}

/// The colours of Okabe and Ito, which can be distinguished with any kind of colour vision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
#[non_exhaustive]
pub enum Colour {
    Black,
    Grey,
    Blue,
    Vermilion,
    Orange,
    Green,
}

impl Colour {
    const fn rgb(self) -> RGBColor {
        match self {
            Self::Black => RGBColor(0x00, 0x00, 0x00),
            Self::Grey => RGBColor(0x80, 0x80, 0x80),
            Self::Blue => RGBColor(0x00, 0x72, 0xb2),
            Self::Vermilion => RGBColor(0xd5, 0x5e, 0x00),
            Self::Orange => RGBColor(0xe6, 0x9f, 0x00),
            Self::Green => RGBColor(0x00, 0x9e, 0x73),
        }
    }
}

impl Curve {
    /// A curve through these points, from left to right.
    pub fn new(
        name: impl Into<String>,
        colour: Colour,
        style: Style,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        Self { name: name.into(), colour, style, points: points.into_iter().collect() }
    }
}

const SIZE: (u32, u32) = (860, 470);
/// The left end of the curves.
const LEFT: i32 = 64;
/// The right end of the curves, where their names begin.
const NAMES: i32 = 690;
/// The least distance between names.
const LINE_HEIGHT: i32 = 20;

const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);

impl Plot<'_> {
    /// Draws the curves.
    ///
    /// # Errors
    ///
    /// Fails if there are no points, or the file cannot be written.
    pub fn draw(&self, path: &Path, curves: &[Curve]) -> Result<(), BoxError> {
        if curves.iter().all(|curve| curve.points.is_empty()) {
            return Err("nothing to draw".into());
        }
        if self.logarithmic {
            self.draw_along(path, (1.0..self.height).log_scale(), curves)
        } else {
            self.draw_along(path, 0.0..self.height, curves)
        }
    }

    fn draw_along<Y>(&self, path: &Path, values: Y, curves: &[Curve]) -> Result<(), BoxError>
    where
        Y: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>>,
    {
        let page = SVGBackend::new(path, SIZE).into_drawing_area();
        page.fill(&WHITE)?;
        let text = |size: i32| ("sans-serif", size).into_font().color(&INK);
        page.draw(&Text::new(self.title, (LEFT, 14), text(20)))?;
        page.draw(&Text::new(self.values, (LEFT, 42), text(15)))?;

        let (left, _) = page.split_horizontally(NAMES);
        let along: Range<f64> = 0.0..self.width;
        let mut chart = ChartBuilder::on(&left)
            .margin_top(72)
            .margin_right(8)
            .x_label_area_size(52)
            .y_label_area_size(LEFT)
            .build_cartesian_2d(along, values)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style(text(14))
            .axis_desc_style(text(15))
            .x_desc(self.along)
            .x_labels(11)
            .x_label_formatter(&|value| thousands(*value))
            .y_labels(6)
            .y_label_formatter(&|value| thousands(*value))
            .draw()?;

        let mut names = Vec::new();
        for (n, curve) in curves.iter().enumerate() {
            let colour = curve.colour.rgb();
            let points: Vec<(f64, f64)> =
                curve.points.iter().copied().filter(|(along, _)| *along <= self.width).collect();
            let dots = |size| points.iter().map(move |at| Circle::new(*at, size, colour.filled()));
            match curve.style {
                Style::Line | Style::Dotted => {
                    chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
                }
                Style::Thin => {
                    chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(1)))?;
                }
                Style::Dashed => {
                    let dashes = DashedLineSeries::new(points.iter().copied(), 7, 5, colour.stroke_width(2));
                    chart.draw_series(dashes)?;
                }
                Style::Dots => drop(chart.draw_series(dots(2))?),
            }
            if curve.style == Style::Dotted {
                chart.draw_series(dots(3))?;
            }
            if let Some(last) = points.last() {
                names.push((chart.backend_coord(last).1, n));
            }
        }
        for (height, n) in apart(names) {
            let curve = &curves[n];
            let width = if curve.style == Style::Thin { 1 } else { 4 };
            let bar = [(NAMES + 2, height), (NAMES + 18, height)];
            page.draw(&PathElement::new(bar, curve.colour.rgb().stroke_width(width)))?;
            page.draw(&Text::new(curve.name.as_str(), (NAMES + 26, height - 7), text(15)))?;
        }
        page.present()?;
        Ok(())
    }
}

/// Moves overlapping names apart, in their order: down from the topmost, and up again at the end of the page.
fn apart(mut names: Vec<(i32, usize)>) -> Vec<(i32, usize)> {
    names.sort_unstable();
    for n in 1..names.len() {
        names[n].0 = names[n].0.max(names[n - 1].0 + LINE_HEIGHT);
    }
    let mut lowest = SIZE.1.cast_signed() - LINE_HEIGHT / 2;
    for (height, _) in names.iter_mut().rev() {
        *height = (*height).min(lowest);
        lowest = *height - LINE_HEIGHT;
    }
    names
}

/// A number with a thousands separator, and at most two decimals.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.2}");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    let whole = digits.find('.').unwrap_or(digits.len());
    match whole {
        0..=3 => digits.to_owned(),
        long => format!("{},{}", &digits[..long - 3], &digits[long - 3..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_overlap_and_keep_their_order() {
        assert_eq!(apart(vec![(30, 1), (10, 0), (32, 2)]), [(10, 0), (30, 1), (50, 2)]);
        assert_eq!(apart(vec![(455, 0), (456, 1), (10, 2)]), [(10, 2), (440, 0), (460, 1)]);
    }

    #[test]
    fn thousands_are_separated() {
        let numbers = [7.0, 0.5, 700.0, 7e3, 12_345.0].map(thousands);
        assert_eq!(numbers, ["7", "0.5", "700", "7,000", "12,345"]);
    }
}
