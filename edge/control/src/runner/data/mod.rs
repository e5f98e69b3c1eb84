//! Data of an environment, the folder named by `persist`: lists, archives, replacements, snapshots.
//!
//! The edge process never touches files written by tenants. A process started by the spawner like an instance of the
//! environment does all work, as its user and within limits ([`devanture_host::data_task`]); the present module starts
//! these processes and forwards their input and output.

pub(super) mod hold;
mod recovery;
mod task;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::api::{AUTOMATIC_SNAPSHOT, DataList, DataReport, DataRest, SnapshotName};
use devanture_config::problem::Code;
use devanture_config::{AppName, PlaceName};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::handle::Runner;
use super::shared::Shared;
use devanture_base::clock;
use devanture_base::durable;
use devanture_host::data_task::{Bounds, LISTENING, ORDER, Order, SUBCOMMAND, Work};
use devanture_host::spawner::{InstanceLimits, Launch, Temporary};
use hold::Turn;
use task::{Event, Task, unreadable};

/// Memory of a data process, in bytes.
const MEMORY_BYTES: u64 = 512 * 1024 * 1024;
/// Open files: one per folder on the path to a file, and a few more.
const OPEN_FILES: u64 = 512;
/// Bytes and files of temporary files: a data process needs none, and files put there by other processes of its user
/// count for no instance.
const TEMPORARY_BYTES: u64 = 64 * 1024;
const TEMPORARY_FILES: u64 = 16;
/// The running program, even after its file was replaced.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// Bytes of an uploaded archive; an error gives the reason of an abort.
pub type Upload = BoxStream<'static, Result<Bytes, String>>;

/// Archive being read. An aborted archive lacks the end of its compressed frame.
pub struct DataArchive {
    /// Writing process, until its end.
    task: Option<Task>,
    first: Option<Bytes>,
}

impl DataArchive {
    /// Returns the next bytes; `None` at the end.
    ///
    /// # Errors
    /// The reason of an abort; no bytes follow.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        match self.task.as_mut()?.next().await {
            Ok(Event::Output(bytes)) => Some(Ok(bytes)),
            Ok(Event::Ended) => None,
            Err(error) => {
                tracing::warn!(%error, "an archive of data broke off");
                Some(Err(error))
            }
        }
    }
}

impl Runner {
    /// Lists the files of an environment and its snapshots.
    ///
    /// # Errors
    /// [`Error::Data`], [`Error::DataBusy`]; errors of starting the process.
    pub async fn data_list(&self, place: (&AppName, &PlaceName), entries_max: u64) -> Result<DataList, Error> {
        let turn = self.turn(place).await?;
        let list: DataList =
            self.begin_task((place.0, place.1.as_str()), Work::List { entries_max }, &turn).await?.answer().await?;
        Ok(DataList { node: self.0.node.clone(), ..list })
    }

    /// Reads the archive of an environment or of a snapshot, in whole or after a known part.
    ///
    /// # Errors
    /// As [`Self::data_list`]; `precondition_failed` if the archive does not begin with the known part.
    pub async fn data_archive(
        &self,
        place: (&AppName, &PlaceName),
        snapshot: Option<SnapshotName>,
        rest: Option<DataRest>,
    ) -> Result<DataArchive, Error> {
        let turn = self.turn(place).await?;
        let work = match snapshot {
            Some(name) => Work::PullSnapshot { name, rest },
            None => Work::Pull { rest },
        };
        let mut task = self.begin_task((place.0, place.1.as_str()), work, &turn).await?;
        // Awaits the first event, so that early failures get their own response.
        match task.next().await? {
            Event::Output(first) => Ok(DataArchive { task: Some(task), first: Some(first) }),
            Event::Ended if rest.is_some() => Ok(DataArchive { task: None, first: None }),
            Event::Ended => Err(unreadable("the archive is empty")),
        }
    }

    /// Makes a snapshot of an environment, replacing automatic snapshots if permitted. A dropped call makes no
    /// snapshot.
    ///
    /// # Errors
    /// As [`Self::data_list`]; `too_many`.
    pub async fn data_snapshot(
        &self,
        place: (&AppName, &PlaceName),
        name: SnapshotName,
        may_replace: bool,
    ) -> Result<DataReport, Error> {
        let turn = self.turn(place).await?;
        self.report(place, Work::Snapshot { name, may_replace }, &turn).await
    }

    /// Deletes a snapshot of an environment.
    ///
    /// # Errors
    /// As [`Self::data_list`].
    pub async fn data_remove(&self, place: (&AppName, &PlaceName), name: SnapshotName) -> Result<DataReport, Error> {
        let turn = self.turn(place).await?;
        self.report(place, Work::Remove { name }, &turn).await
    }

    /// Replaces the data of an environment by a snapshot. Running processes end before, and restart afterwards. Once
    /// `abandoned`, the work ends, unless the snapshot is already unpacked: then the folders are still replaced.
    ///
    /// # Errors
    /// As [`Self::data_list`]; the data is unchanged.
    pub async fn data_restore(
        &self,
        place: (&AppName, &PlaceName),
        name: SnapshotName,
        abandoned: &CancellationToken,
    ) -> Result<DataReport, Error> {
        let turn = self.turn(place).await?;
        let unpacked = unless_abandoned(abandoned, self.report(place, Work::Unpack { name }, &turn)).await?;
        self.replace(place, unpacked, "restore", &turn).await
    }

    /// Replaces the data of an environment by an uploaded archive. Running processes end before, and restart
    /// afterwards. Once `abandoned`, the work ends as for a restoration.
    ///
    /// # Errors
    /// As [`Self::data_restore`].
    pub async fn data_push(
        &self,
        place: (&AppName, &PlaceName),
        upload: Upload,
        abandoned: &CancellationToken,
    ) -> Result<DataReport, Error> {
        let turn = self.turn(place).await?;
        let unpacked = self.receive(place, upload, abandoned, &turn).await?;
        self.replace(place, unpacked, "push", &turn).await
    }

    async fn receive(
        &self,
        place: (&AppName, &PlaceName),
        upload: Upload,
        abandoned: &CancellationToken,
        turn: &Arc<Turn>,
    ) -> Result<DataReport, Error> {
        let shared = &self.0;
        let uid = shared.users.of(&*shared.catalog, place.0, place.1.as_str()).await?;
        let (folder, socket) = shared.folders.socket(uid)?;
        let received = async {
            let work = Work::Receive { socket: socket.clone() };
            let mut task = self.begin_task((place.0, place.1.as_str()), work, turn).await?;
            // The first event reports that the task is listening.
            match task.next().await? {
                Event::Output(line) if *line == *LISTENING.as_bytes() => {}
                _ => return Err(unreadable("it does not listen")),
            }
            let connection = connect(&socket, uid).await.map_err(|error| unreadable(&error.to_string()))?;
            let sending = async {
                tokio::select! {
                    biased;
                    // The task reports the reason.
                    () = turn.ended() => Err(Sent::NotTaken),
                    sent = send(upload, connection) => sent,
                }
            };
            match timeout_at(task.until, sending).await {
                // A failing task reports the reason, and stops reading.
                Ok(Ok(()) | Err(Sent::NotTaken)) => task.answer().await,
                Ok(Err(Sent::NotSent(why))) => Err(Error::Data { code: Code::BadRequest, detail: why }),
                Err(_elapsed) => task.answer().await,
            }
        };
        let received = unless_abandoned(abandoned, received).await;
        drop(tokio::task::spawn_blocking(move || durable::remove_folder(&folder)));
        received
    }

    async fn replace(
        &self,
        place: (&AppName, &PlaceName),
        unpacked: DataReport,
        why: &str,
        turn: &Arc<Turn>,
    ) -> Result<DataReport, Error> {
        let (shared, whose) = (&self.0, (place.0.clone(), place.1.to_string()));
        let before = automatic(why)?;
        let hold = shared.hold_data(whose.clone()).await?;
        shared.begin_replacing(&whose)?;
        let replaced = match self.begin_task((place.0, place.1.as_str()), Work::Replace { before }, turn).await {
            Ok(task) => task.answer::<DataReport>().await,
            Err(error) => Err(error),
        };
        match &replaced {
            Ok(_) => shared.end_replacing(&whose)?,
            // The process may have been ended midway.
            Err(_) => shared.recover(&whose, turn).await?,
        }
        drop(hold);
        let saved = replaced?;
        let node = self.0.node.clone();
        Ok(DataReport { node, snapshot: saved.snapshot, removed: saved.removed, ..unpacked })
    }

    /// Makes a snapshot before a release, if data exists. Returns its name. Automatic snapshots may be displaced: the
    /// release's code could delete snapshots as well.
    ///
    /// # Errors
    /// As [`Self::data_list`].
    pub async fn data_before_release(&self, place: (&AppName, &PlaceName)) -> Result<Option<SnapshotName>, Error> {
        match self.data_snapshot(place, automatic("release")?, true).await {
            Ok(report) => Ok(report.snapshot),
            Err(Error::NoData(_) | Error::Data { code: Code::NotFound, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn turn(&self, (app, environment): (&AppName, &PlaceName)) -> Result<Arc<Turn>, Error> {
        let place = (app.clone(), environment.to_string());
        let turn = self.0.data_turn(&place).await?;
        self.0.make_whole(&place, &turn).await?;
        Ok(turn)
    }

    async fn report(&self, place: (&AppName, &PlaceName), work: Work, turn: &Arc<Turn>) -> Result<DataReport, Error> {
        let report: DataReport = self.begin_task((place.0, place.1.as_str()), work, turn).await?.answer().await?;
        Ok(DataReport { node: self.0.node.clone(), ..report })
    }

    async fn begin_task(
        &self,
        (app, environment): (&AppName, &str),
        work: Work,
        turn: &Arc<Turn>,
    ) -> Result<Task, Error> {
        if turn.is_ended() {
            return Err(hold::deleted());
        }
        let shared = &self.0;
        let data = shared.folders.made(shared.folders.data(app, environment, environment));
        if !std::fs::symlink_metadata(&data).is_ok_and(|found| found.is_dir()) {
            let node = &shared.node;
            let detail = format!("{environment} of {app} keeps no data on {node}.");
            return Err(Error::NoData(detail));
        }
        let uid = shared.users.of(&*shared.catalog, app, environment).await?;
        let user = shared.holds.hold(uid).await;
        let snapshots = shared.own_folder(&shared.folders.snapshots(app, environment), uid).await?;
        let (bounds, now_ms) = (shared.data_bounds(), clock::settled_ms());
        let order = Order { data, snapshots, now_ms, bounds, work };
        let order = serde_json::to_string(&order).map_err(|error| Error::Spawn(error.to_string()))?;
        let launch = Launch {
            id: format!("{app}/{environment}/data.1#{:08x}", rand::random::<u32>()),
            command: vec![OWN_PROGRAM.to_owned(), SUBCOMMAND.to_owned()],
            // A common root folder, since renames cross the folders.
            folder: shared.folders.root().to_owned(),
            environment: BTreeMap::from([(ORDER.to_owned(), order)]),
            uid,
            limits: shared.data_limits(),
            temporary: self.data_temporary((app, environment), uid).await?,
            keep: Vec::new(),
        };
        let running = shared.spawner.launch(launch).await.map_err(|error| Error::Spawn(error.to_string()))?;
        Ok(Task::carry(shared, running, user, turn))
    }

    /// Private folders for temporary files of a task, although a task needs none: the tenant's processes run as the
    /// same user, and could otherwise reach the machine's folders through the task's root (proc(5), `/proc/PID/root`).
    async fn data_temporary(&self, place: (&AppName, &str), uid: Option<u32>) -> Result<Option<Temporary>, Error> {
        let shared = &self.0;
        if !shared.spawner.means().private_folders {
            return Ok(None);
        }
        let folder = shared.temporary_folder(&shared.folders.temporary(place.0, place.1), uid).await?;
        Ok(Some(Shared::temporary(&folder)))
    }
}

/// Runs cancellable work, unless abandoned.
///
/// # Errors
/// Errors of the work.
pub async fn unless_abandoned<T>(
    abandoned: &CancellationToken,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        () = abandoned.cancelled() => Err(Error::Data {
            code: Code::Conflict,
            detail: "The client of this work on the data has left, and the work was ended.".to_owned(),
        }),
        done = work => done,
    }
}

/// Returns the name of an automatic snapshot.
fn automatic(why: &str) -> Result<SnapshotName, Error> {
    let name = format!("{AUTOMATIC_SNAPSHOT}{why}-{}", clock::now_ms());
    name.parse().map_err(|error| unreadable(&format!("{error}")))
}

/// Connects to the socket of a process of the app's user, which may have put a link to a foreign socket there.
async fn connect(socket: &Path, uid: Option<u32>) -> io::Result<UnixStream> {
    let connection = UnixStream::connect(socket).await?;
    let listener = connection.peer_cred()?.uid();
    match uid.is_some_and(|uid| uid != listener) {
        true => Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user listens at its socket")),
        false => Ok(connection),
    }
}

/// Reason for an incomplete upload.
enum Sent {
    /// The sender aborted.
    NotSent(String),
    /// The receiver aborted.
    NotTaken,
}

async fn send(mut upload: Upload, mut to: UnixStream) -> Result<(), Sent> {
    while let Some(bytes) = upload.next().await {
        let bytes = bytes.map_err(Sent::NotSent)?;
        if to.write_all(&bytes).await.is_err() {
            return Err(Sent::NotTaken);
        }
    }
    to.shutdown().await.map_err(|_error| Sent::NotTaken)
}

impl Shared {
    fn data_bounds(&self) -> Bounds {
        let limits = &self.limits;
        Bounds {
            files_max: limits.persist_files_max,
            bytes_max: limits.persist_bytes_max,
            snapshots_max: limits.snapshots_max,
            snapshot_bytes_max: limits.snapshot_bytes_max,
            snapshot_age_ms_max: limits.snapshot_age_ms_max,
            disk_free_bytes_min: limits.disk_free_bytes_min,
        }
    }

    /// Returns the limits of a data process.
    fn data_limits(&self) -> InstanceLimits {
        let limits = &self.limits;
        InstanceLimits {
            memory_bytes: MEMORY_BYTES,
            processes: 4,
            app_tasks: limits.app_tasks_max,
            open_files: OPEN_FILES,
            cpu_percent: limits.instance_cpu_percent_max,
            file_bytes: limits.persist_bytes_max.max(limits.snapshot_bytes_max),
            temporary_bytes: TEMPORARY_BYTES,
            temporary_files: TEMPORARY_FILES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[tokio::test]
    async fn an_archive_is_not_sent_to_the_socket_of_another_user_that_a_link_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let [theirs, link] = ["theirs", "s"].map(|name| folder.path().join(name));
        let _listener = tokio::net::UnixListener::bind(&theirs).unwrap();
        symlink(&theirs, &link).unwrap();
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(connect(&link, Some(own + 1)).await.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(connect(&link, Some(own)).await.is_ok() && connect(&link, None).await.is_ok());
    }
}
