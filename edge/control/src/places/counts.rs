//! Usage of an app against the limits, and the refusal above a limit.

use devanture_config::AppName;
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;

use super::Places;
use crate::ledger::Error;
use devanture_store::catalog::scan::Scan;
use devanture_store::records::{self, VersionRecord};

/// Usage of an app.
pub(crate) struct Counts {
    pub(crate) versions: u64,
    /// Files in the largest version.
    pub(crate) version_files_most: u64,
    pub(crate) aliases: u64,
    pub(crate) environments: u64,
    /// Hostnames of all environments.
    pub(crate) hostnames: u64,
}

impl Places {
    /// Counts the usage of an app in the same way as the limits.
    pub(crate) async fn counts(&self, app: &AppName) -> Result<Counts, Error> {
        let catalog = &*self.ledger.catalog;
        let (mut versions, mut version_files_most) = (0_u64, 0);
        let mut stored = Scan::new(catalog, records::versions_prefix(app));
        while let Some((key, record)) = stored.next().await? {
            versions = versions.saturating_add(1);
            // A damaged record counts as a version too.
            let files = records::read::<VersionRecord>(&key, &record).map_or(0, |version| version.files);
            version_files_most = files.max(version_files_most);
        }
        let mut hostnames = 0_u64;
        let mut all = Scan::new(catalog, records::HOSTNAMES_PREFIX.to_owned());
        while let Some((key, record)) = all.next().await? {
            let is_own = records::hostname(&key, &record).is_some_and(|owner| owner.app == *app);
            hostnames = hostnames.saturating_add(u64::from(is_own));
        }
        let aliases = catalog.list(&records::alias_prefix(app), None, false, usize::MAX).await?.len();
        let environments = self.counted_names_of(app, usize::MAX).await?.len();
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        Ok(Counts {
            versions,
            version_files_most,
            aliases: count(aliases),
            environments: count(environments),
            hostnames,
        })
    }
}

/// Checks that an app with `used` items of a kind may have an additional item.
///
/// # Errors
/// `too_many`.
pub(crate) fn check_count(
    app: &AppName,
    thing: &str,
    used: usize,
    limit: &str,
    max: u64,
    hint: &str,
) -> Result<(), Error> {
    let used = u64::try_from(used).unwrap_or(u64::MAX);
    if used < max {
        return Ok(());
    }
    let detail = format!("The app {app} has {} already.", counted(used, thing));
    Err(Problem::new(Code::TooMany, detail).hint(hint).limit(limit, max, used).into())
}
