//! Finds the target version of a rollback.

use std::collections::HashMap;

use devanture_config::api::{DeployKind, Outcome};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName, VersionId};

use super::{Error, Ledger};
use devanture_store::records::history;
use devanture_store::records::{self, LivePointer};

/// Target of a rollback.
pub(crate) struct Earlier {
    /// Version.
    pub(crate) version: VersionId,
    /// Entry from which the next rollback starts; `None` for a version never live here.
    pub(crate) position: Option<String>,
    /// Live version before the rollback.
    pub(crate) from: VersionId,
    /// Revision of the settings last in force with the version.
    pub(crate) settings: Option<u64>,
    /// True if a damaged entry in between may hide another version.
    pub(crate) is_doubtful: bool,
}

impl Ledger {
    /// Returns the target of a rollback.
    ///
    /// Repeated rollbacks go further back: for the next rollback, a rollback is positioned at the entry of its target.
    pub(crate) async fn earlier(
        &self,
        app: &AppName,
        environment: &PlaceName,
        wanted: Option<VersionId>,
    ) -> Result<Earlier, Error> {
        self.must_exist(app).await?;
        let pointer = self.live_pointer(app, environment).await?.map(|(_, pointer)| pointer);
        let Some(pointer) = pointer else {
            let detail =
                format!("Nothing is live in {environment} of the app {app}, so there is nothing to go back from.");
            return Err(Problem::new(Code::NoPrevious, detail)
                .hint("`devanture switch ID` makes a stored version live")
                .into());
        };
        let earlier = self.earlier_of(app, environment, &pointer, wanted).await?;
        if earlier.is_doubtful {
            let (live, found) = (pointer.version.short(), earlier.version.short());
            let detail = format!(
                "A record of the history of {environment} is damaged, so what was live before {live} is not certain; the \
                 last version that is known is {found}."
            );
            return Err(Problem::new(Code::NotReady, detail)
                .hint(format!("`devanture history` lists what is known; `devanture rollback {found}` goes back to it"))
                .into());
        }
        Ok(earlier)
    }

    /// As `earlier`, for a given pointer, possibly of a deleted environment.
    pub(crate) async fn earlier_of(
        &self,
        app: &AppName,
        environment: &PlaceName,
        pointer: &LivePointer,
        wanted: Option<VersionId>,
    ) -> Result<Earlier, Error> {
        let prefix = records::history_prefix(app, environment);
        let after = match wanted {
            Some(_) => None,
            None => Some(pointer.position.clone()).filter(|position| !position.is_empty()),
        };
        // The last entry of a version decides among its settings.
        let mut settings_of: HashMap<VersionId, u64> = HashMap::new();
        // For the live version itself, the settings before its replacement count.
        let mut has_left = wanted != Some(pointer.version);
        let (mut not_stored, mut is_doubtful) = (None, false);
        let mut entries = history::entries(&*self.catalog, prefix).after(after);
        while let Some((key, record)) = entries.next().await? {
            let Some(entry) = records::entry(&key, &record) else {
                is_doubtful |= wanted.is_none();
                continue;
            };
            has_left |= entry.deploy.outcome == Outcome::Live && entry.deploy.version != pointer.version;
            if !has_left {
                continue;
            }
            if entry.deploy.outcome == Outcome::Live || entry.deploy.kind == DeployKind::Settings {
                settings_of.entry(entry.deploy.version).or_insert(entry.deploy.settings);
            }
            let fits = match wanted {
                Some(id) => entry.deploy.version == id,
                None => entry.deploy.version != pointer.version,
            };
            if entry.deploy.outcome == Outcome::Live && fits {
                let version = entry.deploy.version;
                if self.is_stored(app, &version).await? {
                    let settings = settings_of.get(&version).copied();
                    let (position, from) = (Some(entry.position), pointer.version);
                    return Ok(Earlier { version, position, from, settings, is_doubtful });
                }
                not_stored = not_stored.or(Some(version));
            }
        }
        match wanted {
            Some(version) => {
                Ok(Earlier { version, position: None, from: pointer.version, settings: None, is_doubtful: false })
            }
            None => Err(self.no_previous((app, environment), &pointer.version, not_stored.as_ref()).await?.into()),
        }
    }

    /// Returns the reason for the lack of a target: no earlier live version, or none still stored.
    async fn no_previous(
        &self,
        (app, environment): (&AppName, &PlaceName),
        live: &VersionId,
        not_stored: Option<&VersionId>,
    ) -> Result<Problem, Error> {
        const OTHERS: &str = "`devanture switch ID` makes any stored version live";
        let live = live.short();
        let Some(gone) = not_stored else {
            let detail = format!("No version was live in {environment} before {live}.");
            return Ok(Problem::new(Code::NoPrevious, detail).hint(OTHERS));
        };
        let last = gone.short();
        let detail = format!(
            "No version that was live in {environment} before {live} is stored any more; the last one was {last}."
        );
        let Error(why) = self.gone_problem(app, gone).await?;
        let hint = why.hint.map_or_else(|| OTHERS.to_owned(), |hint| format!("{hint}; {OTHERS}"));
        Ok(Problem::new(Code::NoPrevious, detail).hint(hint))
    }
}
