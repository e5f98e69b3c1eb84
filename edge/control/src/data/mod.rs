//! Data of environments: permissions to read and change, and the node with the data.

use std::sync::Arc;

use devanture_config::api::{ConfirmedAction, DataList, DataReport, DataRest, SnapshotName, SnapshotRequest};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::date_time;
use devanture_config::{AppName, PlaceName};
use tokio_util::sync::CancellationToken;

use crate::instances::Instances;
use crate::ledger::{Action, Actor, AuditEvent, Error, Ledger, confirmations};
use crate::runner::{self, DataArchive, Runner, Upload};
use devanture_base::clock;

/// App, and an environment of the app.
type PlaceOf<'p> = (&'p AppName, &'p PlaceName);

/// Persistent data of the environments: folders of backends, and snapshots.
pub struct EnvironmentData {
    ledger: Arc<Ledger>,
    instances: Arc<Instances>,
}

impl EnvironmentData {
    pub(crate) const fn new(ledger: Arc<Ledger>, instances: Arc<Instances>) -> Self {
        Self { ledger, instances }
    }
}

impl EnvironmentData {
    /// Lists the data of an environment on this node, at most `entries_max` files.
    ///
    /// # Errors
    /// `not_found` if the environment has no data here; `busy`, `runner_off`, `persist_full`.
    pub(crate) async fn data_list(&self, place: PlaceOf<'_>, entries_max: u64) -> Result<DataList, Error> {
        Ok(self.data_runner(place).await?.data_list(place, entries_max).await?)
    }

    /// Reads the data of an environment, or a snapshot, or the remainder after a part; the read is recorded in the
    /// audit log.
    ///
    /// # Errors
    /// As [`Self::data_list`], `not_found` for a snapshot, and `precondition_failed` for a part of different data.
    pub(crate) async fn data_archive(
        &self,
        actor: &Actor,
        place: PlaceOf<'_>,
        snapshot: Option<SnapshotName>,
        rest: Option<DataRest>,
    ) -> Result<DataArchive, Error> {
        let runner = self.data_runner(place).await?;
        let what = snapshot.as_ref().map_or("data", SnapshotName::as_str).to_owned();
        let archive = runner.data_archive(place, snapshot, rest).await?;
        self.record_data(actor, Action::PullData, place, &what).await?;
        Ok(archive)
    }

    /// Replaces the data of an environment with an archive, unless `abandoned` before the extraction. If there is data
    /// already, `is_replacing` must be true.
    ///
    /// # Errors
    /// As [`Self::data_list`]; `conflict` if there is data; errors of an archive, such as `archive_cut_off`.
    pub(crate) async fn data_push(
        &self,
        actor: &Actor,
        place: PlaceOf<'_>,
        (is_replacing, upload): (bool, Upload),
        abandoned: &CancellationToken,
    ) -> Result<DataReport, Error> {
        let runner = self.data_runner(place).await?;
        let is_empty = |list: DataList| list.files == 0 && !list.is_partial;
        if !is_replacing && !is_empty(runner::unless_abandoned(abandoned, runner.data_list(place, 0)).await?) {
            let detail = format!("{} of {} keeps data already.", place.1, place.0);
            return Err(Problem::new(Code::Conflict, detail).hint("`--replace` replaces all of it").into());
        }
        self.record_data(actor, Action::PushData, place, "data").await?;
        Ok(runner.data_push(place, upload, abandoned).await?)
    }

    /// Creates a snapshot of the data of an environment, unless `abandoned` before completion. An older snapshot is
    /// only evicted if the actor may delete snapshots.
    ///
    /// # Errors
    /// As [`Self::data_list`]; `conflict` for an existing name, `too_many`; `bad_request` for a name reserved by the
    /// edge.
    pub(crate) async fn data_snapshot(
        &self,
        actor: &Actor,
        place: PlaceOf<'_>,
        (request, dry_run): (SnapshotRequest, bool),
        abandoned: &CancellationToken,
    ) -> Result<DataReport, Error> {
        let runner = self.data_runner(place).await?;
        let name = request.name.map_or_else(name_of_now, Ok)?;
        if name.is_automatic() {
            let detail = format!("Snapshots named `before-…`, such as {name}, are made by the edge itself.");
            return Err(Problem::new(Code::BadRequest, detail).hint("choose another name").into());
        }
        // The check runs before the audit record: a failed request creates no snapshot.
        let list = runner::unless_abandoned(abandoned, runner.data_list(place, 0)).await?;
        if list.snapshots.iter().any(|snapshot| snapshot.name == name) {
            return Err(Problem::new(Code::Conflict, format!("There is a snapshot {name} already.")).into());
        }
        if dry_run {
            return Ok(DataReport { snapshot: Some(name), ..counts(&list) });
        }
        let may_replace = self.may_delete_snapshots(actor, place).await?;
        self.record_data(actor, Action::SnapshotData, place, name.as_str()).await?;
        Ok(runner::unless_abandoned(abandoned, runner.data_snapshot(place, name, may_replace)).await?)
    }

    /// Returns true if the actor satisfies the conditions of `deleteSnapshot`: an admin of the environment, with a
    /// confirmed session if the app requires confirmed deletions.
    async fn may_delete_snapshots(&self, actor: &Actor, (app, environment): PlaceOf<'_>) -> Result<bool, Error> {
        if !actor.unconfirmed || !actor.is_admin_in(environment) {
            return Ok(actor.is_admin_in(environment));
        }
        Ok(!confirmations(&*self.ledger.catalog, app).await?.confirm.contains(&ConfirmedAction::Delete))
    }

    /// Replaces the data of an environment with a snapshot, unless `abandoned` before the extraction.
    ///
    /// # Errors
    /// As [`Self::data_list`]; `not_found` for the snapshot.
    pub(crate) async fn data_restore(
        &self,
        actor: &Actor,
        place: PlaceOf<'_>,
        (name, dry_run): (SnapshotName, bool),
        abandoned: &CancellationToken,
    ) -> Result<DataReport, Error> {
        let (runner, list) = self.data_with_snapshot(place, &name, abandoned).await?;
        if dry_run {
            return Ok(counts(&list));
        }
        self.record_data(actor, Action::RestoreData, place, name.as_str()).await?;
        Ok(runner.data_restore(place, name, abandoned).await?)
    }

    /// Removes a snapshot, unless `abandoned` before completion.
    ///
    /// # Errors
    /// As [`Self::data_restore`].
    pub(crate) async fn data_remove(
        &self,
        actor: &Actor,
        place: PlaceOf<'_>,
        (name, dry_run): (SnapshotName, bool),
        abandoned: &CancellationToken,
    ) -> Result<DataReport, Error> {
        let (runner, list) = self.data_with_snapshot(place, &name, abandoned).await?;
        if dry_run {
            return Ok(DataReport { node: list.node, removed: vec![name], ..DataReport::default() });
        }
        self.record_data(actor, Action::DeleteSnapshot, place, name.as_str()).await?;
        Ok(runner::unless_abandoned(abandoned, runner.data_remove(place, name)).await?)
    }

    /// Checks that a request about data is for this node.
    ///
    /// # Errors
    /// `not_found` for a node that does not respond; `bad_request` if several nodes have data and the request names no
    /// node.
    pub(crate) fn check_data_node(&self, node: Option<&str>) -> Result<(), Error> {
        match node {
            Some(node) => self.check_node(node),
            None if self.instances.nodes.is_some() => {
                let detail = "Each node of a cluster keeps data of its own, and the request names none.";
                Err(Problem::new(Code::BadRequest, detail).hint("name one, such as `--node node-1`").into())
            }
            None => Ok(()),
        }
    }

    /// Checks that this node is the node named by a request: requests for other nodes were forwarded before.
    ///
    /// # Errors
    /// `not_found`.
    pub(crate) fn check_node(&self, node: &str) -> Result<(), Error> {
        if node == self.instances.node() {
            return Ok(());
        }
        let shown = node.chars().take(100).collect::<String>();
        let detail = format!("No node that answers is called {}.", shown.escape_debug());
        Err(Problem::new(Code::NotFound, detail).hint("`devanture nodes` lists them").into())
    }

    async fn data_runner(&self, (app, environment): PlaceOf<'_>) -> Result<&Runner, Error> {
        self.ledger.must_exist(app).await?;
        self.ledger.check_there(app, Some(environment)).await?;
        self.instances.runner()
    }

    /// Returns the runner with the data of an environment, and the counts, if the snapshot exists: a request for an
    /// unknown snapshot is rejected before the audit record.
    async fn data_with_snapshot(
        &self,
        place: PlaceOf<'_>,
        name: &SnapshotName,
        abandoned: &CancellationToken,
    ) -> Result<(&Runner, DataList), Error> {
        let runner = self.data_runner(place).await?;
        let list = runner::unless_abandoned(abandoned, runner.data_list(place, 0)).await?;
        if list.snapshots.iter().any(|snapshot| snapshot.name == *name) {
            return Ok((runner, list));
        }
        let detail = format!("There is no snapshot {name} on {}.", list.node);
        let of_node = self.instances.nodes.as_ref().map_or_else(String::new, |_| format!(" --node {}", list.node));
        Err(Problem::new(Code::NotFound, detail).hint(format!("`devanture data list{of_node}` lists them")).into())
    }

    async fn record_data(&self, actor: &Actor, action: Action, place: PlaceOf<'_>, what: &str) -> Result<(), Error> {
        let what = format!("{what} on {}", self.instances.node());
        let event = AuditEvent::of(action).place(place.0, place.1).what(what);
        self.ledger.record(actor, event).await
    }
}

fn counts(list: &DataList) -> DataReport {
    DataReport { node: list.node.clone(), files: list.files, bytes: list.bytes, ..DataReport::default() }
}

/// Returns a snapshot name from the current time, such as `2026-11-25-23-43-11`.
fn name_of_now() -> Result<SnapshotName, Error> {
    let now: String = date_time(clock::now_ms());
    let digits: Vec<&str> = now.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty()).collect();
    let name = digits.join("-").parse();
    name.map_err(|error| Problem::new(Code::Internal, format!("The time is no name: {error}.")).into())
}
