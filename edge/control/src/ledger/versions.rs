//! Looks up versions in the catalog: stored, deleted or collected.

use std::collections::BTreeSet;

use devanture_config::api::{Deploy, Outcome};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::date_time;
use devanture_config::{AppName, IdPrefix, VersionId};

use super::gone::ambiguous;
use super::{Error, Ledger};
use devanture_base::clock;
use devanture_store::catalog::{Change, Check, Commit};
use devanture_store::records;
use devanture_store::records::gone::{self, GoneVersion};

impl Ledger {
    /// Resolves `typed` to a version of `app`.
    ///
    /// # Errors
    /// `not_found`, `version_collected`, `ambiguous_id` and `bad_request`.
    pub async fn resolve_version(&self, app: &AppName, typed: &str) -> Result<VersionId, Error> {
        let prefix: IdPrefix = typed.parse().map_err(|error: devanture_config::BadIdPrefix| {
            Problem::new(Code::BadRequest, error.to_string()).hint("`devanture history` lists the versions")
        })?;
        let below = format!("{}{prefix}", records::versions_prefix(app));
        let found = self.catalog.list(&below, None, false, 3).await?;
        let ids: Vec<VersionId> = found.iter().filter_map(|(key, _)| key.rsplit('/').next()?.parse().ok()).collect();
        match ids.as_slice() {
            [] => Err(self.gone_by_prefix(app, &prefix).await?),
            [id] => Ok(*id),
            [one, other, ..] => {
                let detail = format!(
                    "{prefix} is the beginning of several versions, such as {} and {}.",
                    one.short(),
                    other.short()
                );
                Err(Problem::new(Code::AmbiguousId, detail).hint("give more characters of the id").into())
            }
        }
    }

    /// Adds a check against the concurrent deletion of a version to a commit that points at the version: the later of
    /// the two commits fails.
    ///
    /// # Errors
    /// `not_found` and `version_collected` for a version gone meanwhile.
    pub(crate) async fn hold_version(
        &self,
        commit: &mut Commit,
        app: &AppName,
        version: &VersionId,
        is_new_pointer: bool,
    ) -> Result<(), Error> {
        let key = records::version_key(app, version);
        let Some(record) = self.catalog.get(&key).await? else { return Err(self.gone_problem(app, version).await?) };
        commit.checks.push(Check::At(key, record.revision));
        // No version of a deleted app goes live.
        commit.checks.push(Check::Absent(gone::deleted_app_key(app)));
        if is_new_pointer {
            // A deletion checks every existing pointer, and detects new pointers by the app's record, which is
            // rewritten unchanged.
            let app_key = records::app_key(app);
            if let Some(record) = self.catalog.get(&app_key).await? {
                commit.changes.push(Change::Put(app_key, record.value));
            }
        }
        Ok(())
    }

    /// Returns true if a version is stored and not deleted.
    pub(crate) async fn is_stored(&self, app: &AppName, version: &VersionId) -> Result<bool, Error> {
        Ok(self.catalog.get(&records::version_key(app, version)).await?.is_some())
    }

    /// Checks that a version is stored.
    ///
    /// # Errors
    /// `not_found` and `version_collected`.
    pub(crate) async fn must_be_stored(&self, app: &AppName, version: &VersionId) -> Result<(), Error> {
        if self.is_stored(app, version).await? { Ok(()) } else { Err(self.gone_problem(app, version).await?) }
    }

    /// Returns the versions of the deploys that were deleted or collected since; a failed deploy may never have stored
    /// its version.
    pub(crate) async fn gone(
        &self,
        app: &AppName,
        deploys: &[Deploy],
    ) -> Result<(Vec<VersionId>, Vec<VersionId>), Error> {
        let stored = deploys.iter().filter(|deploy| deploy.outcome != Outcome::Failed);
        let versions: Vec<VersionId> =
            stored.map(|deploy| deploy.version).collect::<BTreeSet<_>>().into_iter().collect();
        let keys: Vec<String> = versions.iter().map(|version| records::version_key(app, version)).collect();
        let found = self.catalog.get_all(&keys).await?;
        let missing = versions.into_iter().zip(found).filter(|(_, record)| record.is_none());
        let missing: Vec<VersionId> = missing.map(|(version, _)| version).collect();
        let keys: Vec<String> = missing.iter().map(|version| gone::gone_key(app, version)).collect();
        let found = self.catalog.get_all(&keys).await?;
        let (mut deleted, mut collected) = (Vec::new(), Vec::new());
        for ((version, key), record) in missing.into_iter().zip(keys).zip(found) {
            let gone: Option<GoneVersion> = record.map(|record| records::read(&key, &record)).transpose()?;
            let list = if gone.is_some_and(|gone| gone.collected) { &mut collected } else { &mut deleted };
            list.push(version);
        }
        Ok((deleted, collected))
    }

    /// Returns the reason for the absence of a version.
    pub(crate) async fn gone_problem(&self, app: &AppName, version: &VersionId) -> Result<Error, Error> {
        let key = gone::gone_key(app, version);
        let gone =
            self.catalog.get(&key).await?.map(|record| records::read::<GoneVersion>(&key, &record)).transpose()?;
        let short = version.short();
        let Some(gone) = gone else {
            let problem = Problem::new(Code::NotFound, format!("The app {app} has no version {short}."));
            return Ok(problem.hint("it was deleted, or never pushed; push its bundle to store it").into());
        };
        let at = date_time(gone.at_ms);
        if gone.collected {
            let detail =
                format!("The version {short} of the app {app} was collected on {at}: it was old, and nothing held it.");
            return Ok(Problem::new(Code::VersionCollected, detail)
                .hint("push its bundle again: it gets the same id; `[retention]` in edge.toml says what is kept")
                .into());
        }
        let detail = format!("The version {short} of the app {app} was deleted by {} on {at}.", gone.who);
        let hint = match gone.record.is_some() && gone.until_ms > clock::now_ms() {
            true => format!("`devanture undelete version {short}` restores it until {}", date_time(gone.until_ms)),
            false => "push its bundle to store it again".to_owned(),
        };
        Ok(Problem::new(Code::NotFound, detail).hint(hint).into())
    }

    /// As `gone_problem`, for a typed prefix of the id.
    pub(crate) async fn gone_by_prefix(&self, app: &AppName, prefix: &IdPrefix) -> Result<Error, Error> {
        let found = self.catalog.list(&format!("{}{prefix}", gone::gone_prefix(app)), None, false, 2).await?;
        let ids: Vec<VersionId> = found.iter().filter_map(|(key, _)| key.rsplit('/').next()?.parse().ok()).collect();
        match ids.as_slice() {
            [id] => self.gone_problem(app, id).await,
            [] => Ok(Problem::new(Code::NotFound, format!("The app {app} has no version {prefix}."))
                .hint("`devanture history` lists the versions")
                .into()),
            _ => Ok(ambiguous(prefix)),
        }
    }
}
