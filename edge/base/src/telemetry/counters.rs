//! Counters by app or environment of rare events: pushes, switches, failures of backends. The exporter never drops a
//! series, so the counters are kept here, and end with the series of their app.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use parking_lot::Mutex;

use super::labels::{self, OTHER, Place};
use super::{descriptions, escaped};

/// Label values of a series: app, environment, and further labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    app: String,
    /// `None` for a series of a whole app.
    environment: Option<String>,
    more: Vec<(&'static str, String)>,
}

/// Maximum series of a metric by process name for an app or environment: the process names of all past versions would
/// grow without bound.
const SERIES_BY_PROCESS_MAX: usize = 32;

static COUNTERS: Mutex<BTreeMap<&'static str, BTreeMap<Series, u64>>> = Mutex::new(BTreeMap::new());

/// Adds to the series of an environment, or to the sum of environments without separate series.
pub fn count_in_place(name: &'static str, (app, environment): (&str, &str), more: &[(&'static str, &str)], count: u64) {
    let place = (app.to_owned(), environment.to_owned());
    let (app, environment) = match labels::lock().note_place(&place, 1) {
        true => place,
        false => (OTHER.to_owned(), OTHER.to_owned()),
    };
    add(name, app, Some(environment), more, count);
}

/// Adds to the series of an app, or to the sum of apps without separate series.
pub fn count_in_app(name: &'static str, app: &str, more: &[(&'static str, &str)], count: u64) {
    add(name, labels::app_label(app), None, more, count);
}

fn add(name: &'static str, app: String, environment: Option<String>, more: &[(&'static str, &str)], count: u64) {
    // Names chosen by an app have no meaning in the sum of many apps.
    let is_sum = app == OTHER;
    let mut series =
        Series { app, environment, more: more.iter().map(|(label, is)| (*label, (*is).to_owned())).collect() };
    let mut counters = COUNTERS.lock();
    let of_name = counters.entry(name).or_default();
    if is_sum || !of_name.contains_key(&series) && has_all_by_process(of_name, &series) {
        for (_, value) in series.more.iter_mut().filter(|(label, _)| *label == "process") {
            OTHER.clone_into(value);
        }
    }
    let counter = of_name.entry(series).or_default();
    *counter = counter.saturating_add(count);
}

/// Returns true if the app or environment of `series` has the maximum number of series by process.
fn has_all_by_process(of_name: &BTreeMap<Series, u64>, series: &Series) -> bool {
    let first = Series { more: Vec::new(), ..series.clone() };
    let is_of_place = |other: &Series| other.app == series.app && other.environment == series.environment;
    let of_place = of_name.range(first..).take_while(|(other, _)| is_of_place(other));
    of_place.take(SERIES_BY_PROCESS_MAX).count() == SERIES_BY_PROCESS_MAX
}

/// Ends the series of apps and environments that lost their separate series.
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

/// Returns the counters in Prometheus text format.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_beyond_those_that_have_series_of_their_own_count_together() {
        const RESTARTS: &str = "devanture_instance_restarts_total";
        let count = |app: &str, process: &str| {
            add(RESTARTS, app.to_owned(), Some("prod".to_owned()), &[("process", process)], 1);
        };
        for number in 0..100 {
            count("renames", &format!("p{number}"));
        }
        // An app with a series keeps the series, and another app has a separate series.
        count("renames", "p0");
        count("renames-not", "p99");
        let text = render();
        let value = |app: &str, process: &str| {
            let series = format!("{RESTARTS}{{app=\"{app}\",environment=\"prod\",process=\"{process}\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&series)).map(str::to_owned)
        };
        let series = text.lines().filter(|line| line.contains("{app=\"renames\",")).count();
        assert_eq!(series, SERIES_BY_PROCESS_MAX + 1, "{text}");
        assert_eq!(value("renames", OTHER), Some((100 - SERIES_BY_PROCESS_MAX).to_string()));
        assert_eq!(value("renames", "p0"), Some("2".to_owned()));
        assert_eq!((value("renames", "p99"), value("renames-not", "p99")), (None, Some("1".to_owned())));
    }
}
