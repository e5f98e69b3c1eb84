//! Removes the oldest history entries and the oldest tombstones beyond the limits.
//!
//! Both grow with every deploy, pause and deletion; without limits, a token could fill the disk.

use devanture_config::AppName;

use super::{Pass, app_of};
use crate::ledger::Error;
use crate::retention::Retention;
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{Change, Commit};
use devanture_store::records::gone::{self, GoneVersion};
use devanture_store::records::{self};

/// Records deleted per commit.
const COMMIT_RECORDS: usize = 100;

impl Retention {
    /// Removes records beyond the limits in every app.
    pub(super) async fn forget_oldest(&self, pass: &Pass) -> Result<(), Error> {
        if pass.dry_run {
            return Ok(());
        }
        let mut apps = Scan::new(&*self.ledger.catalog, records::APPS_PREFIX);
        while let Some((key, _)) = apps.next().await? {
            let Some(app) = app_of(&key) else { continue };
            for environment in self.environments.places.names_of(&app, usize::MAX).await? {
                let Ok(environment) = environment.parse() else { continue };
                self.ledger.forget_history(&app, &environment).await?;
            }
            self.forget_gone(&app).await?;
        }
        Ok(())
    }

    /// Deletes the oldest tombstones of an app's unrestorable versions. Tombstones that keep paths withdrawn go last,
    /// so that pushes and deletions of others cannot undo a withdrawal.
    async fn forget_gone(&self, app: &AppName) -> Result<(), Error> {
        let prefix = gone::gone_prefix(app);
        let max = usize::try_from(self.ledger.limits().history_entries_max).unwrap_or(usize::MAX);
        let last_withdrawal_ms = self.last_withdrawal_ms(app).await?;
        let mut ended: Vec<(bool, u64, String)> = Vec::new();
        let mut versions = Scan::new(&*self.ledger.catalog, prefix);
        while let Some((key, record)) = versions.next().await? {
            let (is_needed, at_ms) = match records::read::<GoneVersion>(&key, &record) {
                Ok(gone) if gone.record.is_some() => continue,
                Ok(gone) => (last_withdrawal_ms.is_some_and(|last_ms| gone.stored_ms <= last_ms), gone.at_ms),
                Err(_damaged) => (false, 0),
            };
            ended.push((is_needed, at_ms, key));
        }
        let beyond = ended.len().saturating_sub(max);
        if beyond == 0 {
            return Ok(());
        }
        ended.sort_unstable();
        ended.truncate(beyond);
        for some in ended.chunks(COMMIT_RECORDS) {
            let changes = some.iter().map(|(.., key)| Change::Delete(key.clone())).collect();
            self.collected(Commit { checks: Vec::new(), changes }).await?;
        }
        Ok(())
    }
}
