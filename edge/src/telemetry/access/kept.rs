//! The last lines of each app, remembered within bounds for whoever asks what has just been.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use devanture_config::logs::LogLine;

use super::readers::LogWanted;

/// What a line takes beside its texts.
const LINE_BYTES: usize = 256;

/// The last lines of each app.
pub(super) struct Kept {
    apps: HashMap<String, Lines>,
    bytes_max: usize,
    apps_max: usize,
    /// Lines that were kept so far.
    count: u64,
}

#[derive(Default)]
struct Lines {
    /// Oldest first.
    lines: VecDeque<Arc<LogLine>>,
    bytes: usize,
    /// The number of the last one.
    last: u64,
}

impl Kept {
    pub(super) fn new(bytes_max: usize, apps_max: usize) -> Self {
        Self { apps: HashMap::new(), bytes_max, apps_max, count: 0 }
    }

    pub(super) fn keep(&mut self, line: Arc<LogLine>) {
        let weight = weight(&line);
        let Some(app) = line.app.as_deref() else { return };
        if weight > self.bytes_max || self.apps_max == 0 {
            return;
        }
        if !self.apps.contains_key(app) {
            if self.apps.len() >= self.apps_max {
                // The app that was silent for longest makes room.
                let silent = self.apps.iter().min_by_key(|(_, lines)| lines.last).map(|(app, _)| app.clone());
                silent.and_then(|app| self.apps.remove(&app));
            }
            self.apps.insert(app.to_owned(), Lines::default());
        }
        self.count += 1;
        let Some(lines) = self.apps.get_mut(app) else { return };
        lines.last = self.count;
        lines.bytes += weight;
        lines.lines.push_back(line);
        while lines.bytes > self.bytes_max {
            let Some(oldest) = lines.lines.pop_front() else { break };
            lines.bytes = lines.bytes.saturating_sub(self::weight(&oldest));
        }
    }

    /// At most `last` of the lines that are wanted, oldest first.
    pub(super) fn last(&self, wanted: &LogWanted, last: usize) -> Vec<Arc<LogLine>> {
        let Some(lines) = self.apps.get(&wanted.app) else { return Vec::new() };
        let mut found: Vec<_> =
            lines.lines.iter().rev().filter(|line| wanted.takes(line)).take(last).cloned().collect();
        found.reverse();
        found
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
}
