//! Finds the switches among the entries of a history, page by page.

use std::collections::BTreeSet;

use devanture_config::VersionId;

use crate::catalog::scan::Scan;
use crate::catalog::{Catalog, Error};
use crate::records::{self, HistoryEntry, StoredDeploy, StoredKind, StoredOutcome};

/// Entries in memory at once during a walk over a history: an entry may have hundreds of KiB of push output.
const ENTRIES_AT_ONCE: usize = 32;
/// Upper bound of entries read. Pauses and failed pushes are entries, too: a history with so many of them in a row
/// hides the switches before.
const ENTRIES_MAX: usize = 20_000;

/// A move of a live pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// The new live version.
    pub version: VersionId,
    /// The revision of the version's settings at the end of its time, or now.
    pub settings: u64,
    /// The version that was live until then.
    pub previous: Option<VersionId>,
    /// Time of the switch, in milliseconds since 1970 UTC.
    pub at_ms: u64,
}

/// Goes through the history below `prefix`, the last entry first.
pub fn entries(catalog: &dyn Catalog, prefix: impl Into<String>) -> Scan<'_> {
    Scan::new(catalog, prefix).newest_first().pages_of(ENTRIES_AT_ONCE)
}

/// Returns the switches of the history below `prefix`, newest first: back to the switch to the version that was live at
/// `since_ms`, or until `versions_max` versions are found.
///
/// # Errors
/// [`Error::Store`].
pub async fn switches(
    catalog: &dyn Catalog,
    prefix: &str,
    since_ms: u64,
    versions_max: usize,
) -> Result<Vec<Switch>, Error> {
    let (mut found, mut versions, mut last_change) = (Vec::new(), BTreeSet::new(), None);
    let mut entries = entries(catalog, prefix).at_most(ENTRIES_MAX);
    while let Some((key, record)) = entries.next().await? {
        let deploy = match records::read::<HistoryEntry>(&key, &record) {
            Ok(entry) => entry.deploy,
            Err(error) => {
                tracing::error!(key, %error, "an entry of the history cannot be read and is passed over");
                continue;
            }
        };
        if deploy.outcome != StoredOutcome::Live {
            // Of several changes while one version was live, the last applies at its end.
            if deploy.kind == StoredKind::Settings {
                last_change.get_or_insert(deploy.settings);
            }
            continue;
        }
        versions.insert(deploy.version);
        if versions.len() > versions_max {
            return Ok(found);
        }
        let StoredDeploy { version, settings, previous, at_ms, .. } = deploy;
        let settings = last_change.take().unwrap_or(settings);
        found.push(Switch { version, settings, previous, at_ms });
        // The version of this switch was live at that moment; all earlier versions ended before.
        if at_ms <= since_ms {
            return Ok(found);
        }
    }
    if !entries.was_cut() {
        return Ok(found);
    }
    tracing::warn!(prefix, entries = ENTRIES_MAX, "a history has too many entries to find every switch in it");
    Ok(found)
}

/// For tests: a push to `prod` after which `version` is live.
#[must_use]
#[cfg(any(test, feature = "testing"))]
pub fn pushed(version: VersionId) -> StoredDeploy {
    StoredDeploy {
        id: "1".to_owned(),
        kind: StoredKind::Push,
        environment: devanture_config::PlaceName::prod(),
        version,
        previous: None,
        who: "ada".to_owned(),
        at_ms: 1,
        source: records::StoredSource::default(),
        steps: Vec::new(),
        outcome: StoredOutcome::Live,
        alias: None,
        problem: None,
        log: Vec::new(),
        settings: 0,
        went_back: None,
        reason: None,
        halves: None,
        with: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Change, Commit};
    use devanture_config::PlaceName;

    #[tokio::test]
    async fn a_switch_has_the_settings_of_the_last_change_while_its_version_was_live() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = crate::catalog::open(&folder.path().join("catalog.redb")).unwrap();
        let (app, prod) = ("shop".parse().unwrap(), PlaceName::prod());
        let (one, two) = (VersionId::of(b"1"), VersionId::of(b"2"));
        let settings = |version, settings| {
            let (kind, outcome) = (StoredKind::Settings, StoredOutcome::Done);
            StoredDeploy { kind, outcome, settings, ..pushed(version) }
        };
        let paused = StoredDeploy { kind: StoredKind::Pause, outcome: StoredOutcome::Done, settings: 9, ..pushed(one) };
        let deploys = [
            StoredDeploy { settings: 1, ..pushed(one) },
            settings(one, 2),
            settings(one, 3),
            paused,
            StoredDeploy { settings: 3, ..pushed(two) },
        ];
        let entries = (1..).zip(deploys).map(|(number, deploy)| {
            let entry = HistoryEntry { deploy: StoredDeploy { at_ms: number, ..deploy }, position: String::new() };
            Change::Put(records::history_key(&app, &prod, number), records::write(&entry).unwrap())
        });
        catalog.commit(Commit { checks: Vec::new(), changes: entries.collect() }).await.unwrap();
        let found = switches(&*catalog, &records::history_prefix(&app, &prod), 0, 9).await.unwrap();
        let found: Vec<_> = found.iter().map(|switch| (switch.version, switch.settings)).collect();
        assert_eq!(found, [(two, 3), (one, 3)]);
    }

    #[tokio::test]
    async fn what_is_no_switch_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = crate::catalog::open(&folder.path().join("catalog.redb")).unwrap();
        let (app, prod) = ("shop".parse().unwrap(), PlaceName::prod());
        let id = |number: u64| VersionId::of(&number.to_be_bytes());
        // Of seven hundred entries, one in a hundred is a switch; two versions alternate.
        let mut changes = Vec::new();
        for number in 1..=700_u64 {
            let outcome = if number % 100 == 0 { StoredOutcome::Live } else { StoredOutcome::Failed };
            let deploy = StoredDeploy { at_ms: number, outcome, ..pushed(id(number / 100 % 2)) };
            let entry = HistoryEntry { deploy, position: String::new() };
            let key = records::history_key(&app, &prod, number);
            changes.push(Change::Put(key, records::write(&entry).unwrap()));
        }
        catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
        let prefix = records::history_prefix(&app, &prod);
        for (since_ms, versions_max, expected) in [
            (0, 9, &[700, 600, 500, 400, 300, 200, 100][..]),
            (300, 9, &[700, 600, 500, 400, 300]),
            (350, 9, &[700, 600, 500, 400, 300]),
            (700, 9, &[700]),
            (0, 2, &[700, 600, 500, 400, 300, 200, 100]),
            (0, 1, &[700]),
            (0, 0, &[]),
        ] {
            let found = switches(&*catalog, &prefix, since_ms, versions_max).await.unwrap();
            let times: Vec<u64> = found.iter().map(|switch| switch.at_ms).collect();
            assert_eq!(times, expected, "{since_ms} {versions_max}");
        }
    }
}
