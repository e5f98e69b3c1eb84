//! Detection of risen errors after a switch: shares, paths, and attribution to the switch.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use devanture_config::api::LogLine;
use devanture_config::edge_toml::Watch;
use devanture_config::text::counted;
use http::StatusCode;

use super::smoke::printable;
use devanture_base::telemetry::{Answers, LogEvent, LogReader};
use devanture_serve::live::{Current, has_nothing_at};

/// Most paths of bad answers counted separately.
const PATHS_MAX: usize = 1_000;
/// Most of these paths reported.
const PATHS_TOLD: usize = 5;
/// Characters shown of a path.
const PATH_CHARACTERS: usize = 120;

/// Risen share of bad answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rise {
    /// `404` or `5xx`.
    pub(super) kind: &'static str,
    before: (u64, u64),
    after: (u64, u64),
}

/// Returns the first share above the permitted rise.
pub(super) fn rise(settings: &Watch, before: Answers, after: Answers) -> Option<Rise> {
    if after.requests < settings.requests_min {
        return None;
    }
    let kinds = [
        ("5xx", before.server_errors, after.server_errors, settings.server_error_points),
        ("404", before.not_found, after.not_found, settings.not_found_points),
    ];
    let rises = kinds.into_iter().find(|(_, was, is, points)| {
        // Shares are compared by cross-multiplication; without earlier requests, the earlier share is zero.
        let (was, is) = (u128::from(*was), u128::from(*is));
        let (all_before, all_after) = (u128::from(before.requests.max(1)), u128::from(after.requests));
        let (was, all) = (was.saturating_mul(all_after), all_before.saturating_mul(all_after));
        let is = is.saturating_mul(all_before);
        let points = all.saturating_mul(u128::from(*points));
        u128::from(settings.errors_min).saturating_mul(all_before) <= is
            && is > was.saturating_mul(u128::from(settings.factor))
            && is.saturating_mul(100) >= was.saturating_mul(100).saturating_add(points)
    });
    rises.map(|(kind, was, is, _)| Rise { kind, before: (was, before.requests), after: (is, after.requests) })
}

impl std::fmt::Display for Rise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, before, after } = self;
        write!(
            f,
            "{kind} rose from {} ({} of {}) to {} ({} of {})",
            percent(*before),
            before.0,
            counted(before.1, "request"),
            percent(*after),
            after.0,
            after.1
        )
    }
}

/// Formats a number of requests.
pub(super) fn requests(answers: Answers) -> String {
    counted(answers.requests, "request")
}

/// Formats the errors after and before a switch.
pub(super) fn summary(before: Answers, after: Answers) -> String {
    let share = |bad: fn(&Answers) -> u64, answers: &Answers| percent((bad(answers), answers.requests));
    let text = |bad: fn(&Answers) -> u64| format!("{} (before {})", share(bad, &after), share(bad, &before));
    format!("{}, 5xx {}, 404 {}", requests(after), text(|a| a.server_errors), text(|a| a.not_found))
}

/// Formats a percentage with one decimal, in integers.
fn percent((part, all): (u64, u64)) -> String {
    let tenths = if all == 0 { 0 } else { u128::from(part) * 1_000 / u128::from(all) };
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// Individual bad answers after a switch: their paths, and those unrelated to the switch.
#[derive(Default)]
pub(super) struct BadAnswers {
    /// Number by path.
    paths: BTreeMap<String, u64>,
    /// Previously served version, if known.
    before: Option<Arc<Current>>,
    /// Examined answers with 404.
    not_found: u64,
    /// Examined answers that would also have been 404 before: anyone can request unknown paths.
    never_there: u64,
    /// Lost lines.
    lost: u64,
}

impl BadAnswers {
    /// Starts empty, after a switch from `before`.
    pub(super) fn after(before: Option<Arc<Current>>) -> Self {
        Self { before, ..Self::default() }
    }

    /// Subtracts answers unrelated to the switch; among unexamined answers, the same share is subtracted.
    pub(super) fn without_never_there(&self, answers: Answers) -> Answers {
        let share = u128::from(answers.not_found) * u128::from(self.never_there) / u128::from(self.not_found.max(1));
        let known = u64::try_from(share).unwrap_or(u64::MAX).min(answers.not_found);
        Answers {
            requests: answers.requests.saturating_sub(known),
            not_found: answers.not_found - known,
            server_errors: answers.server_errors,
        }
    }

    /// Returns true if lines of the answers are still to come.
    pub(super) fn are_behind(&self, answers: Answers) -> bool {
        self.not_found.saturating_add(self.lost) < answers.not_found
    }

    /// Examines an answer.
    pub(super) fn count(&mut self, line: &LogLine) {
        if line.status == StatusCode::NOT_FOUND.as_u16() {
            self.not_found += 1;
            self.never_there += u64::from(self.before.as_ref().is_some_and(|before| has_nothing_at(before, line)));
        }
        let path = printable(line.target.split('?').next().unwrap_or_default(), PATH_CHARACTERS);
        let path = format!("{path} {}", line.status);
        if self.paths.len() < PATHS_MAX || self.paths.contains_key(&path) {
            *self.paths.entry(path).or_default() += 1;
        }
    }

    /// Reads lines until `until`.
    pub(super) async fn read_until(&mut self, reader: &mut Option<LogReader>, until: tokio::time::Instant) {
        let Some(lines) = reader else { return tokio::time::sleep_until(until).await };
        loop {
            match tokio::time::timeout_at(until, lines.next()).await {
                Ok(Some(LogEvent::Line(line))) => self.count(&line),
                Ok(Some(LogEvent::Lost(lost))) => self.lost = self.lost.saturating_add(lost),
                Ok(None) => {
                    *reader = None;
                    return tokio::time::sleep_until(until).await;
                }
                Err(_elapsed) => return,
            }
        }
    }

    pub(super) fn listed(&self) -> String {
        let mut paths: Vec<(&String, &u64)> = self.paths.iter().collect();
        paths.sort_by_key(|(path, count)| (std::cmp::Reverse(**count), *path));
        let mut text = String::new();
        for (index, (path, count)) in paths.into_iter().take(PATHS_TOLD).enumerate() {
            write!(text, "{} {path} ({count})", if index == 0 { ": most of them" } else { "," }).ok();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answers(requests: u64, not_found: u64, server_errors: u64) -> Answers {
        Answers { requests, not_found, server_errors }
    }

    #[test]
    fn a_rise_is_more_than_a_few_and_more_than_it_was() {
        let kind = |before, after| rise(&Watch::default(), before, after).map(|rise| rise.kind);
        let quiet = answers(1_000, 10, 1);
        for (before, after, expected) in [
            (quiet, answers(0, 0, 0), None),
            (quiet, answers(19, 19, 19), None),
            (quiet, answers(20, 0, 4), None),
            (quiet, answers(20, 0, 5), Some("5xx")),
            (quiet, answers(1_000, 0, 10), None),
            (quiet, answers(1_000, 0, 11), Some("5xx")),
            (quiet, answers(1_000, 59, 0), None),
            (quiet, answers(1_000, 60, 0), Some("404")),
            // A doubled share alone does not suffice, nor a small rise of a large share.
            (answers(100, 0, 30), answers(100, 0, 60), None),
            (answers(100, 0, 30), answers(100, 0, 61), Some("5xx")),
            // No earlier visitors.
            (answers(0, 0, 0), answers(100, 4, 0), None),
            (answers(0, 0, 0), answers(100, 5, 0), Some("404")),
        ] {
            assert_eq!(kind(before, after), expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn what_was_seen_is_reported_in_counts_and_paths() {
        let rise = rise(&Watch::default(), answers(200, 1, 0), answers(40, 20, 0)).unwrap();
        assert_eq!(rise.to_string(), "404 rose from 0.5 % (1 of 200 requests) to 50.0 % (20 of 40)");
        let mut paths = BadAnswers::default();
        for (path, count) in [("/a 404", 1), ("/b 404", 9), ("/c 404", 3)] {
            paths.paths.insert(path.to_owned(), count);
        }
        assert_eq!(paths.listed(), ": most of them /b 404 (9), /c 404 (3), /a 404 (1)");
        assert_eq!(
            summary(answers(0, 0, 0), answers(1, 1, 0)),
            "1 request, 5xx 0.0 % (before 0.0 %), 404 100.0 % (before 0.0 %)"
        );
    }

    #[test]
    fn what_was_missing_before_is_no_fault_of_the_switch() {
        let bad = |not_found, never_there, lost| BadAnswers { not_found, never_there, lost, ..BadAnswers::default() };
        for (seen, after, without) in [
            (bad(0, 0, 0), answers(40, 20, 1), answers(40, 20, 1)),
            (bad(20, 20, 0), answers(40, 20, 1), answers(20, 0, 1)),
            (bad(20, 5, 0), answers(40, 20, 1), answers(35, 15, 1)),
            // Half of the lines were lost, and are estimated from the others.
            (bad(10, 5, 10), answers(40, 20, 0), answers(30, 10, 0)),
            // Lines of requests not yet counted.
            (bad(30, 30, 0), answers(20, 20, 0), answers(0, 0, 0)),
        ] {
            assert_eq!(seen.without_never_there(after), without, "{after:?}");
        }
        assert!(bad(9, 0, 0).are_behind(answers(10, 10, 0)) && !bad(9, 0, 1).are_behind(answers(10, 10, 0)));
    }

    proptest! {
        #[test]
        fn nothing_rises_where_answers_are_as_they_were(all in 1_u64..1_000_000, bad in 0_u64..1_000_000, times in 1_u64..1_000) {
            let before = answers(all, bad.min(all), 0);
            let after = answers(all * times, bad.min(all) * times, 0);
            prop_assert_eq!(rise(&Watch::default(), before, after), None);
        }

        #[test]
        fn no_number_breaks_the_comparison(before in any::<[u64; 3]>(), after in any::<[u64; 3]>()) {
            let [a, b, c] = before;
            let [d, e, f] = after;
            let _rise = rise(&Watch::default(), answers(a, b, c), answers(d, e, f));
        }
    }
}
