//! Which revisions of an environment's settings are kept: the newest, and those that the latest switches went live
//! with.

use std::collections::BTreeSet;

use devanture_config::api::{DeployKind, Outcome};
use devanture_config::{AppName, PlaceName};

use super::Settings;
use crate::ledger::{Error, PART_CHANGES_MAX};
use devanture_store::catalog::{Change, Commit};
use devanture_store::records::history;
use devanture_store::records::settings::{revision_of, settings_prefix};
use devanture_store::records::{self, HistoryEntry};

/// Entries of the history that are read at most.
const ENTRIES_MAX: usize = 20_000;

impl Settings {
    /// Adds to a commit that makes a revision the deletion of those that are not kept any longer; what one commit does
    /// not take goes with later ones.
    pub(super) async fn prune_settings(
        &self,
        app: &AppName,
        environment: &PlaceName,
        commit: &mut Commit,
    ) -> Result<(), Error> {
        let kept_max = usize::try_from(self.ledger.limits().settings_revisions_max).unwrap_or(usize::MAX);
        let records = self.ledger.catalog.list(&settings_prefix(app, environment), None, true, usize::MAX).await?;
        // The commit makes one more.
        let old: Vec<String> = records.into_iter().map(|(key, _)| key).skip(kept_max.saturating_sub(1)).collect();
        if old.is_empty() {
            return Ok(());
        }
        let within_reach = self.settings_in_reach(app, environment, kept_max).await?;
        let gone = old.into_iter().filter(|key| revision_of(key).is_none_or(|number| !within_reach.contains(&number)));
        commit.changes.extend(gone.take(PART_CHANGES_MAX).map(Change::Delete));
        Ok(())
    }

    /// The revisions that the latest `switches_max` switches went live with, and those that held at their ends: what a
    /// rollback can restore.
    async fn settings_in_reach(
        &self,
        app: &AppName,
        environment: &PlaceName,
        switches_max: usize,
    ) -> Result<BTreeSet<u64>, Error> {
        let prefix = records::history_prefix(app, environment);
        let (mut found, mut switches) = (BTreeSet::new(), 0);
        // Of the changes while one version was live, the last one holds at its end.
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
