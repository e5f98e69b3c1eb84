//! Pushes refused by the edge's own storage before the last step: counted as failed, and listed with their reason among
//! failed pushes.

use devanture_config::api::{Deploy, DeployKind, DeployProblem, Outcome, Source};
use devanture_config::problem::Code;
use devanture_config::{AppName, PlaceName, VersionId};

use super::incoming::CheckedPush;
use super::publisher::Publisher;
use super::pushes::Push;
use crate::ledger::{Actor, Error};
use crate::switch::Origin;
use devanture_base::clock;
use devanture_base::telemetry;

/// Push refused by storage, as recorded in the history.
pub(crate) struct RefusedPush {
    version: VersionId,
    source: Source,
    alias: Option<PlaceName>,
    reason: Option<String>,
}

impl CheckedPush {
    /// Returns the entry for a possible refusal of the push.
    pub(crate) fn as_refused(&self) -> RefusedPush {
        let (alias, reason) = (self.options.alias.clone(), self.options.reason.clone());
        RefusedPush { version: self.version, source: self.source.clone(), alias, reason }
    }
}

impl RefusedPush {
    fn of(push: &Push) -> Self {
        let (alias, reason) = (push.options.alias.clone(), push.options.reason.clone());
        Self { version: push.version, source: push.source.clone(), alias, reason }
    }
}

/// Returns true for an error of the edge's own storage, which no client can avoid.
fn is_of_storage(error: &Error) -> bool {
    matches!(
        error.0.code,
        Code::CatalogUnavailable | Code::DiskFull | Code::DiskUnwritable | Code::Internal | Code::StoreUnavailable
    )
}

/// Counts a push that failed with `error`, if caused by storage. Returns true if counted.
pub(super) fn count_refused((app, environment): (&AppName, &PlaceName), error: &Error) -> bool {
    let is_of_storage = is_of_storage(error);
    if is_of_storage {
        let place = (app.as_str(), environment.as_str());
        telemetry::count_in_place("devanture_pushes_total", place, &[("outcome", "failed")], 1);
    }
    is_of_storage
}

impl Publisher {
    /// Records a refused beginning or archive, if caused by storage. An incomplete archive has no version for the
    /// history.
    ///
    /// # Errors
    /// The error of `result`.
    pub(crate) async fn note_refused<T>(
        &self,
        actor: &Actor,
        place: (&AppName, &PlaceName),
        refused: Option<RefusedPush>,
        result: Result<T, Error>,
    ) -> Result<T, Error> {
        match result {
            Err(error) => {
                if count_refused(place, &error) {
                    self.record_refused(actor, place, refused, &error).await;
                }
                Err(error)
            }
            taken => taken,
        }
    }

    /// Records the push `deploy` with a refused blob, if caused by storage; once per push.
    ///
    /// # Errors
    /// The error of `result`.
    pub(crate) async fn note_refused_blobs<T>(
        &self,
        app: &AppName,
        deploy: &str,
        result: Result<T, Error>,
    ) -> Result<T, Error> {
        match result {
            Err(error) => {
                let push = self.uploads.pushes.find(app, deploy).ok().filter(|_| is_of_storage(&error));
                let first = push.filter(|push| !std::mem::replace(&mut push.received.lock().is_refused, true));
                if let Some(push) = first {
                    let place = (app, &push.environment);
                    count_refused(place, &error);
                    self.record_refused(&push.actor, place, Some(RefusedPush::of(&push)), &error).await;
                }
                Err(error)
            }
            taken => taken,
        }
    }

    /// Records the push in the history, or in the memory of the process if the history cannot be written.
    async fn record_refused(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        refused: Option<RefusedPush>,
        error: &Error,
    ) {
        tracing::warn!(%app, %environment, code = error.0.code.as_str(), %error, "a push was refused by the edge's own storage");
        // Not the push's own id: the refused push may be sent again and go live under its id.
        let (_, id) = self.new_deploy();
        if let Some(refused) = &refused
            && matches!(self.keep_refused(&id, actor, (app, environment), refused, error).await, Ok(true))
        {
            return;
        }
        let (source, reason) = refused.map(|refused| (refused.source, refused.reason)).unwrap_or_default();
        let by = Origin::of(actor, &source, reason.as_deref());
        let watched = self.deploys.open(&id, app, environment, (None, by), self.revision());
        watched.ended(&Err(Error(error.0.clone())));
    }

    /// Returns true if recorded in the history; a new app has no history yet.
    async fn keep_refused(
        &self,
        id: &str,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        refused: &RefusedPush,
        error: &Error,
    ) -> Result<bool, Error> {
        if !self.ledger.app_exists(app).await? {
            return Ok(false);
        }
        let live = self.ledger.live_pointer(app, environment).await?.map(|(_, pointer)| pointer);
        let deploy = Deploy {
            id: id.to_owned(),
            kind: DeployKind::Push,
            environment: environment.clone(),
            version: refused.version,
            previous: live.as_ref().filter(|pointer| pointer.is_known()).map(|pointer| pointer.version),
            who: actor.name.clone(),
            at_ms: clock::now_ms(),
            source: refused.source.clone(),
            steps: Vec::new(),
            outcome: Outcome::Failed,
            alias: refused.alias.clone(),
            problem: Some(DeployProblem { code: error.0.code, detail: error.0.detail.clone() }),
            log: Vec::new(),
            settings: live.map_or(0, |pointer| pointer.settings),
            went_back: None,
            reason: refused.reason.clone(),
            halves: None,
            with: None,
        };
        let _making = self.environments.places.make_history(app, environment).await?;
        self.ledger.append_history(app, deploy).await?;
        Ok(true)
    }
}
