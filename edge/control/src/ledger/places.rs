//! Looks up apps and environments in the catalog: existence, deletion, live version.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName, VersionId};

use super::error::{moving, restarting};
use super::gone::deleted;
use super::same_app::made;
use super::{Error, Ledger, SameApp};
use devanture_serve::live::Current;
use devanture_serve::version::Version;
use devanture_store::catalog::Catalog;
use devanture_store::records::gone::{self, DeletedApp, DeletedEnvironment};
use devanture_store::records::pointer;
use devanture_store::records::{self, LivePointer};

impl Ledger {
    /// Returns true if the app exists.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub async fn app_exists(&self, app: &AppName) -> Result<bool, Error> {
        Ok(self.catalog.get(&records::app_key(app)).await?.is_some())
    }

    /// Returns the creation time of an app, in milliseconds since 1970 UTC; 0 for a damaged record.
    ///
    /// # Errors
    /// `not_found`.
    pub(crate) async fn app_made_ms(&self, app: &AppName) -> Result<u64, Error> {
        self.must_exist(app).await?;
        Ok(self.made_ms_of(app).await?.unwrap_or(0))
    }

    /// As [`Ledger::app_made_ms`]; `None` for an unknown app.
    pub(crate) async fn made_ms_of(&self, app: &AppName) -> Result<Option<u64>, Error> {
        Ok(made(&*self.catalog, app).await?.map(|(_, made_ms)| made_ms))
    }

    /// Returns the app of a change, to detect its replacement during a wait.
    ///
    /// # Errors
    /// `not_found`.
    pub(crate) async fn same_app(&self, app: &AppName) -> Result<SameApp, Error> {
        SameApp::find(&*self.catalog, app).await?.ok_or_else(|| no_such_app(app))
    }

    pub(crate) async fn must_exist(&self, app: &AppName) -> Result<(), Error> {
        if self.app_exists(app).await? {
            return Ok(());
        }
        Err(no_such_app(app))
    }

    /// Returns the live pointer and its revision. A damaged record is replaced by the last live version of the history,
    /// and written again by the next switch.
    pub(crate) async fn live_pointer(
        &self,
        app: &AppName,
        environment: &PlaceName,
    ) -> Result<Option<(u64, LivePointer)>, Error> {
        let live = pointer::live_pointer(&*self.catalog, app, environment).await?;
        if let Some((_, pointer)) = &live {
            // The clock of another node may be ahead: deploys begun from now on are still newer.
            self.not_before(pointer.begun);
        }
        Ok(live)
    }

    /// Brings the node up to date before a push, so that the push is newer than the live version of any node.
    ///
    /// # Errors
    /// The catalog is unreachable, so that no version could be made live.
    pub(crate) async fn catch_up(&self, app: &AppName, environment: &PlaceName) -> Result<(), Error> {
        self.catalog.refresh().await?;
        self.live_pointer(app, environment).await.map(drop)
    }

    /// Returns the live version of an environment, as far as known.
    pub(crate) async fn live_version_id(
        &self,
        app: &AppName,
        environment: &PlaceName,
    ) -> Result<Option<VersionId>, Error> {
        let pointer = self.live_pointer(app, environment).await?.map(|(_, pointer)| pointer);
        Ok(pointer.filter(LivePointer::is_known).map(|pointer| pointer.version))
    }

    /// Checks the name of an environment: no alias has the same name, and neither environment nor app was deleted.
    pub(crate) async fn check_place(&self, app: &AppName, environment: &PlaceName) -> Result<(), Error> {
        self.check_there(app, Some(environment)).await?;
        if self.catalog.get(&records::alias_key(app, environment)).await?.is_some() {
            let detail = format!("{environment} is an alias of the app {app}, so it cannot be an environment.");
            return Err(Problem::new(Code::AliasTaken, detail).hint("choose another name, or delete the alias").into());
        }
        Ok(())
    }

    /// Makes [`Ledger::check_in_place`] refuse new changes, while accepted changes complete.
    pub fn refuse_changes(&self, refused: bool) {
        self.refuses.store(refused, Ordering::Release);
    }

    /// Makes [`Ledger::check_in_place`] refuse new changes early, before their commit detects the pause.
    pub fn note_pause(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Release);
    }

    /// Checks that the catalog is still the opened catalog: writes to a replacement would be lost.
    ///
    /// # Errors
    /// `not_ready`; `restarting` during the takeover by a new edge or a pause of changes.
    pub fn check_in_place(&self) -> Result<(), Error> {
        if self.is_paused.load(Ordering::Acquire) {
            return Err(moving().into());
        }
        if self.refuses.load(Ordering::Acquire) {
            return Err(restarting().into());
        }
        Ok(self.catalog.check_in_place()?)
    }

    /// Checks that neither the app nor the environment, if given, was deleted.
    ///
    /// # Errors
    /// `deleted`.
    pub async fn check_there(&self, app: &AppName, environment: Option<&PlaceName>) -> Result<(), Error> {
        check_there(&*self.catalog, app, environment).await
    }

    pub(crate) fn current(&self, app: &AppName, environment: &PlaceName) -> Result<Arc<Current>, Error> {
        let current = self.live.place(app, environment).and_then(|place| place.pointed());
        Ok(current.ok_or_else(|| nothing_live(app, environment))?)
    }

    pub(crate) fn served(&self, app: &AppName, environment: &PlaceName) -> Result<Arc<Version>, Error> {
        Ok(Arc::clone(&self.current(app, environment)?.version))
    }
}

/// As [`Ledger::check_there`], for modules without a ledger.
pub(crate) async fn check_there(
    catalog: &dyn Catalog,
    app: &AppName,
    environment: Option<&PlaceName>,
) -> Result<(), Error> {
    let key = gone::deleted_app_key(app);
    if let Some(record) = catalog.get(&key).await? {
        let DeletedApp { who, until_ms, .. } = records::read(&key, &record)?;
        return Err(deleted(&format!("The app {app}"), "devanture undelete app", &who, until_ms));
    }
    let Some(environment) = environment else { return Ok(()) };
    let key = gone::deleted_environment_key(app, environment);
    if let Some(record) = catalog.get(&key).await? {
        let DeletedEnvironment { who, until_ms, .. } = records::read(&key, &record)?;
        let what = format!("The environment {environment} of the app {app}");
        return Err(deleted(&what, &format!("devanture undelete environment {environment}"), &who, until_ms));
    }
    Ok(())
}

fn no_such_app(app: &AppName) -> Error {
    Problem::new(Code::NotFound, format!("There is no app {app}.")).hint("the first push makes it").into()
}

/// Problem of an environment without a live version.
pub(crate) fn nothing_live(app: &AppName, environment: &PlaceName) -> Problem {
    Problem::new(Code::NothingLive, format!("Nothing is live in {environment} of the app {app}."))
        .hint("`devanture status` lists the environments")
}
