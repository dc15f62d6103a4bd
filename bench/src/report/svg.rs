//! Two kinds of charts as inline SVG: rows of bars with their spread, and lines.

use super::scale::{Scale, short};
use crate::results::Spread;
use std::fmt::Write as _;

/// Escapes text for use between tags and in attributes.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// One row of bars.
#[derive(Clone, Debug)]
pub struct Bar {
    /// The text at the left of the bar.
    pub label: String,
    /// The class of the bar's colour.
    pub class: String,
    /// The bar's length.
    pub value: f64,
    /// The part of the length that is drawn lighter.
    pub lighter: f64,
    /// The least and the most, drawn as a whisker, and the quartiles as its thick part.
    pub spread: Option<Spread>,
    /// The text at the right of the bar.
    pub text: String,
    /// The text that is shown when the pointer is over the bar.
    pub title: String,
}

const WIDTH: f64 = 520.0;
const LABEL: f64 = 128.0;
const ROW: f64 = 22.0;

/// Draws bars in rows; the longest uses the whole width. A bar that is much longer than the third
/// quarter of all bars is cut, so that the others can be distinguished.
#[must_use]
pub fn bars(title: &str, bars: &[Bar]) -> String {
    let most = cut_at(bars);
    let scale = Scale::linear(most, LABEL, WIDTH - 96.0);
    let height = 30.0 + ROW * bars.len() as f64;
    let mut svg = open(WIDTH, height, title);
    let _ = write!(
        svg,
        r#"<text class="title" x="0" y="15">{}</text>"#,
        escape(title)
    );
    for (row, bar) in bars.iter().enumerate() {
        draw_bar(&mut svg, bar, 28.0 + ROW * row as f64, &scale, most);
    }
    svg + "</svg>"
}

fn cut_at(bars: &[Bar]) -> f64 {
    let mut values: Vec<f64> = bars.iter().map(|bar| bar.value).collect();
    values.sort_by(f64::total_cmp);
    let most = values.last().copied().unwrap_or(1.0);
    let usual = values.get(values.len() * 3 / 4).copied().unwrap_or(most);
    most.min(usual * 2.5)
}

fn draw_bar(svg: &mut String, bar: &Bar, top: f64, scale: &Scale, most: f64) {
    let start = scale.place(0.0);
    let width = (scale.place(bar.value) - start).max(1.0);
    let middle = top + 11.0;
    let _ = write!(
        svg,
        r#"<g class="{}"><title>{}</title><text class="label" x="{}" y="{}">{}</text><rect class="fill" x="{start:.1}" y="{:.1}" width="{width:.1}" height="15" rx="2"/>"#,
        bar.class,
        escape(&bar.title),
        LABEL - 8.0,
        middle + 4.0,
        escape(&bar.label),
        top + 3.5,
    );
    if bar.lighter > 0.0 && bar.value > 0.0 {
        let part = width * (bar.lighter / bar.value).min(1.0);
        let _ = write!(
            svg,
            r#"<rect class="lighter" x="{:.1}" y="{:.1}" width="{part:.1}" height="15"/>"#,
            start + width - part,
            top + 3.5
        );
    }
    let mut end = start + width;
    if let Some(spread) = bar.spread.filter(|spread| spread.min < spread.max) {
        let (left, right) = (scale.place(spread.min), scale.place(spread.max));
        let (lower, upper) = (
            scale.place(spread.lower_quartile),
            scale.place(spread.upper_quartile),
        );
        let (up, down) = (middle - 4.0, middle + 4.0);
        let _ = write!(
            svg,
            r#"<path class="whisker" d="M{left:.1} {up}V{down}M{left:.1} {middle}H{right:.1}M{right:.1} {up}V{down}"/><path class="box" d="M{lower:.1} {middle}H{upper:.1}"/>"#
        );
        end = end.max(right);
    }
    let cut = if bar.value > most { "⇥ " } else { "" };
    let _ = write!(
        svg,
        r#"<text class="value" x="{:.1}" y="{}">{cut}{}</text></g>"#,
        end + 6.0,
        middle + 4.0,
        escape(&bar.text)
    );
}

fn open(width: f64, height: f64, title: &str) -> String {
    format!(
        r#"<svg viewBox="0 0 {width} {height}" role="img" aria-label="{}">"#,
        escape(title)
    )
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Line {
    /// The name at the line's end.
    pub label: String,
    /// The class of the line's colour.
    pub class: String,
    /// The line's points.
    pub points: Vec<(f64, f64)>,
    /// Whether points are marked.
    pub marked: bool,
}

/// An axis of a chart.
#[derive(Clone, Debug)]
pub struct Axis {
    /// The axis' name.
    pub name: String,
    /// Ticks and their texts; if empty, those of the scale.
    pub ticks: Vec<(f64, String)>,
    /// Whether the scale is logarithmic.
    pub logarithmic: bool,
    /// The format of a figure.
    pub write: fn(f64) -> String,
}

impl Axis {
    /// An axis with the ticks of its scale.
    #[must_use]
    pub fn new(name: &str, logarithmic: bool) -> Self {
        Self {
            name: name.to_owned(),
            ticks: Vec::new(),
            logarithmic,
            write: short,
        }
    }

    fn scale(&self, values: &[f64], start: f64, end: f64) -> Scale {
        let least = values
            .iter()
            .copied()
            .filter(|&value| value > 0.0)
            .fold(f64::MAX, f64::min);
        let most = values.iter().copied().fold(f64::MIN, f64::max);
        if self.logarithmic {
            Scale::logarithmic(least, most, start, end)
        } else {
            Scale::linear(most, start, end)
        }
    }

    fn marks(&self, scale: &Scale) -> Vec<(f64, String)> {
        if !self.ticks.is_empty() {
            let within = |tick: &&(f64, String)| scale.contains(tick.0);
            return self.ticks.iter().filter(within).cloned().collect();
        }
        scale
            .ticks(6)
            .into_iter()
            .map(|tick| (tick, (self.write)(tick)))
            .collect()
    }
}

const LINES_WIDTH: f64 = 760.0;
const LINES_HEIGHT: f64 = 360.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 42.0;

/// Draws lines in one chart, each with its name at its end.
#[must_use]
pub fn lines(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> String {
    let all = || lines.iter().flat_map(|line| &line.points);
    let (xs, ys): (Vec<f64>, Vec<f64>) = all().copied().unzip();
    let x_scale = x.scale(&xs, LEFT, LINES_WIDTH - RIGHT);
    let y_scale = y.scale(&ys, LINES_HEIGHT - BOTTOM, TOP);
    let mut svg = open(LINES_WIDTH, LINES_HEIGHT, title);
    let _ = write!(
        svg,
        r#"<text class="title" x="0" y="15">{}</text>"#,
        escape(title)
    );
    draw_axes(&mut svg, (x, &x_scale), (y, &y_scale));
    let mut labels: Vec<(f64, &Line)> = Vec::new();
    for line in lines {
        draw_line(&mut svg, line, &x_scale, &y_scale);
        if let Some(&(_, last)) = line.points.last() {
            labels.push((y_scale.place(last), line));
        }
    }
    draw_labels(&mut svg, labels);
    svg + "</svg>"
}

fn draw_axes(svg: &mut String, x: (&Axis, &Scale), y: (&Axis, &Scale)) {
    let (bottom, right) = (LINES_HEIGHT - BOTTOM, LINES_WIDTH - RIGHT);
    for (tick, text) in y.0.marks(y.1) {
        let at = y.1.place(tick);
        let _ = write!(
            svg,
            r#"<path class="grid" d="M{LEFT} {at:.1}H{right}"/><text class="tick end" x="{}" y="{:.1}">{}</text>"#,
            LEFT - 6.0,
            at + 4.0,
            escape(&text)
        );
    }
    for (tick, text) in x.0.marks(x.1) {
        let at = x.1.place(tick);
        let _ = write!(
            svg,
            r#"<path class="grid" d="M{at:.1} {TOP}V{bottom}"/><text class="tick middle" x="{at:.1}" y="{}">{}</text>"#,
            bottom + 16.0,
            escape(&text)
        );
    }
    let _ = write!(
        svg,
        r#"<text class="axis middle" x="{:.1}" y="{}">{}</text><text class="axis middle" transform="translate(12 {:.1}) rotate(-90)">{}</text>"#,
        f64::midpoint(LEFT, right),
        LINES_HEIGHT - 6.0,
        escape(&x.0.name),
        f64::midpoint(TOP, bottom),
        escape(&y.0.name)
    );
}

fn draw_line(svg: &mut String, line: &Line, x: &Scale, y: &Scale) {
    let mut path = String::new();
    for (number, &(at, value)) in line.points.iter().enumerate() {
        let command = if number == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{command}{:.1} {:.1}", x.place(at), y.place(value));
    }
    let title = escape(&line.label);
    let _ = write!(
        svg,
        r#"<g class="{}"><title>{title}</title><path class="line" d="{path}"/>"#,
        line.class
    );
    for &(at, value) in line.points.iter().filter(|_| line.marked) {
        let _ = write!(
            svg,
            r#"<circle class="fill" cx="{:.1}" cy="{:.1}" r="3"><title>{title}: {}</title></circle>"#,
            x.place(at),
            y.place(value),
            short(value)
        );
    }
    svg.push_str("</g>");
}

/// Draws the names at the ends of lines, moved apart where they would overlap.
fn draw_labels(svg: &mut String, mut labels: Vec<(f64, &Line)>) {
    labels.sort_by(|one, other| one.0.total_cmp(&other.0));
    let places = apart(
        &labels.iter().map(|label| label.0).collect::<Vec<_>>(),
        13.0,
    );
    let right = LINES_WIDTH - RIGHT;
    for ((from, line), to) in labels.into_iter().zip(places) {
        let _ = write!(
            svg,
            r#"<g class="{}"><path class="leader" d="M{:.1} {from:.1}L{:.1} {to:.1}"/><text class="name" x="{:.1}" y="{:.1}">{}</text></g>"#,
            line.class,
            right + 2.0,
            right + 14.0,
            right + 18.0,
            to + 4.0,
            escape(&line.label)
        );
    }
}

/// Moves ascending places apart, but keeps them within the chart.
fn apart(places: &[f64], distance: f64) -> Vec<f64> {
    let mut moved: Vec<f64> = places.to_vec();
    for at in 1..moved.len() {
        moved[at] = moved[at].max(moved[at - 1] + distance);
    }
    let mut below = LINES_HEIGHT - 8.0;
    for place in moved.iter_mut().rev() {
        *place = place.min(below);
        below = *place - distance;
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_moved_apart() {
        let places = apart(&[10.0, 11.0, 50.0], 13.0);
        assert_eq!(places, [10.0, 23.0, 50.0]);
        let low = apart(&[350.0, 351.0], 13.0);
        assert!(low[1] <= LINES_HEIGHT - 8.0 && low[1] - low[0] >= 13.0);
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("a<b & \"c\""), "a&lt;b &amp; &quot;c&quot;");
    }

    #[test]
    fn bars_have_a_whisker_with_a_thick_part() {
        let bar = |values: &[f64]| Bar {
            label: String::new(),
            class: String::new(),
            value: 2.0,
            lighter: 0.0,
            spread: Spread::of(values.to_vec()),
            text: String::new(),
            title: String::new(),
        };
        assert!(bars("", &[bar(&[1.0, 2.0, 3.0])]).contains(r#"class="box""#));
        assert!(!bars("", &[bar(&[2.0])]).contains(r#"class="box""#));
    }

    #[test]
    fn bars_one_giant_does_not_squeeze_the_others() {
        let bar = |value| Bar {
            label: String::new(),
            class: String::new(),
            value,
            lighter: 0.0,
            spread: None,
            text: String::new(),
            title: String::new(),
        };
        let all: Vec<Bar> = [1.0, 1.0, 1.2, 1.5, 90.0].map(bar).into();
        assert!(cut_at(&all) < 4.0);
    }
}
