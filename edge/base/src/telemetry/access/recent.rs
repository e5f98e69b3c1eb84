//! Last lines of each app, remembered within limits.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use devanture_config::api::LogLine;

use super::readers::{LogWanted, NumberedLine};

/// Bytes of a line besides the strings.
const LINE_BYTES: usize = 256;
/// Maximum recorded removals of apps and environments.
const FORGOTTEN_MAX: usize = 64;

/// Last lines of each app.
pub(super) struct Kept {
    apps: HashMap<String, Lines>,
    /// Removals, oldest first: app, environment and time. An earlier request may be logged later.
    forgotten: VecDeque<(String, Option<String>, u64)>,
    bytes_max: usize,
    apps_max: usize,
    /// Number of lines so far.
    count: u64,
}

#[derive(Default)]
struct Lines {
    /// Lines, oldest first.
    lines: VecDeque<NumberedLine>,
    bytes: usize,
    /// Number of the last line.
    last: u64,
    /// True if older lines made room.
    is_cut: bool,
}

impl Kept {
    pub(super) fn new(bytes_max: usize, apps_max: usize) -> Self {
        Self { apps: HashMap::new(), forgotten: VecDeque::new(), bytes_max, apps_max, count: 0 }
    }

    /// Assigns a number to a line.
    pub(super) fn number(&mut self, line: Arc<LogLine>) -> NumberedLine {
        self.count += 1;
        NumberedLine { number: self.count, line }
    }

    /// Returns the number of the last line.
    pub(super) const fn last_number(&self) -> u64 {
        self.count
    }

    pub(super) fn keep(&mut self, line: NumberedLine) {
        let weight = weight(&line);
        let Some(app) = line.line.app.as_deref() else { return };
        if weight > self.bytes_max || self.apps_max == 0 {
            return;
        }
        if !self.apps.contains_key(app) {
            if self.apps.len() >= self.apps_max {
                // The app without lines for the longest time makes room.
                let silent = self.apps.iter().min_by_key(|(_, lines)| lines.last).map(|(app, _)| app.clone());
                silent.and_then(|app| self.apps.remove(&app));
            }
            self.apps.insert(app.to_owned(), Lines::default());
        }
        let Some(lines) = self.apps.get_mut(app) else { return };
        lines.last = line.number;
        lines.bytes += weight;
        lines.lines.push_back(line);
        while lines.bytes > self.bytes_max {
            let Some(oldest) = lines.lines.pop_front() else { break };
            lines.bytes = lines.bytes.saturating_sub(self::weight(&oldest));
            lines.is_cut = true;
        }
    }

    /// Forgets the lines of an app, or of one environment, for all requests before now.
    pub(super) fn forget(&mut self, app: &str, environment: Option<&str>, now_ms: u64) {
        match environment {
            None => drop(self.apps.remove(app)),
            Some(_) => {
                if let Some(lines) = self.apps.get_mut(app) {
                    lines.lines.retain(|line| line.environment.as_deref() != environment);
                    lines.bytes = lines.lines.iter().map(|line| weight(line)).sum();
                }
            }
        }
        self.forgotten.retain(|(other, place, _)| (other.as_str(), place.as_deref()) != (app, environment));
        if self.forgotten.len() >= FORGOTTEN_MAX {
            self.forgotten.pop_front();
        }
        self.forgotten.push_back((app.to_owned(), environment.map(str::to_owned), now_ms));
    }

    /// Returns true if the app or environment of a line was forgotten after the request arrived.
    pub(super) fn is_forgotten(&self, line: &LogLine) -> bool {
        let is_of = |(app, environment, at_ms): &(String, Option<String>, u64)| {
            line.app.as_deref() == Some(app.as_str())
                && (environment.is_none() || line.environment == *environment)
                && line.at_ms <= *at_ms
        };
        self.forgotten.iter().any(is_of)
    }

    /// Returns at most `last` matching lines, oldest first.
    pub(super) fn last(&self, wanted: &LogWanted, last: usize) -> Vec<NumberedLine> {
        let Some(lines) = self.apps.get(&wanted.app) else { return Vec::new() };
        let mut found: Vec<_> =
            lines.lines.iter().rev().filter(|line| wanted.takes(line)).take(last).cloned().collect();
        found.reverse();
        found
    }

    /// Returns the matching lines after the line with this number, oldest first.
    pub(super) fn after(&self, wanted: &LogWanted, number: u64) -> Vec<NumberedLine> {
        let Some(lines) = self.apps.get(&wanted.app) else { return Vec::new() };
        lines.lines.iter().filter(|line| line.number > number && wanted.takes(line)).cloned().collect()
    }

    /// Returns the time of the app's oldest remembered request, if lines after this number may have made room.
    pub(super) fn is_cut_after(&self, app: &str, number: u64) -> Option<u64> {
        let oldest = self.apps.get(app).filter(|lines| lines.is_cut)?.lines.front()?;
        (oldest.number > number.saturating_add(1)).then_some(oldest.at_ms)
    }

    /// Returns the time of the app's oldest remembered request, if older lines made room.
    pub(super) fn held_since(&self, app: &str) -> Option<u64> {
        let lines = self.apps.get(app).filter(|lines| lines.is_cut)?;
        lines.lines.front().map(|line| line.at_ms)
    }
}

fn weight(line: &LogLine) -> usize {
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    LINE_BYTES
        + line.target.len()
        + line.host.len()
        + line.method.len()
        + optional(&line.referer)
        + optional(&line.user_agent)
        + optional(&line.request_id)
        + optional(&line.upstream)
}
