//! Lines over time, as SVG.

use std::path::Path;

use aplomb::BoxError;
use aplomb_examples::concurrency::Moment;
use plotters::prelude::*;

/// A plot: its title, and the ends of its axes.
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    pub(crate) seconds: f64,
    pub(crate) most: u32,
}

/// A line, with its name.
pub(crate) struct Line {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

const COLORS: [RGBColor; 3] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(120, 120, 120),
];

impl Line {
    pub(crate) fn of(name: &'static str, moments: &[Moment], what: impl Fn(&Moment) -> usize) -> Self {
        Self {
            name,
            points: moments.iter().map(|moment| (moment.at, number(what(moment)))).collect(),
        }
    }

    /// How much of the work of a client was answered each second, over the last ten.
    pub(crate) fn rate(name: &'static str, moments: &[Moment], client: usize) -> Self {
        let windows = moments.windows(100).step_by(10).filter_map(|window| {
            let (first, last) = (window.first()?, window.last()?);
            let answered = number(last.answered[client] - first.answered[client]);
            Some((last.at, answered / (last.at - first.at)))
        });
        Self { name, points: windows.collect() }
    }
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

impl Plot {
    pub(crate) fn draw(&self, path: &Path, lines: &[Line]) -> Result<(), BoxError> {
        let area = SVGBackend::new(path, (760, 300)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(28)
            .y_label_area_size(40)
            .build_cartesian_2d(0.0..self.seconds, 0.0..f64::from(self.most))?;
        let whole = |value: &f64| format!("{value:.0}");
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .x_label_formatter(&|seconds| format!("{seconds:.0} s"))
            .y_label_formatter(&whole)
            .draw()?;
        for (line, color) in lines.iter().zip(COLORS) {
            let points = line.points.iter().copied().filter(|(second, _)| *second <= self.seconds);
            chart
                .draw_series(LineSeries::new(points, color.stroke_width(2)))?
                .label(line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.85))
            .draw()?;
        area.present()?;
        Ok(())
    }
}
