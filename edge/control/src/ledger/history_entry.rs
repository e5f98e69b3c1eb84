//! How large an entry of a history may be, and how much of a history is kept.
//!
//! What a push says of itself is refused where it is too long, as its sender can say it shorter. What the edge says of
//! a deploy is cut: the deploy itself has ended by then.

use devanture_config::api::Deploy;
use devanture_config::limits::Limits;

use super::Ledger;
use devanture_store::records::HistoryEntry;

/// The last line of a log that was cut.
pub(crate) const MORE_LINES: &str = "… and more";
/// A detail of an entry that is too long has at most this part of its bytes.
const DETAIL_PART: usize = 64;

/// What is kept of one kind of entries so far, the newest first.
#[derive(Default)]
pub(super) struct Kept {
    entries: u64,
    bytes: u64,
}

impl Kept {
    /// Counts another entry, and returns whether it is beyond what is kept.
    pub(super) fn add(&mut self, bytes: usize, limits: &Limits) -> bool {
        self.entries = self.entries.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.entries > limits.history_entries_max || self.bytes > limits.history_bytes_max
    }
}

impl Ledger {
    /// The entry of a deploy, within `history_entry_bytes_max`.
    pub(crate) fn entry_of(&self, deploy: Deploy, position: String) -> HistoryEntry {
        let bytes_max = usize::try_from(self.limits().history_entry_bytes_max).unwrap_or(usize::MAX);
        fitted(HistoryEntry { deploy: deploy.into(), position }, bytes_max)
    }
}

/// Cuts what the edge says of a deploy until all of its entry has at most so many bytes: first its details, then the
/// last lines of its log, and a message of the edge's own last.
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
        // In half of the entry, as JSON may take two bytes for one.
        cut(message, bytes_max / 4);
    }
    entry
}

/// Cuts a text to at most so many bytes, and a mark that it was cut.
fn cut(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.push('…');
    }
}

/// Bytes of what is stored of a value.
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
        // A message of the edge's own, such as the names of settings that changed.
        let message = Some("\"".repeat(BYTES_MAX * 2));
        let noted = entry(StoredDeploy {
            source: StoredSource { message, ..StoredSource::default() },
            ..pushed(VersionId::of(b""))
        });
        assert!(bytes_of(&fitted(noted, BYTES_MAX)) <= BYTES_MAX);
    }
}
