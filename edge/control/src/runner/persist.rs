//! Storage limits of `persist`, measured repeatedly, including temporary files on the disk. An environment beyond its
//! limit has no instances until below the limit: kernel quotas are not available on every file system. `devanture run`
//! may still start commands, to delete files.

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

/// Shortest and longest pause between two measurements.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Factor of the pause over the duration of the previous measurement.
const PAUSE_FACTOR: u32 = 4;
/// Interval of a command's checks of the latest measurement.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Files of the edge itself in a snapshot folder: a partial archive, a draft, and a file being removed.
const OWN_FILES: u64 = 8;

/// Multiple of the limit up to which files are counted: growth is observable only if all files are counted. Beyond the
/// same multiple of bytes, no command may start: each can write beyond its limit before the next measurement, and the
/// next would start from there.
const COUNTED_FACTOR: u64 = 4;
/// Part of the limits that a command may add in excess: to delete data, a database writes first.
const GROWTH_PART: u64 = 16;

/// Environment to measure.
#[derive(Default)]
struct Subject {
    groups: Vec<Arc<Group>>,
    monitors: Vec<Monitor>,
    /// Socket folders, in which instances may leave files.
    sockets: Vec<MeasuredFolder>,
}

impl Shared {
    /// Checks that an environment is within its storage limit.
    pub(super) fn check_persisted(&self, app: &AppName, settings_place: &str) -> Result<(), Error> {
        let place = (app.clone(), settings_place.to_owned());
        match self.persisted.places().get(&place) {
            Some(found) if found.is_too_much => Err(self.too_much(&place, found)),
            _ => Ok(()),
        }
    }

    /// Returns the excess of an environment when a command begins, which may delete data. Measures now, unless the
    /// environment is known to be within its limit.
    ///
    /// # Errors
    /// [`Error::PersistFull`] for storage too large to count, whose growth would be unobservable, or repeatedly
    /// increased by commands.
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

    /// Returns true if an environment stores so many bytes that no command may start.
    fn is_far_beyond(&self, found: &Found) -> bool {
        let beyond = |measured: Measured, max: u64| measured.bytes > max.saturating_mul(COUNTED_FACTOR);
        let snapshots = found.snapshots.is_some_and(|snapshots| beyond(snapshots, self.snapshots_max().0));
        snapshots || beyond(found.measured, self.limits.persist_bytes_max)
    }

    /// Checks that an environment is within its limit, or within the allowance of a command that began in excess.
    pub(super) fn check_growth(&self, place: &Place, excess: Option<&Excess>) -> Result<(), Error> {
        match self.persisted.places().get(place) {
            Some(found) if found.is_too_much && !excess.is_some_and(|excess| excess.allows(found)) => {
                Err(self.too_much(place, found))
            }
            _ => Ok(()),
        }
    }

    /// Waits until an environment exceeds its limit; returns the excess.
    pub(super) async fn kept_too_much(&self, place: &Place) -> Error {
        loop {
            sleep(LOOK_EVERY).await;
            if let Err(error) = self.check_growth(place, None) {
                return error;
            }
        }
    }

    /// Checks that an instance of a group may start.
    pub(super) fn may_begin(&self, group: &Group) -> Result<(), Error> {
        self.data_use.check(&group.id.app, &group.settings_place)?;
        match self.is_group_measured(group) {
            true => self.check_persisted(&group.id.app, &group.settings_place),
            false => Ok(()),
        }
    }

    /// Returns true if instances of a group can fill the disk.
    pub(super) fn is_group_measured(&self, group: &Group) -> bool {
        self.is_measured(&group.managed.server, &group.id.app, &group.settings_place)
    }

    /// Returns true if processes of a backend can fill the disk.
    pub(super) fn is_measured(&self, server: &Server, app: &AppName, settings_place: &str) -> bool {
        // Data of an earlier version still belongs to the user; a container sees only its mounts.
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

    /// Returns the limits of a snapshot folder in bytes and files, including a partial archive, a draft, and a file
    /// being removed.
    const fn snapshots_max(&self) -> (u64, u64) {
        let limits = &self.limits;
        let bytes = limits.snapshot_bytes_max.saturating_add(limits.persist_bytes_max).saturating_mul(2);
        let files = limits.persist_files_max.saturating_mul(2).saturating_add(limits.snapshots_max);
        (bytes, files.saturating_add(OWN_FILES))
    }

    /// Measures the snapshot folder, writable by instances of the environment; returns an excess.
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

    /// Returns running environments with storage, and environments in excess at their last run.
    fn subjects(&self) -> BTreeMap<Place, Subject> {
        let full = self.persisted.all().into_iter().filter(|(_, _, is_too_much)| *is_too_much);
        let mut subjects: BTreeMap<Place, Subject> = full.map(|(place, ..)| (place, Subject::default())).collect();
        // Commands: instances of the environment may run on another node; backends that cannot fill the disk are
        // skipped.
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
            // Repeated: an instance may have been about to start.
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

/// Returns the socket folder of an instance, owned by its user.
fn socket_folder(slot: &Slot) -> Option<MeasuredFolder> {
    let seen = slot.seen();
    let Some(Endpoint::Socket(socket)) = &seen.endpoint else { return None };
    let path = socket.parent()?.to_str()?.to_owned();
    Some(MeasuredFolder { path, owner: seen.uid })
}

fn is_beyond(measured: &Measured, bytes_max: u64, files_max: u64) -> bool {
    measured.is_partial || measured.bytes > bytes_max || measured.files > files_max
}
