//! Status of an environment: the live version, the addresses, and the state.

use devanture_config::api::{CanaryShare, Damage, Protection, Scope, Status};
use devanture_config::manifest::parts::{self, Parts};
use devanture_config::{AppName, PlaceName, VersionId};

use super::Environments;
use crate::ledger::{Actor, Error};
use devanture_serve::live::DamagedPlace;
use devanture_store::catalog::Revision;
use devanture_store::records::{self, LivePointer};

/// Maximum number of damaged files in a status.
const DAMAGED_FILES_MAX: usize = 100;

impl Environments {
    /// Returns the status of an environment and the revision of the live pointer. The status includes the app's places
    /// that the actor can see.
    ///
    /// # Errors
    /// `not_found` for an unknown app.
    pub async fn status(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
    ) -> Result<(Option<Revision>, Status), Error> {
        self.ledger.must_exist(app).await?;
        let (revision, pointer) = self.ledger.live_pointer(app, environment).await?.unzip();
        let pointer = pointer.filter(LivePointer::is_known);
        let (places, more_places) = self.aliases.all_places(actor, app).await?;
        let mut hostnames = Vec::new();
        for (key, record) in self.ledger.catalog.list(records::HOSTNAMES_PREFIX, None, false, usize::MAX).await? {
            let Some(owner) = records::hostname(&key, &record) else { continue };
            if owner.is_of(app, environment) {
                hostnames.extend(key.rsplit('/').next().map(str::to_owned));
            }
        }
        let went_back = match &pointer {
            Some(pointer) => self.ledger.why_went_back(app, environment, pointer).await?,
            None => None,
        };
        let signed = match &pointer {
            Some(pointer) => self.signing.signed_live((app, environment), &pointer.version).await?,
            None => None,
        };
        let status = Status {
            app: app.clone(),
            environment: environment.clone(),
            version: pointer.as_ref().map(|p| p.version),
            since_ms: pointer.as_ref().map(|p| p.switched_ms),
            deploy: pointer.as_ref().map(|p| p.deploy.clone()),
            urls: pointer.as_ref().map(|p| self.places.urls(app, environment, &p.version)),
            hostnames,
            places,
            paused: self.pauses.paused(app, environment).await?.map(|(_, pause)| pause),
            locked: self.places.locked(app, environment).await?.map(|(_, lock)| lock),
            damaged: self.ledger.live.damage_of(app, environment).map(damage),
            mistake: self.ledger.live.mistake_of(app, environment).map(String::from),
            quarantined: self.quarantined(actor).await,
            catalog_damaged: may_know_of_all(actor) && self.ledger.catalog.state().is_damaged,
            lost_secrets: self.settings.settings(app, environment).await?.lost(),
            open_ports: self.instances.open_ports(app, environment),
            kept_reach: self.upstreams.kept_addresses(app, environment).map(|kept| kept.report()),
            runner_off: self.instances.idle_backend(app, environment).is_some(),
            more_places,
            went_back,
            pins: pointer.as_ref().is_some_and(|pointer| pointer.pins.is_some()),
            pinned: pointer.as_ref().map_or_else(Vec::new, |pointer| self.pinned(app, environment, pointer)),
            canary: pointer
                .and_then(|pointer| pointer.canary)
                .map(|canary| CanaryShare { version: canary.version, share: canary.share }),
            protection: Some(self.protection.protection_of(app, environment).await?)
                .filter(|mode| *mode != Protection::Public),
            signed,
            parts: self.live_parts(app, environment),
            nodes: Vec::new(),
        };
        Ok((revision, status))
    }

    /// Returns the earlier versions available for pinned visitors now.
    pub(crate) fn pinned(&self, app: &AppName, environment: &PlaceName, pointer: &LivePointer) -> Vec<VersionId> {
        let is_alone = self.instances.nodes.is_none();
        let held = |pins| self.ledger.live.held_on(app, environment, pins, is_alone);
        pointer.pins.as_ref().map_or_else(Vec::new, held)
    }

    /// Returns the number of files in quarantine; `None` if there are no files or the actor lacks access to the whole
    /// edge.
    async fn quarantined(&self, actor: &Actor) -> Option<u64> {
        if !may_know_of_all(actor) {
            return None;
        }
        // Readiness reports an unreadable quarantine folder; a status request must not fail for that reason.
        self.blobs.quarantined().await.ok().filter(|count| *count > 0)
    }

    /// Returns the parts of the live version of an environment.
    pub(crate) fn live_parts(&self, app: &AppName, environment: &PlaceName) -> Option<Parts> {
        let current = self.ledger.live.place(app, environment)?.pointed()?;
        let version = &current.version;
        let pages = version.files.iter().filter(|file| parts::is_page(&file.path)).count();
        let managed = version.managed.iter().flat_map(|managed| &managed.server.processes);
        Some(Parts {
            pages: u64::try_from(pages).unwrap_or(u64::MAX),
            routes: version.routes.iter().map(|route| route.declared.path.to_string()).collect(),
            processes: managed.map(|process| process.name.clone()).collect(),
            smoke: u64::try_from(version.smoke.len()).unwrap_or(u64::MAX),
        })
    }
}

/// Returns true if the actor may read every app of the edge.
fn may_know_of_all(actor: &Actor) -> bool {
    actor.may_in_every_app(Scope::Read).is_ok()
}

/// Converts damage to the form of the API.
fn damage(damaged: DamagedPlace) -> Damage {
    let count = u64::try_from(damaged.files.len()).unwrap_or(u64::MAX);
    let files = damaged.files.iter().take(DAMAGED_FILES_MAX).map(|path| path.to_string()).collect();
    Damage { version: damaged.version, count, files, error: damaged.error, in_memory: damaged.in_memory }
}
