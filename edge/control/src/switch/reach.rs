//! Checks the reach of versions: routes and upstreams must stay within the pusher's rights.

use std::collections::BTreeSet;

use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::{ROUTES_MAX, Serving, UpstreamUrl};
use devanture_config::{AppName, Manifest, PlaceName, VersionId};

use super::switcher::Switcher;
use crate::ledger::{Actor, Error};
use devanture_serve::proxy;
use devanture_store::records::{self, VersionRecord};

impl Switcher {
    /// Checks the upstreams in the manifest against the actor's rights.
    pub(crate) async fn check_reach(&self, actor: &Actor, app: &AppName, manifest: &Manifest) -> Result<(), Error> {
        // An admin of an app is a tenant: private addresses are the shared network of the edge.
        let is_vouched = actor.is_admin_of_all();
        let addresses: BTreeSet<&UpstreamUrl> = manifest.tables().flat_map(Serving::backends).collect();
        if addresses.len() > ROUTES_MAX {
            let detail = format!("Routes and upstreams name {} backends; {ROUTES_MAX} are the most.", addresses.len());
            return Err(Problem::new(Code::BadManifest, detail).into());
        }
        let addresses: Vec<(&UpstreamUrl, bool)> = addresses.into_iter().map(|to| (to, is_vouched)).collect();
        self.environments.upstreams.check().check(app, &self.upstreams, &addresses).await?;
        for (name, declared) in manifest.tables().filter_map(|table| table.upstreams.as_ref()).flatten() {
            if let Err(why) = proxy::tls::check(&declared.pool()) {
                let detail = format!("The upstream `{name}`: {why}.");
                return Err(Problem::new(Code::BadManifest, detail).into());
            }
        }
        Ok(())
    }

    /// Checks that a version reaches no private address allowed only by an admin of its app, as formerly possible,
    /// unless `actor` is an admin of every app. Versions live since then stay served; no further version goes live so.
    ///
    /// # Errors
    /// `upstream_forbidden`.
    pub(crate) async fn check_stored_reach(
        &self,
        app: &AppName,
        version: VersionId,
        environment: &PlaceName,
        actor: Option<&Actor>,
    ) -> Result<(), Error> {
        let key = records::version_key(app, &version);
        let record = self.ledger.catalog.get(&key).await?;
        let record: Option<VersionRecord> = record.map(|record| records::read(&key, &record)).transpose()?;
        let may_keep = actor.is_some_and(Actor::is_admin_of_all);
        let is_checked = |record: &VersionRecord| {
            record.has_kept_reach() && !(may_keep && record.reach_in(environment.as_str()).is_private())
        };
        if !record.as_ref().is_some_and(is_checked) {
            return Ok(());
        }
        let manifest = self.ledger.manifest(&*self.blobs, app, version).await?;
        let serving = manifest.serving_for(environment.as_str());
        drop(manifest);
        let upstreams: Vec<(&UpstreamUrl, bool)> = serving.backends().map(|to| (to, false)).collect();
        Ok(self.environments.upstreams.check().check(app, &self.upstreams, &upstreams).await?)
    }
}
