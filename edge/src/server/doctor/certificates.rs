//! The ends of certificates: those of files, and those by ACME that the running edge has.

use std::path::Path;

use devanture_config::edge_toml::{EdgeFile, Tls};
use devanture_config::text::counted;

use super::finding::{Finding, Names};
use super::running::Running;
use super::scrape;
use crate::telemetry::now_ms;
use crate::tls::Certificates;

const CHECK: &str = "certificates";
/// Below so many days there is a warning, …
const DAYS_WARN: i64 = 14;
/// … and below so many a failure.
const DAYS_FAIL: i64 = 3;
const DAY_S: i64 = 86_400;

/// Looks at the ends.
pub(super) fn look(file: &EdgeFile, base: &Path, running: Option<&Running>, names: Names) -> Vec<Finding> {
    if matches!(file.tls, Tls::SelfSigned) {
        return vec![Finding::ok(CHECK, "a local authority signs them, for one machine and for tests")];
    }
    let mut ends = Certificates::ends_of_files(&file.tls, base);
    if let Some(running) = running {
        let issued = scrape::series(&running.metrics, "devanture_certificate_expiry_timestamp_seconds");
        let issued = issued.filter(|(labels, _)| labels.contains("source=\"acme\""));
        #[expect(clippy::cast_possible_truncation, reason = "a time in seconds")]
        ends.extend(issued.map(|(labels, end)| (scrape::label(labels, "name").unwrap_or("?").to_owned(), end as i64)));
    }
    let now_s = i64::try_from(now_ms() / 1_000).unwrap_or(i64::MAX);
    of_ends(&ends, now_s, names)
}

fn of_ends(ends: &[(String, i64)], now_s: i64, names: Names) -> Vec<Finding> {
    let days = |end: &i64| end.saturating_sub(now_s).div_euclid(DAY_S);
    let mut found: Vec<Finding> = Vec::new();
    for (name, end) in ends.iter().filter(|(_, end)| days(end) < DAYS_WARN) {
        let name = match names {
            Names::Shown => name,
            Names::Counted => "a name",
        };
        let advice = "renew it: docs/runbooks/certificates.md";
        let left = days(end);
        found.push(match left {
            ..0 => Finding::fail(CHECK, format!("that of {name} has expired"), advice),
            0..DAYS_FAIL => Finding::fail(CHECK, format!("that of {name} ends in {}", counted(left, "day")), advice),
            _ => Finding::warn(CHECK, format!("that of {name} ends in {}", counted(left, "day")), advice),
        });
    }
    if found.is_empty() {
        let first = ends.iter().map(|(_, end)| days(end)).min();
        let ends_in = first.map(|days| format!(", the first ends in {}", counted(days, "day"))).unwrap_or_default();
        found.push(Finding::ok(CHECK, format!("{} known{ends_in}", counted(ends.len(), "certificate"))));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn certificates_that_end_soon_are_named_with_their_days() {
        let end = |days: i64| ("shop.example.org".to_owned(), days * DAY_S + 60);
        for (days, level, words) in [
            (-1, Level::Fail, "shop.example.org has expired"),
            (2, Level::Fail, "ends in 2 days"),
            (10, Level::Warn, "ends in 10 days"),
            (30, Level::Ok, "the first ends in 30 days"),
        ] {
            let found = of_ends(&[end(days)], 0, Names::Shown);
            let [finding] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.found.contains(words), "{finding:?}");
        }
        let found = of_ends(&[end(1)], 0, Names::Counted);
        assert!(found.iter().all(|finding| !finding.found.contains("shop")), "{found:?}");
    }
}
