//! Starts the instances of an environment with settings that are not stored yet, on all nodes of a cluster.

use std::collections::BTreeMap;

use devanture_config::manifest::Managed;
use devanture_config::{AppName, PlaceName, VersionId};

use super::Settings;
use super::opened;
use crate::cluster::{self, PrepareRequest, Prepared, Progress};
use crate::instances::TriedRevisions;
use crate::ledger::Error;
use crate::runner::InstanceLease;
use devanture_store::records::LivePointer;
use devanture_store::records::settings::SettingsRecord;

/// Settings that are not stored yet.
#[derive(Clone, Copy)]
pub(crate) struct UnstoredSettings<'s> {
    /// Revision of the settings.
    pub(crate) revision: u64,
    /// Settings with sealed secrets.
    pub(crate) record: &'s SettingsRecord,
}

/// Guard of instances started with the settings on all nodes.
pub(super) struct PreparedSettings {
    here: InstanceLease,
    elsewhere: Option<Prepared>,
}

impl Settings {
    /// Prepares instances with unstored settings on all nodes; `None` if the live version has no backend.
    ///
    /// # Errors
    /// The first unhealthy instance on any node; `node_unreachable`, `secrets_locked`, `not_ready`.
    pub(super) async fn prepare_for_settings(
        &self,
        (app, environment): (&AppName, &PlaceName),
        version: VersionId,
        coming: UnstoredSettings<'_>,
        begun: &mut TriedRevisions,
    ) -> Result<Option<PreparedSettings>, Error> {
        if self.variables.is_none() {
            return Ok(None);
        }
        let Some(managed) = self.instances.managed_in((app, environment), version).await? else { return Ok(None) };
        let place = (app, environment);
        let elsewhere = async {
            let Some(nodes) = &self.instances.nodes else { return Ok(None) };
            let request = PrepareRequest {
                app: app.clone(),
                environment: environment.clone(),
                version,
                settings: Some(coming.revision),
                coming: Some(coming.record.clone()),
                revision: self.ledger.catalog.state().revision,
            };
            nodes.prepare_all(&request, &|_line| {}).await.map(Some).map_err(cluster::Error::into_problem)
        };
        let here = self.start_with(place, (version, managed), coming, begun, &|_line| {});
        let (here, elsewhere) = tokio::try_join!(here, elsewhere)?;
        Ok(Some(PreparedSettings { here, elsewhere }))
    }

    /// Prepares the instances of this node for settings that another node is about to store; `None` if the version has
    /// no backend.
    ///
    /// # Errors
    /// The first unhealthy instance; `runner_off`, `runner_forbidden`, `secrets_locked`, `not_ready`.
    pub(crate) async fn prepare_for_settings_of_others(
        &self,
        place: (&AppName, &PlaceName),
        version: VersionId,
        coming: UnstoredSettings<'_>,
        progress: Progress<'_>,
    ) -> Result<Option<InstanceLease>, Error> {
        let Some(managed) = self.instances.managed_in(place, version).await? else { return Ok(None) };
        let mut turn = self.instances.take_turn_here(place.0, place.1).await;
        self.start_with(place, (version, managed), coming, &mut turn.begun, progress).await.map(Some)
    }

    async fn start_with(
        &self,
        (app, environment): (&AppName, &PlaceName),
        (version, managed): (VersionId, Managed),
        UnstoredSettings { revision, record }: UnstoredSettings<'_>,
        begun: &mut TriedRevisions,
        progress: Progress<'_>,
    ) -> Result<InstanceLease, Error> {
        let runner = self.instances.runner()?;
        let opened = opened(record.clone(), &self.keys, app, environment)?;
        let values: BTreeMap<String, String> =
            opened.into_iter().map(|(name, value)| (name.to_string(), value.expose().to_owned())).collect();
        begun.begin(revision, &values)?;
        let place = (app, environment);
        let _coming = self.variables.as_ref().map(|of| of.coming(place, revision, values));
        let wanted = self.instances.wanted(place, version, managed, revision).await?;
        Ok(runner.prepare(&wanted, progress).await?)
    }

    /// Waits until all other nodes serve the prepared settings, now live; slow nodes follow later.
    pub(super) async fn await_settings(
        &self,
        (app, environment): (&AppName, &PlaceName),
        revision: u64,
        prepared: PreparedSettings,
    ) {
        let PreparedSettings { here, elsewhere } = prepared;
        if let Some(elsewhere) = elsewhere
            && let Ok(Some((at, LivePointer { settings, .. }))) = self.ledger.live_pointer(app, environment).await
            && settings == revision
        {
            for node in elsewhere.switched(at).await {
                tracing::warn!(app = %app, environment = %environment, node, "a node does not have the new settings yet");
            }
        }
        drop(here);
    }
}
