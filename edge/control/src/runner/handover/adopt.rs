//! Handover, on the side of the successor edge.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use devanture_config::edge_toml;
use tokio::time::Instant;

use super::handed::{Handed, HandedGroup, HandedInstance, Handover};
use crate::runner::error::Error;
use crate::runner::group::{Foundation, Group, Reasons};
use crate::runner::instance;
use crate::runner::instance_handle::Slot;
use crate::runner::life::Adopted;
use crate::runner::shared::{Shared, ms};
use devanture_host::spawner::{HandedProcess, Running, Spawner, SpawnerConnection, SpawnerSettings};

/// Adopted instances of the predecessor, not yet supervised.
pub(in crate::runner) struct AdoptedInstances {
    pub(in crate::runner) spawner: Spawner,
    groups: Vec<HandedGroup>,
    /// Processes of all instances, in the order of groups.
    running: Vec<Running>,
}

/// Checks that instances can continue under the settings of the edge; returns the lock of user ids, if any.
///
/// # Errors
/// [`Error::Handover`].
pub(in crate::runner) fn split(
    handover: Handover,
    settings: &edge_toml::Runner,
    folder: &Path,
) -> Result<(Handed, OwnedFd, Option<OwnedFd>), Error> {
    let Handover { handed, descriptors } = handover;
    handed.terms.check(settings, folder)?;
    let mut descriptors = descriptors.into_iter();
    let socket = descriptors.next().filter(|_| descriptors.len() + 1 == handed.descriptors());
    let socket = socket.ok_or_else(|| Error::Handover("descriptors are missing".to_owned()))?;
    Ok((handed, socket, descriptors.next()))
}

/// Adopts the spawner, and the processes of the groups.
///
/// # Errors
/// [`Error::Spawn`].
pub(in crate::runner) fn take(
    settings: SpawnerSettings,
    connection: SpawnerConnection,
    groups: Vec<HandedGroup>,
) -> Result<AdoptedInstances, Error> {
    let instances = groups.iter().flat_map(|group| &group.instances);
    let processes: Vec<HandedProcess> = instances.map(|instance| instance.running).collect();
    let (spawner, running) =
        Spawner::adopt(settings, connection, &processes).map_err(|error| Error::Spawn(error.to_string()))?;
    Ok(AdoptedInstances { spawner, groups, running })
}

impl AdoptedInstances {
    /// Supervises the instances from here on, each answering as before.
    pub(in crate::runner) async fn settle(self, shared: &Arc<Shared>) {
        let mut running = self.running.into_iter();
        for handed in self.groups {
            let processes = running.by_ref().take(handed.instances.len()).collect();
            shared.adopt(handed, processes).await;
        }
    }
}

impl Shared {
    async fn adopt(self: &Arc<Self>, handed: HandedGroup, processes: Vec<Running>) {
        let now = Instant::now();
        let until = |left: Option<u64>| left.map(|left| now + ms(left));
        let reasons = Reasons {
            held: 0,
            is_live: handed.is_live,
            lingers_until: until(handed.lingers_ms),
            warm_until: until(handed.warm_ms),
            // Set once the live version is loaded.
            is_pinned: false,
            idle_until: until(handed.idle_ms),
        };
        let code = match handed.code {
            Some(code) => Some(self.folders.hold(&handed.id.app, code).await),
            None => None,
        };
        let foundation = Foundation { code, user: self.holds.hold(handed.uid).await };
        let managed = Arc::new(handed.managed);
        let group = Arc::new(Group::new(handed.id, handed.version, managed, handed.settings_place));
        let mut adopted = Vec::new();
        for (instance, running) in handed.instances.into_iter().zip(processes) {
            // A process missing from the definition ends with its handle.
            let Some(slot) = slot(&group, &instance) else { continue };
            adopted.push((Arc::new(slot), Adopted { running, handed: instance }));
        }
        {
            let mut inner = group.inner();
            (inner.reasons, inner.is_stopping, inner.is_begun) = (reasons, handed.is_stopping, true);
            inner.slots = adopted.iter().map(|(slot, _)| Arc::clone(slot)).collect();
            inner.foundation = Some(foundation);
        }
        self.groups.lock().push(Arc::clone(&group));
        for (slot, process) in adopted {
            self.runtime.spawn(instance::keep(Arc::clone(self), Arc::clone(&group), slot, Some(process)));
        }
        self.publish(&group.id);
        self.runtime.spawn(Arc::clone(self).supervise(group));
    }
}

fn slot(group: &Group, handed: &HandedInstance) -> Option<Slot> {
    let process = group.managed.server.processes.iter().find(|process| process.name == handed.process)?;
    Some(Slot::adopted(process.clone(), handed))
}
