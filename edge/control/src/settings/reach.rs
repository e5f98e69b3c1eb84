//! Retention of settings revisions: the newest revisions, and the revisions of the latest switches.

use std::collections::BTreeSet;

use devanture_config::api::{DeployKind, Outcome};
use devanture_config::{AppName, PlaceName};

use super::Settings;
use crate::ledger::{Error, PART_CHANGES_MAX};
use devanture_store::catalog::{Change, Commit};
use devanture_store::records::history;
use devanture_store::records::settings::{revision_of, settings_prefix};
use devanture_store::records::{self, HistoryEntry};

/// Maximum number of history entries to read.
const ENTRIES_MAX: usize = 20_000;

impl Settings {
    /// Adds the deletion of expired revisions to a commit that creates a revision. Deletions beyond the size of a
    /// commit are left to later commits.
    pub(super) async fn prune_settings(
        &self,
        app: &AppName,
        environment: &PlaceName,
        commit: &mut Commit,
    ) -> Result<(), Error> {
        let kept_max = usize::try_from(self.ledger.limits().settings_revisions_max).unwrap_or(usize::MAX);
        let records = self.ledger.catalog.list(&settings_prefix(app, environment), None, true, usize::MAX).await?;
        // The commit adds a revision.
        let old: Vec<String> = records.into_iter().map(|(key, _)| key).skip(kept_max.saturating_sub(1)).collect();
        if old.is_empty() {
            return Ok(());
        }
        let within_reach = self.settings_in_reach(app, environment, kept_max).await?;
        let gone = old.into_iter().filter(|key| revision_of(key).is_none_or(|number| !within_reach.contains(&number)));
        commit.changes.extend(gone.take(PART_CHANGES_MAX).map(Change::Delete));
        Ok(())
    }

    /// Returns the revisions that a rollback can restore: the revisions at the start and at the end of the latest
    /// `switches_max` live versions.
    async fn settings_in_reach(
        &self,
        app: &AppName,
        environment: &PlaceName,
        switches_max: usize,
    ) -> Result<BTreeSet<u64>, Error> {
        let prefix = records::history_prefix(app, environment);
        let (mut found, mut switches) = (BTreeSet::new(), 0);
        // The last settings change of a live version is the state at the end of the version.
        let mut is_last_change = true;
        let entries = history::entries(&*self.ledger.catalog, prefix);
        let mut entries = entries.at_most(ENTRIES_MAX);
        while let Some((key, record)) = entries.next().await? {
            let Some(HistoryEntry { deploy, .. }) = records::entry(&key, &record) else { continue };
            if deploy.outcome == Outcome::Live {
                if switches == switches_max {
                    return Ok(found);
                }
                switches += 1;
                is_last_change = true;
                found.insert(deploy.settings);
            } else if deploy.kind == DeployKind::Settings && is_last_change {
                is_last_change = false;
                found.insert(deploy.settings);
            }
        }
        Ok(found)
    }
}
