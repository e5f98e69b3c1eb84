//! Limits on the size of history entries and on the extent of histories.
//!
//! Overlong texts of a push are refused, since the sender can shorten the texts. Overlong texts of the edge are
//! truncated, since the deploy has already ended.

use devanture_config::api::Deploy;
use devanture_config::limits::Limits;

use super::Ledger;
use devanture_store::records::HistoryEntry;

/// Last line of a truncated log.
pub(crate) const MORE_LINES: &str = "… and more";
/// Truncated details of an entry get at most one part in so many of its bytes.
const DETAIL_PART: usize = 64;

/// Kept entries of one kind so far, newest first.
#[derive(Default)]
pub(super) struct Kept {
    entries: u64,
    bytes: u64,
}

impl Kept {
    /// Counts an entry. Returns true if the entry exceeds the limits.
    pub(super) fn add(&mut self, bytes: usize, limits: &Limits) -> bool {
        self.entries = self.entries.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.entries > limits.history_entries_max || self.bytes > limits.history_bytes_max
    }
}

impl Ledger {
    /// Returns the history entry of a deploy, within `history_entry_bytes_max`.
    pub(crate) fn entry_of(&self, deploy: Deploy, position: String) -> HistoryEntry {
        let bytes_max = usize::try_from(self.limits().history_entry_bytes_max).unwrap_or(usize::MAX);
        fitted(HistoryEntry { deploy: deploy.into(), position }, bytes_max)
    }
}

/// Truncates texts of the edge until the entry fits: first details, then the last log lines, finally the edge's own
/// message.
fn fitted(mut entry: HistoryEntry, bytes_max: usize) -> HistoryEntry {
    if bytes_of(&entry) <= bytes_max {
        return entry;
    }
    let deploy = &mut entry.deploy;
    let details = deploy.steps.iter_mut().map(|step| &mut step.detail);
    let details = details.chain(deploy.problem.iter_mut().map(|problem| &mut problem.detail));
    details.chain(&mut deploy.went_back).for_each(|text| cut(text, bytes_max / DETAIL_PART));
    let mut beyond = bytes_of(&entry).saturating_sub(bytes_max);
    if beyond > 0 && !entry.deploy.log.is_empty() {
        beyond = beyond.saturating_add(bytes_of(&MORE_LINES));
        while beyond > 0
            && let Some(line) = entry.deploy.log.pop()
        {
            beyond = beyond.saturating_sub(bytes_of(&line));
        }
        entry.deploy.log.push(MORE_LINES.to_owned());
    }
    if bytes_of(&entry) > bytes_max
        && let Some(message) = &mut entry.deploy.source.message
    {
        // Half of the bytes, since JSON may escape one byte as two.
        cut(message, bytes_max / 4);
    }
    entry
}

/// Truncates a text to a number of bytes, plus a mark of truncation.
fn cut(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.push('…');
    }
}

/// Returns the serialized size of a value.
fn bytes_of(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |bytes| bytes.len())
}

#[cfg(test)]
mod tests {
    use devanture_config::VersionId;
    use devanture_config::problem::Code;

    use super::*;
    use devanture_store::records::history::pushed;
    use devanture_store::records::{StoredDeploy, StoredProblem, StoredSource, StoredStep, StoredStepState};

    const BYTES_MAX: usize = 16_384;

    fn entry(deploy: StoredDeploy) -> HistoryEntry {
        HistoryEntry { deploy, position: "history/shop/prod/1".to_owned() }
    }

    #[test]
    fn what_fits_is_kept_as_it_is() {
        let log = vec!["a line".to_owned(); 100];
        let whole = entry(StoredDeploy { log, ..pushed(VersionId::of(b"")) });
        assert_eq!(fitted(whole.clone(), BYTES_MAX), whole);
    }

    #[test]
    fn of_an_entry_that_says_too_much_the_first_lines_stay_and_every_part_of_it_is_bounded() {
        let long = "😀\"".repeat(1_000);
        let step = |name: &str| StoredStep {
            name: name.to_owned(),
            state: StoredStepState::Failed,
            detail: long.clone(),
            ms: 1,
        };
        let message = Some("x".repeat(BYTES_MAX / 2 - 100));
        let deploy = StoredDeploy {
            log: (0..100).map(|number| format!("{number} {long}").chars().take(1_000).collect()).collect(),
            steps: ["verify", "compress", "release", "prepare", "smoke", "switch", "watch"].map(step).into(),
            problem: Some(StoredProblem { code: Code::BadRules, detail: long.clone() }),
            went_back: Some(long.clone()),
            source: StoredSource { message: message.clone(), ..StoredSource::default() },
            ..pushed(VersionId::of(b""))
        };
        let few = fitted(entry(StoredDeploy { log: vec!["first".to_owned(); 3], ..deploy.clone() }), BYTES_MAX);
        assert!(bytes_of(&few) <= BYTES_MAX && few.deploy.log == ["first"; 3], "{}", bytes_of(&few));
        assert!(few.deploy.steps.iter().all(|step| step.detail.ends_with('…') && step.detail.len() < 300));
        let many = fitted(entry(deploy.clone()), BYTES_MAX);
        assert!(bytes_of(&many) <= BYTES_MAX && many.deploy.source.message == message, "{}", bytes_of(&many));
        assert_eq!(many.deploy.log.last().map(String::as_str), Some(MORE_LINES));
        assert!(many.deploy.log.len() < 5 && many.deploy.log.iter().all(|line| line.len() < 5_000));
        // A message of the edge itself, for example names of changed settings.
        let message = Some("\"".repeat(BYTES_MAX * 2));
        let noted = entry(StoredDeploy {
            source: StoredSource { message, ..StoredSource::default() },
            ..pushed(VersionId::of(b""))
        });
        assert!(bytes_of(&fitted(noted, BYTES_MAX)) <= BYTES_MAX);
    }
}
