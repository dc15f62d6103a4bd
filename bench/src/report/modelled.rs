//! The part of the report about more cores than the machine has.

use super::class;
use super::scale::short;
use super::svg::{Axis, Line, escape, lines};
use crate::model::{CORES, Model};
use crate::results::Results;
use crate::servers::Origin;
use crate::table::grouped;
use std::fmt::Write as _;

const SUBSCRIBERS: u32 = 10_000;

/// Formula, inputs, table and chart.
#[must_use]
pub fn render(results: &Results) -> String {
    let parts: Vec<String> = [1, 32]
        .into_iter()
        .filter_map(|at_once| part(results, at_once))
        .collect();
    if parts.is_empty() {
        return String::new();
    }
    format!(
        "<h2 id=\"model\">One room on more cores: a model</h2><p>Not measured: computed from costs \
         that were. A message to <i>n</i> subscribers costs <i>a + s·n</i> on one core: <i>s</i> \
         for each subscriber (its send), <i>a</i> once (receive, decode, number, encode, append, \
         wake). Each further core adds <i>w</i>: its batch, its wake, its own encoding. A delivery \
         on <i>c</i> cores then costs <i>s + (a + (c − 1)·w) / n</i>; the fan-out runs on all cores \
         at once, so the room's home core is busy for <i>a + (c − 1)·w + s·n/c</i> with each \
         message, which bounds the rate. <i>a</i> and <i>s</i> are fitted (least squares of the \
         relative error) to rooms of 10 to 10,000 on one core; <i>w</i> is what a room of 1,000 \
         cost more on two, and 0 if it was no more. Left out: memory bandwidth, one network card \
         for all, hyper-threads. A server that keeps a room on one thread has the same rate on \
         any number of cores.</p>{}",
        parts.concat()
    )
}

fn part(results: &Results, at_once: u32) -> Option<String> {
    let models: Vec<Model> = results
        .servers
        .iter()
        .filter(|server| server.origin != Origin::Floor)
        .filter_map(|server| Model::fit(results, &server.name, at_once))
        .collect();
    if models.is_empty() {
        return None;
    }
    let lines_of = models.iter().map(|model| Line {
        label: model.server.clone(),
        class: class(results.server(&model.server), &model.server),
        points: CORES
            .map(|cores| (f64::from(cores), model.per_second(cores, SUBSCRIBERS)))
            .into(),
        marked: true,
    });
    let ticks = CORES
        .map(|cores| (f64::from(cores), cores.to_string()))
        .into();
    let cores = Axis {
        ticks,
        ..Axis::new("cores of the server", true)
    };
    let rate = Axis {
        write: short,
        ..Axis::new("deliveries a second, at most", true)
    };
    let plural = if at_once == 1 { "message" } else { "messages" };
    let title = format!("A room of 10,000, {at_once} {plural} in flight (model)");
    let chart = lines(&title, &cores, &rate, &lines_of.collect::<Vec<_>>());
    Some(format!(
        "<div class=\"card\">{chart}{}</div>",
        table(&models)
    ))
}

fn table(models: &[Model]) -> String {
    let mut text = "<div class=\"scroll\"><table><tr><th>Server</th><th>s, ns</th><th>a, ns</th>\
                    <th>w, ns</th>"
        .to_owned();
    for cores in CORES {
        let plural = if cores == 1 { "core" } else { "cores" };
        let _ = write!(text, "<th>ns on {cores} {plural}</th>");
    }
    text.push_str("</tr>");
    for model in models {
        text.push_str(&row(model));
    }
    let inputs: Vec<String> = models.iter().map(inputs).collect();
    format!(
        "{text}</table></div><p class=\"soft\">ns/delivery for 1,000 subscribers. Measured, as \
         subscribers → ns/delivery: {}.</p>",
        inputs.join("; ")
    )
}

fn row(model: &Model) -> String {
    let mut text = format!(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td>",
        escape(&model.server),
        grouped(model.subscriber_ns),
        grouped(model.message_ns),
        model.core_ns.map_or("one thread".to_owned(), grouped)
    );
    for cores in CORES {
        let known = model.core_ns.is_some() || cores == 1;
        let cost = if known {
            grouped(model.delivery_ns(cores, 1_000))
        } else {
            "–".to_owned()
        };
        let _ = write!(text, "<td>{cost}</td>");
    }
    text + "</tr>"
}

/// The measured inputs of the model.
fn inputs(model: &Model) -> String {
    let measured: Vec<String> = model
        .measured
        .iter()
        .map(|(size, cost)| format!("{size} → {}", grouped(*cost)))
        .collect();
    let two = model.measured_two_cores_ns.map_or(String::new(), |cost| {
        format!(", on two cores 1000 → {}", grouped(cost))
    });
    format!(
        "<b>{}</b> {}{two}",
        escape(&model.server),
        measured.join(", ")
    )
}
