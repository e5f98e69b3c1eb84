//! Gauges of the current state, collected for each scrape: a removed object has no gauge. Gauges by app are summed for
//! apps without separate series.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::labels::{self, Labels, OTHER};
use super::{descriptions, escaped};

/// Maximum number of environments named because of a problem despite having no separate series.
const PROBLEMS_NAMED_MAX: usize = 100;
/// Labels with few values for any number of apps.
const FEW_VALUES: [&str; 2] = ["kind", "state"];

/// Callback that adds gauges to a scrape.
pub type GaugeSource = Box<dyn Fn(&mut Gauges) + Send + Sync>;

/// Converts a number into a gauge value.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "exact up to 9 PB")]
pub const fn gauge_value(number: u64) -> f64 {
    number as f64
}

/// Gauges by name and labels.
#[derive(Default)]
pub struct Gauges {
    by_name: BTreeMap<&'static str, BTreeMap<String, f64>>,
    /// Number of problems named so far, by gauge name.
    problems: BTreeMap<&'static str, usize>,
}

impl Gauges {
    /// Adds `value` to the gauge with these labels.
    pub fn add(&mut self, name: &'static str, labels: &[(&str, &str)], value: f64) {
        let mut text = String::new();
        for (label, value) in labels {
            let comma = if text.is_empty() { "" } else { "," };
            write!(text, "{comma}{label}=\"{}\"", escaped(value)).ok();
        }
        *self.by_name.entry(name).or_default().entry(text).or_default() += value;
    }

    /// Adds `value` to the gauge of an app, or to the sum of apps without separate series.
    pub fn add_in_app(&mut self, name: &'static str, app: &str, more: &[(&str, &str)], value: f64) {
        let is_own = is_shown(&mut labels::lock(), app, None);
        self.add(name, &labels_of(is_own, &[("app", app)], more), value);
    }

    /// Adds `value` to the gauge of an environment, or to the sum of environments without separate series.
    pub fn add_in_place(
        &mut self,
        name: &'static str,
        (app, environment): (&str, &str),
        more: &[(&str, &str)],
        value: f64,
    ) {
        let is_own = is_shown(&mut labels::lock(), app, Some(environment));
        self.add(name, &labels_of(is_own, &[("app", app), ("environment", environment)], more), value);
    }

    /// Adds a gauge of an environment with a problem, by name unless too many environments have the problem.
    pub fn add_problem(&mut self, name: &'static str, (app, environment): (&str, &str), value: f64) {
        let named = self.problems.entry(name).or_default();
        *named = named.saturating_add(1);
        let is_own = *named <= PROBLEMS_NAMED_MAX;
        self.add(name, &labels_of(is_own, &[("app", app), ("environment", environment)], &[]), value);
    }

    /// Returns the gauges in Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (name, all) in &self.by_name {
            descriptions::write_head(&mut text, name);
            for (labels, value) in all {
                match labels.as_str() {
                    "" => writeln!(text, "{name} {value}").ok(),
                    labels => writeln!(text, "{name}{{{labels}}} {value}").ok(),
                };
            }
            text.push('\n');
        }
        text
    }
}

/// Returns true if a gauge has a separate series. A gauge counts no request, but takes free room.
fn is_shown(labels: &mut Labels, app: &str, environment: Option<&str>) -> bool {
    match environment {
        Some(environment) => labels.note_place(&(app.to_owned(), environment.to_owned()), 0),
        None => labels.note_app(&app.to_owned(), 0),
    }
}

fn labels_of<'l>(is_own: bool, names: &[(&'l str, &'l str)], more: &[(&'l str, &'l str)]) -> Vec<(&'l str, &'l str)> {
    let shown = |(label, value): &(&'l str, &'l str)| match is_own || FEW_VALUES.contains(label) {
        true => (*label, *value),
        false => (*label, OTHER),
    };
    names.iter().chain(more).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_labels_are_summed_and_values_are_escaped() {
        let mut gauges = Gauges::default();
        gauges.add("devanture_disk_free_bytes", &[], 1.5);
        for value in [1.0, 2.0] {
            gauges.add("devanture_queue_length", &[("queue", "a\"b\\c")], value);
        }
        let text = gauges.render();
        assert!(text.contains("# TYPE devanture_disk_free_bytes gauge\ndevanture_disk_free_bytes 1.5\n"), "{text}");
        assert!(text.contains("\ndevanture_queue_length{queue=\"a\\\"b\\\\c\"} 3\n"), "{text}");
    }

    #[test]
    fn problems_are_named_until_there_are_too_many_and_all_of_them_are_counted() {
        let mut gauges = Gauges::default();
        for number in 0..PROBLEMS_NAMED_MAX + 7 {
            gauges.add_problem("devanture_unloaded_versions", (&number.to_string(), "prod"), 1.0);
        }
        let text = gauges.render();
        assert_eq!(text.lines().filter(|line| line.ends_with("} 1")).count(), PROBLEMS_NAMED_MAX);
        let sum = "devanture_unloaded_versions{app=\"_other\",environment=\"_other\"} 7";
        assert!(text.lines().any(|line| line == sum), "{text}");
    }
}
