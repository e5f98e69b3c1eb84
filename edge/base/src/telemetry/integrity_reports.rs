//! Last distinct browser reports about resources loaded without a hash, by app and environment, in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use devanture_config::api::IntegrityReport;
use parking_lot::Mutex;

use crate::clock::now_ms;

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Known {
    /// Maximum reports of one environment.
    reports_max: usize,
    /// Maximum apps.
    apps_max: usize,
    apps: HashMap<String, App>,
}

#[derive(Default)]
struct App {
    last_ms: u64,
    places: BTreeMap<String, Vec<IntegrityReport>>,
}

/// Sets the maximum reports per environment and the maximum apps; 0 for either keeps nothing.
pub fn keep_integrity_reports(reports_max: usize, apps_max: usize) {
    let mut known = KNOWN.lock();
    (known.reports_max, known.apps_max) = (reports_max, apps_max);
}

/// Stores the reports of a browser.
pub fn note_integrity_reports(app: &str, environment: &str, reports: Vec<IntegrityReport>) {
    KNOWN.lock().note(app, environment, reports, now_ms());
}

/// Forgets the reports of a removed app, or of one environment.
pub fn forget_integrity_reports(app: &str, environment: Option<&str>) {
    KNOWN.lock().forget(app, environment);
}

/// Returns the reports of an environment.
#[must_use]
pub fn integrity_reports(app: &str, environment: &str) -> Vec<IntegrityReport> {
    let known = KNOWN.lock();
    known.apps.get(app).and_then(|app| app.places.get(environment)).cloned().unwrap_or_default()
}

/// Adds a report to a list, merged into an existing report of the same file and page.
pub fn add_integrity_report(list: &mut Vec<IntegrityReport>, report: IntegrityReport) {
    let is_same = |known: &&mut IntegrityReport| {
        (&known.blocked, &known.destination, &known.page, known.enforced)
            == (&report.blocked, &report.destination, &report.page, report.enforced)
    };
    match list.iter_mut().find(is_same) {
        Some(known) => {
            known.count = known.count.saturating_add(report.count);
            known.first_ms = known.first_ms.min(report.first_ms);
            known.last_ms = known.last_ms.max(report.last_ms);
        }
        None => list.push(report),
    }
}

impl Known {
    fn forget(&mut self, app: &str, environment: Option<&str>) {
        match environment {
            Some(environment) => drop(self.apps.get_mut(app).and_then(|app| app.places.remove(environment))),
            None => drop(self.apps.remove(app)),
        }
    }

    fn note(&mut self, app: &str, environment: &str, reports: Vec<IntegrityReport>, now_ms: u64) {
        if self.reports_max == 0 || self.apps_max == 0 || reports.is_empty() {
            return;
        }
        while !self.apps.contains_key(app) && self.apps.len() >= self.apps_max {
            let quietest = self.apps.iter().min_by_key(|(_, app)| app.last_ms).map(|(name, _)| name.clone());
            let Some(quietest) = quietest else { break };
            self.apps.remove(&quietest);
        }
        let app = self.apps.entry(app.to_owned()).or_default();
        app.last_ms = now_ms;
        let list = app.places.entry(environment.to_owned()).or_default();
        for report in reports {
            add_integrity_report(list, report);
            if list.len() > self.reports_max {
                // Reports of many browsers outlive reports of a single browser: forged reports displace each other. The
                // last report is the new one.
                let others = list.iter().enumerate().take(list.len().saturating_sub(1));
                let least = others.min_by_key(|(_, report)| (report.count, report.last_ms));
                let least = least.map_or(0, |(number, _)| number);
                list.remove(least);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(blocked: &str, at_ms: u64) -> IntegrityReport {
        IntegrityReport {
            blocked: blocked.to_owned(),
            destination: "script".to_owned(),
            page: "/".to_owned(),
            enforced: true,
            count: 1,
            first_ms: at_ms,
            last_ms: at_ms,
        }
    }

    #[test]
    fn equal_reports_are_counted_and_the_oldest_go() {
        let mut known = Known { reports_max: 2, apps_max: 2, ..Known::default() };
        for (at_ms, blocked) in ["/a.js", "/b.js", "/a.js", "/c.js"].into_iter().enumerate() {
            known.note("shop", "prod", vec![report(blocked, at_ms as u64)], at_ms as u64);
        }
        let seen: Vec<_> =
            known.apps["shop"].places["prod"].iter().map(|one| (one.blocked.as_str(), one.count)).collect();
        assert_eq!(seen, [("/a.js", 2), ("/c.js", 1)]);
        known.note("blog", "prod", vec![report("/a.js", 9)], 9);
        known.note("third", "prod", vec![report("/a.js", 10)], 10);
        let mut apps: Vec<&String> = known.apps.keys().collect();
        apps.sort();
        assert_eq!(apps, ["blog", "third"]);
    }

    #[test]
    fn what_a_stranger_makes_up_pushes_out_nothing_that_many_saw() {
        let mut known = Known { reports_max: 10, apps_max: 2, ..Known::default() };
        for at_ms in 0..2 {
            known.note("shop", "prod", vec![report("/real.js", at_ms)], at_ms);
        }
        let invented = (0..1_000).map(|number| report(&format!("/{number}.js"), 10 + number)).collect();
        known.note("shop", "prod", invented, 2_000);
        known.note("shop", "prod", vec![report("/new.js", 3_000)], 3_000);
        let kept = &known.apps["shop"].places["prod"];
        let has = |blocked: &str| kept.iter().any(|one| one.blocked == blocked);
        assert_eq!((kept.len(), has("/real.js"), has("/new.js"), has("/0.js")), (10, true, true, false));
    }

    #[test]
    fn an_environment_is_forgotten_without_the_others_of_its_app() {
        let mut known = Known { reports_max: 2, apps_max: 2, ..Known::default() };
        for environment in ["prod", "staging"] {
            known.note("shop", environment, vec![report("/a.js", 1)], 1);
        }
        known.forget("shop", Some("staging"));
        assert_eq!(known.apps["shop"].places.keys().collect::<Vec<_>>(), ["prod"]);
        known.forget("shop", None);
        assert!(known.apps.is_empty());
    }

    #[test]
    fn nothing_is_kept_where_nothing_may_be() {
        let mut known = Known::default();
        known.note("shop", "prod", vec![report("/a.js", 1)], 1);
        assert!(known.apps.is_empty());
    }
}
