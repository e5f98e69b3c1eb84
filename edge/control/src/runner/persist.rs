//! Bounds on what environments keep in `persist`, which is measured again and again, with temporary files where these
//! are on the disk. An environment that keeps too much has no instances until it keeps less: quotas of the kernel are
//! not available on every file system. Commands of `devanture run` may begin all the same, as they can remove files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::AppName;
use devanture_config::site_toml::{ListenOn, Server};
use tokio::time::{Instant, sleep};

use super::error::Error;
use super::group::Group;
use super::instance_handle::Slot;
use super::persisted::{Amount, Excess, Found, Place};
use super::place_user::PREVIEW;
use super::shared::Shared;
use devanture_host::spawner::{Measured, MeasuredFolder, Monitor};
use devanture_serve::proxy::address::Endpoint;

/// The shortest and the longest pause between two measurements.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A pause is so many times as long as the measurement before.
const PAUSE_FACTOR: u32 = 4;
/// Interval of looks of a command at what its environment was found to keep.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Names of the edge's own in a folder of snapshots: of an archive that is not whole, a draft, and what leaves.
const OWN_FILES: u64 = 8;

/// Files are counted up to so many times their limit: growth beyond it is seen where all are counted. Beyond so many
/// times the bytes no command begins either: each can write more than it may before that is measured, and would begin
/// with what the ones before have left.
const COUNTED_FACTOR: u64 = 4;
/// A command may add this part of the limits to what is too much already: to delete something, a database writes first.
const GROWTH_PART: u64 = 16;

/// An environment that is to be measured.
#[derive(Default)]
struct Subject {
    groups: Vec<Arc<Group>>,
    monitors: Vec<Monitor>,
    /// The folders of its sockets, in which instances may leave anything.
    sockets: Vec<MeasuredFolder>,
}

impl Shared {
    /// Checks that an environment does not keep more than it may.
    pub(super) fn check_persisted(&self, app: &AppName, settings_place: &str) -> Result<(), Error> {
        let place = (app.clone(), settings_place.to_owned());
        match self.persisted.places().get(&place) {
            Some(found) if found.is_too_much => Err(self.too_much(&place, found)),
            _ => Ok(()),
        }
    }

    /// What an environment keeps too much of when a command begins, which may remove it. It is measured now, unless it
    /// is known to keep no more than it may.
    ///
    /// # Errors
    /// [`Error::PersistFull`] where there is more than can be counted, as nobody would see it grow, or so much that
    /// commands have added to it again and again.
    pub(super) async fn excess(&self, place: &Place) -> Result<Option<Excess>, Error> {
        if self.persisted.places().get(place).is_some_and(|found| !found.is_too_much) {
            return Ok(None);
        }
        let subject = self.subjects().remove(place).unwrap_or_default();
        self.measure_persisted(place, &subject).await;
        let places = self.persisted.places();
        let Some(found) = places.get(place).filter(|found| found.is_too_much) else { return Ok(None) };
        let why = self.too_much(place, found);
        let limits = &self.limits;
        let growth =
            Amount { bytes: limits.persist_bytes_max / GROWTH_PART, files: limits.persist_files_max / GROWTH_PART };
        match found.is_counted() && !self.is_far_beyond(found) {
            true => Ok(Some(Excess { max: found.max_with(growth), growth, why: why.to_string() })),
            false => Err(why),
        }
    }

    /// Whether an environment keeps so many bytes that no command may begin in it.
    fn is_far_beyond(&self, found: &Found) -> bool {
        let beyond = |measured: Measured, max: u64| measured.bytes > max.saturating_mul(COUNTED_FACTOR);
        let snapshots = found.snapshots.is_some_and(|snapshots| beyond(snapshots, self.snapshots_max().0));
        snapshots || beyond(found.measured, self.limits.persist_bytes_max)
    }

    /// Checks that an environment keeps no more than it may, or than a command may leave that began in excess.
    pub(super) fn check_growth(&self, place: &Place, excess: Option<&Excess>) -> Result<(), Error> {
        match self.persisted.places().get(place) {
            Some(found) if found.is_too_much && !excess.is_some_and(|excess| excess.allows(found)) => {
                Err(self.too_much(place, found))
            }
            _ => Ok(()),
        }
    }

    /// Waits until an environment keeps more than it may; gives what that is.
    pub(super) async fn kept_too_much(&self, place: &Place) -> Error {
        loop {
            sleep(LOOK_EVERY).await;
            if let Err(error) = self.check_growth(place, None) {
                return error;
            }
        }
    }

    /// Checks that an instance of a group may be started.
    pub(super) fn may_begin(&self, group: &Group) -> Result<(), Error> {
        self.data_use.check(&group.id.app, &group.settings_place)?;
        match self.is_group_measured(group) {
            true => self.check_persisted(&group.id.app, &group.settings_place),
            false => Ok(()),
        }
    }

    /// Whether instances of a group can fill the disk.
    pub(super) fn is_group_measured(&self, group: &Group) -> bool {
        self.is_measured(&group.managed.server, &group.id.app, &group.settings_place)
    }

    /// Whether processes of a backend can fill the disk.
    pub(super) fn is_measured(&self, server: &Server, app: &AppName, settings_place: &str) -> bool {
        // What an earlier version has kept still belongs to their user; a container sees what it is given alone.
        let can_find_folder = || {
            let folders = self.folders.persisted(app, settings_place);
            server.image.is_none() && folders.iter().any(|folder| std::fs::symlink_metadata(folder).is_ok())
        };
        let has_socket = server.listen == ListenOn::Socket;
        server.persist.is_some() || has_socket || !self.spawner.means().private_folders || can_find_folder()
    }

    fn too_much(&self, (app, settings_place): &Place, found: &Found) -> Error {
        if let Some(measured) = found.snapshots {
            let (bytes_max, files_max) = self.snapshots_max();
            return Error::PersistFull {
                whose: format!("the folder of snapshots of {settings_place} of {app} keeps"),
                bytes: measured.bytes,
                bytes_max,
                files: measured.files,
                files_max,
                is_too_deep: measured.is_too_deep,
                limits: "`snapshot_bytes_max` and `persist_bytes_max`",
            };
        }
        let measured = found.measured;
        Error::PersistFull {
            whose: match settings_place.as_str() {
                PREVIEW => format!("the previews of {app} keep"),
                environment => format!("{environment} of {app} keeps"),
            },
            bytes: measured.bytes,
            bytes_max: self.limits.persist_bytes_max,
            files: measured.files,
            files_max: self.limits.persist_files_max,
            is_too_deep: measured.is_too_deep,
            limits: "`persist_bytes_max` and `persist_files_max`",
        }
    }

    /// Most bytes and files in a folder of snapshots: with an archive that is not whole, a draft, and what leaves.
    const fn snapshots_max(&self) -> (u64, u64) {
        let limits = &self.limits;
        let bytes = limits.snapshot_bytes_max.saturating_add(limits.persist_bytes_max).saturating_mul(2);
        let files = limits.persist_files_max.saturating_mul(2).saturating_add(limits.snapshots_max);
        (bytes, files.saturating_add(OWN_FILES))
    }

    /// What lies in the folder of snapshots, which instances of the environment can write to, where it is too much.
    async fn measure_snapshots(&self, app: &AppName, settings_place: &str) -> Option<Measured> {
        if settings_place == PREVIEW {
            return None;
        }
        let (bytes_max, files_max) = self.snapshots_max();
        let path =
            self.folders.made(self.folders.snapshots(app, settings_place)).into_os_string().into_string().ok()?;
        let folder = MeasuredFolder { path, owner: None };
        let counted_max = files_max.saturating_mul(COUNTED_FACTOR);
        let measured = self.spawner.measure(vec![folder], &[], counted_max).await.ok()?;
        is_beyond(&measured, bytes_max, files_max).then_some(measured)
    }

    /// Measures until the edge ends.
    pub(super) async fn watch_persisted(self: Arc<Self>) {
        loop {
            let begun = Instant::now();
            let subjects = self.subjects();
            for (place, subject) in &subjects {
                self.measure_persisted(place, subject).await;
            }
            self.persisted.places().retain(|place, _| subjects.contains_key(place));
            let pause = (begun.elapsed() * PAUSE_FACTOR).clamp(PAUSE.0, PAUSE.1);
            tokio::select! {
                () = sleep(pause) => {}
                () = self.stop.cancelled() => return,
                () = self.standstill.left() => return,
            }
        }
    }

    /// Environments that run and keep something, or that kept too much when they ran last.
    fn subjects(&self) -> BTreeMap<Place, Subject> {
        let full = self.persisted.all().into_iter().filter(|(_, _, is_too_much)| *is_too_much);
        let mut subjects: BTreeMap<Place, Subject> = full.map(|(place, ..)| (place, Subject::default())).collect();
        // Their instances may run on another node, and what cannot fill the disk is measured in vain.
        for place in self.data_use.places_of_commands() {
            subjects.entry(place).or_default();
        }
        for group in self.all_groups().into_iter().filter(|group| self.is_group_measured(group)) {
            let subject = subjects.entry((group.id.app.clone(), group.settings_place.clone())).or_default();
            subject.monitors.extend(group.slots().iter().filter_map(|slot| slot.seen().monitor.clone()));
            subject.sockets.extend(group.slots().iter().filter_map(|slot| socket_folder(slot)));
            subject.groups.push(group);
        }
        subjects
    }

    async fn measure_persisted(&self, place: &Place, subject: &Subject) {
        let (app, settings_place) = place;
        let mut folders = self.folders.persisted(app, settings_place);
        if !self.spawner.means().private_folders {
            folders.push(self.folders.made(self.folders.temporary(app, settings_place)));
        }
        let paths = folders.into_iter().filter_map(|folder| folder.into_os_string().into_string().ok());
        let kept = paths.map(|path| MeasuredFolder { path, owner: None });
        let folders = kept.chain(subject.sockets.iter().cloned()).collect();
        let (bytes_max, files_max) = (self.limits.persist_bytes_max, self.limits.persist_files_max);
        let counted_max = files_max.saturating_mul(COUNTED_FACTOR);
        let measured = match self.spawner.measure(folders, &subject.monitors, counted_max).await {
            Ok(measured) => measured,
            Err(error) => return tracing::debug!(%app, settings_place, %error, "`persist` cannot be measured"),
        };
        let snapshots = self.measure_snapshots(app, settings_place).await;
        let is_too_much = snapshots.is_some() || is_beyond(&measured, bytes_max, files_max);
        let (found, was_too_much) = self.persisted.note(place, measured, snapshots, is_too_much);
        if is_too_much {
            let error = self.too_much(place, &found);
            if !was_too_much {
                tracing::error!(%app, environment = settings_place, %error, "instances are ended, and not started again");
            }
            // Again each time: one may have been about to begin.
            for slot in subject.groups.iter().flat_map(|group| group.slots()) {
                slot.over_quota.notify_waiters();
            }
        } else if was_too_much {
            tracing::info!(%app, environment = settings_place, "`persist` has room again: instances are started");
            for slot in subject.groups.iter().flat_map(|group| group.slots()) {
                slot.begin_anew();
            }
        }
    }
}

/// The folder of the socket of an instance, which is its user's.
fn socket_folder(slot: &Slot) -> Option<MeasuredFolder> {
    let seen = slot.seen();
    let Some(Endpoint::Socket(socket)) = &seen.endpoint else { return None };
    let path = socket.parent()?.to_str()?.to_owned();
    Some(MeasuredFolder { path, owner: seen.uid })
}

fn is_beyond(measured: &Measured, bytes_max: u64, files_max: u64) -> bool {
    measured.is_partial || measured.bytes > bytes_max || measured.files > files_max
}
