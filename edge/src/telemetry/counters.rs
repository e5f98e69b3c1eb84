//! Counters by app or environment of what happens now and then: pushes, switches, failures of backends. The exporter
//! never drops a series, so these are kept here, and end with the series of their app.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use parking_lot::Mutex;

use super::labels::{self, OTHER, Place};
use super::{descriptions, escaped};

/// The values of the labels of a series: app, environment, and the others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    app: String,
    /// `None` for a series of a whole app.
    environment: Option<String>,
    more: Vec<(&'static str, String)>,
}

static COUNTERS: Mutex<BTreeMap<&'static str, BTreeMap<Series, u64>>> = Mutex::new(BTreeMap::new());

/// Counts in the series of an environment, or in the sum of all that have none of their own.
pub fn count_in_place(name: &'static str, (app, environment): (&str, &str), more: &[(&'static str, &str)], count: u64) {
    let place = (app.to_owned(), environment.to_owned());
    let (app, environment) = match labels::lock().note_place(&place, 1) {
        true => place,
        false => (OTHER.to_owned(), OTHER.to_owned()),
    };
    add(name, app, Some(environment), more, count);
}

/// Counts in the series of an app, or in the sum of all that have none of their own.
pub fn count_in_app(name: &'static str, app: &str, more: &[(&'static str, &str)], count: u64) {
    add(name, labels::app_label(app), None, more, count);
}

fn add(name: &'static str, app: String, environment: Option<String>, more: &[(&'static str, &str)], count: u64) {
    // Names that an app chose for itself say nothing in the sum of many.
    let is_sum = app == OTHER;
    let value = |(label, value): &(&'static str, &str)| match (*label, is_sum) {
        ("process", true) => (*label, OTHER.to_owned()),
        _ => (*label, (*value).to_owned()),
    };
    let series = Series { app, environment, more: more.iter().map(value).collect() };
    let mut counters = COUNTERS.lock();
    let counter = counters.entry(name).or_default().entry(series).or_default();
    *counter = counter.saturating_add(count);
}

/// Ends the series of those that have none of their own any more.
pub(super) fn end(places: &[Place], apps: &[String]) {
    if places.is_empty() && apps.is_empty() {
        return;
    }
    let has_ended = |series: &Series| match &series.environment {
        Some(environment) => places.iter().any(|(app, name)| *app == series.app && name == environment),
        None => apps.contains(&series.app),
    };
    for of_name in COUNTERS.lock().values_mut() {
        of_name.retain(|series, _| !has_ended(series));
    }
}

/// The counters in Prometheus' text form.
pub(super) fn render() -> String {
    let mut text = String::new();
    for (name, all) in COUNTERS.lock().iter() {
        descriptions::write_head(&mut text, name);
        for (series, count) in all {
            let Series { app, environment, more } = series;
            write!(text, "{name}{{app=\"{}\"", escaped(app)).ok();
            if let Some(environment) = environment {
                write!(text, ",environment=\"{}\"", escaped(environment)).ok();
            }
            for (label, value) in more {
                write!(text, ",{label}=\"{}\"", escaped(value)).ok();
            }
            writeln!(text, "}} {count}").ok();
        }
        text.push('\n');
    }
    text
}
