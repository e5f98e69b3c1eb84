//! Holds back versions whose routes and upstreams would reach what those who push them may not.

use std::collections::BTreeMap;

use devanture_config::api::Scope;
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::{ROUTES_MAX, UpstreamUrl};
use devanture_config::{AppName, Manifest, PlaceName, VersionId};

use super::switcher::Switcher;
use crate::ledger::{Actor, Error};
use crate::proxy;
use crate::records::{self, VersionRecord};

impl Switcher {
    /// Checks what the manifest says about serving that this actor may not say: upstreams.
    pub(crate) async fn check_reach(&self, actor: &Actor, app: &AppName, manifest: &Manifest) -> Result<(), Error> {
        let trusted = |place: Option<&PlaceName>| match place {
            Some(place) => actor.is_admin_in(place),
            // The base is part of every environment; where its admin has no say, the switch looks at it.
            None => actor.scope == Scope::Admin,
        };
        let mut addresses: BTreeMap<&UpstreamUrl, bool> = BTreeMap::new();
        let tables = manifest.env.iter().map(|(place, table)| (Some(place), table));
        for (place, table) in tables.chain([(None, &manifest.base)]) {
            for to in table.backends() {
                *addresses.entry(to).or_insert(true) &= trusted(place);
            }
        }
        if addresses.len() > ROUTES_MAX {
            let detail = format!("Routes and upstreams name {} backends; {ROUTES_MAX} are the most.", addresses.len());
            return Err(Problem::new(Code::BadManifest, detail).into());
        }
        let addresses: Vec<(&UpstreamUrl, bool)> = addresses.into_iter().collect();
        self.environments.upstream_check().check(app, &self.upstreams, &addresses).await?;
        for (name, declared) in manifest.tables().filter_map(|table| table.upstreams.as_ref()).flatten() {
            if let Err(why) = proxy::tls::check(&declared.pool()) {
                let detail = format!("The upstream `{name}`: {why}.");
                return Err(Problem::new(Code::BadManifest, detail).into());
            }
        }
        Ok(())
    }

    /// Checks that a version stored by an admin of some environments alone reaches nothing private from another one.
    ///
    /// # Errors
    /// `upstream_forbidden`.
    pub(crate) async fn check_stored_reach(
        &self,
        app: &AppName,
        version: VersionId,
        environment: &PlaceName,
    ) -> Result<(), Error> {
        let key = records::version_key(app, &version);
        let record = self.ledger.catalog.get(&key).await?;
        let record: Option<VersionRecord> = record.map(|record| records::read(&key, &record)).transpose()?;
        if record.is_none_or(|record| record.trusted_in.is_empty() || record.is_trusted_in(environment.as_str())) {
            return Ok(());
        }
        let manifest = self.ledger.manifest(&*self.blobs, app, version).await?;
        let serving = manifest.serving_for(environment.as_str());
        drop(manifest);
        let upstreams: Vec<(&UpstreamUrl, bool)> = serving.backends().map(|to| (to, false)).collect();
        Ok(self.environments.upstream_check().check(app, &self.upstreams, &upstreams).await?)
    }
}
