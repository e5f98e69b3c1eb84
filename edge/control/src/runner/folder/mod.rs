//! Folders of backends: read-only code of versions, persistent data of environments, temporary files, sockets.

mod interpreters;
mod lay_out;
pub(super) mod owners;

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use devanture_config::manifest::ServerFolder;
use devanture_config::{AppName, PlaceName};
use parking_lot::Mutex;

use super::error::Error;
use super::place_user::{PREVIEW, PlaceUser};
use super::users::Users;
use devanture_base::durable::{self, Owner};
use devanture_store::blobs::Blobs;

pub(super) use interpreters::Interpreters;
pub(super) use lay_out::Layout;
pub(crate) use lay_out::folder_count;

/// Longest portable socket path, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 100;
/// Mode of the runner's folder: passable for all users, listable only for the owner.
const PASSED: u32 = 0o711;

/// Suffix of the folder of an app's previews, after the app's name.
const OF_PREVIEWS: &str = "--preview";
/// Prefix of an earlier run's folder about to be removed, before a unique number.
const OLD_RUN: &str = "run.old-";

/// Code of a backend on disk, kept during its lifetime.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) path: PathBuf,
    folder: ServerFolder,
}

/// Code of an app on disk, by folder.
type Known = HashMap<PathBuf, Weak<Code>>;

/// All folders of the runner.
pub(super) struct Folders {
    root: PathBuf,
    users: Users,
    interpreters: Interpreters,
    blobs: Arc<dyn Blobs>,
    /// Locked while code of an app is laid out or removed.
    apps: Mutex<HashMap<AppName, Arc<tokio::sync::Mutex<Known>>>>,
}

impl Folders {
    /// Creates the permanent folders, and moves away the sockets of an earlier run, unless its instances are adopted.
    /// Folders changed by apps are removed in the background, and never block the start of an edge.
    pub(super) fn open(
        root: PathBuf,
        (users, interpreters): (Users, Interpreters),
        blobs: Arc<dyn Blobs>,
        is_adopted: bool,
    ) -> Result<Self, Error> {
        durable::make_folder(&root)?;
        durable::make_folder_as(&root, PASSED, Owner::default())?;
        let old = aside(&root);
        // Adopted instances listen on these sockets.
        let moved = if is_adopted { Ok(()) } else { durable::move_folder(&root.join("run"), &old).map(drop) };
        if let Some(error) = moved.err().filter(|_| root.join("run").exists()) {
            tracing::warn!(%error, "the sockets of an earlier run stay where they are");
        }
        for name in ["code", "data", "run", "snapshots", "tmp"] {
            durable::make_folder_as(&root.join(name), PASSED, Owner::default())?;
        }
        users.can_reach(&root)?;
        set_aside_foreign(&root);
        let olds = entries(&root).into_iter().filter(|folder| name_of(folder).starts_with(OLD_RUN));
        let olds: Vec<PathBuf> = olds.collect();
        drop(tokio::task::spawn_blocking(move || {
            for old in olds {
                if let Err(error) = durable::remove_folder(&old) {
                    tracing::warn!(%error, "the sockets of an earlier run cannot be removed");
                }
            }
        }));
        Ok(Self { root, users, interpreters, blobs, apps: Mutex::default() })
    }

    /// Returns mode and owner of the code folder of an environment. The edge owns the code, so that no instance can
    /// change modes. If the edge can change groups, only the environment's user may pass the folder; otherwise no other
    /// user may list the folder.
    fn code_access(&self, uid: Option<u32>) -> (u32, Owner) {
        match (&self.users, uid) {
            (Users::Given(_), Some(_)) => (0o710, Owner { uid: None, gid: uid }),
            _ => (PASSED, Owner::default()),
        }
    }

    /// Returns the interpreters available to links of bundles.
    pub(super) fn interpreters(&self) -> &Interpreters {
        &self.interpreters
    }

    fn of(&self, app: &AppName) -> Arc<tokio::sync::Mutex<Known>> {
        let mut apps = self.apps.lock();
        Arc::clone(apps.entry(app.clone()).or_default())
    }

    /// Forgets an app without known code, unless in use.
    fn forget_unused(&self, app: &AppName, known: &Arc<tokio::sync::Mutex<Known>>) {
        let mut apps = self.apps.lock();
        // One reference is in the map, one with the caller; no third can appear meanwhile.
        if Arc::strong_count(known) <= 2 && known.try_lock().is_ok_and(|known| known.is_empty()) {
            apps.remove(app);
        }
    }

    /// Returns the code of a backend, laid out if necessary.
    pub(super) async fn code(&self, layout: Layout<'_>) -> Result<Arc<Code>, Error> {
        let known = self.of(layout.app);
        let mut known = known.lock().await;
        let of_app = self.root.join("code").join(folder_name(layout.app, layout.settings_place));
        let of_place = of_app.join(layout.place);
        let path = of_place.join(format!("{}{}", layout.digest.short(), self.interpreters.suffix(&layout.folder)));
        if let Some(code) = known.get(&path).and_then(Weak::upgrade) {
            return Ok(code);
        }
        known.retain(|_, code| code.strong_count() > 0);
        durable::make_folder_as(&of_app, PASSED, Owner::default())?;
        let (mode, owner) = self.code_access(layout.uid);
        durable::make_folder_as(&of_place, mode, owner)?;
        if !path.is_dir() {
            // Files writable only by the edge may be shared between folders, also of several environments: the owner is
            // the edge's user, and all sharers have equal bytes.
            let earlier: Vec<Arc<Code>> = match self.users.are_there() {
                true => known.values().filter_map(Weak::upgrade).collect(),
                false => Vec::new(),
            };
            let draft = of_place.join(draft_name());
            let laid = match self.lay_out(&draft, &layout, &earlier).await {
                Ok(()) => durable::move_folder(&draft, &path).map_err(Error::from),
                Err(error) => Err(error),
            };
            if let Err(error) = laid {
                drop(blocking(move || Ok(durable::remove_folder(&draft)?)).await);
                return Err(error);
            }
        }
        let code = Arc::new(Code { path: path.clone(), folder: layout.folder });
        known.insert(path, Arc::downgrade(&code));
        Ok(code)
    }

    /// Keeps the code of instances started by the predecessor edge.
    pub(super) async fn hold(&self, app: &AppName, path: PathBuf) -> Arc<Code> {
        let known = self.of(app);
        let mut known = known.lock().await;
        if let Some(code) = known.get(&path).and_then(Weak::upgrade) {
            return code;
        }
        let code = Arc::new(Code { path: path.clone(), folder: ServerFolder::default() });
        known.insert(path, Arc::downgrade(&code));
        code
    }

    /// Removes unused code of an app.
    pub(super) async fn tidy(&self, app: &AppName) {
        let of_app = self.of(app);
        let mut known = of_app.lock().await;
        self.tidy_known(app, &mut known).await;
        drop(known);
        self.forget_unused(app, &of_app);
    }

    async fn tidy_known(&self, app: &AppName, known: &mut Known) {
        known.retain(|_, code| code.strong_count() > 0);
        let used: Vec<PathBuf> = known.keys().cloned().collect();
        let code = self.root.join("code");
        let of_app = [code.join(app.as_str()), code.join(folder_name(app, PREVIEW))];
        let tidied = blocking(move || {
            let mut failed = None;
            for place in of_app.iter().flat_map(|folder| entries(folder)) {
                let old = entries(&place).into_iter().filter(|folder| !used.contains(folder));
                for folder in old {
                    if let Err(error) = remove_code(folder) {
                        failed = Some(error);
                    }
                }
            }
            failed.map_or(Ok(()), Err)
        });
        if let Err(error) = tidied.await {
            tracing::warn!(%app, %error, "the code of earlier backends cannot be removed");
        }
    }

    /// Removes unused code of all apps.
    pub(super) async fn tidy_all(&self) {
        for folder in entries(&self.root.join("code")) {
            let name = name_of(&folder);
            let name = name.strip_suffix(OF_PREVIEWS).unwrap_or(name);
            if let Ok(app) = name.parse() {
                self.tidy(&app).await;
            }
        }
    }

    /// Returns the persistent folder of an environment or alias; [`Folders::own`] creates the instances' folder below.
    /// An alias and an environment of the same name never share data.
    pub(super) fn data(&self, app: &AppName, settings_place: &str, place: &str) -> PathBuf {
        self.root.join("data").join(folder_name(app, settings_place)).join(place)
    }

    /// Returns the folder for data snapshots of an environment; [`Folders::own`] creates its user's folder below.
    pub(super) fn snapshots(&self, app: &AppName, environment: &str) -> PathBuf {
        self.root.join("snapshots").join(app.as_str()).join(environment)
    }

    /// Returns the folder that marks a running replacement of an environment's data.
    pub(super) fn replacing(&self, app: &AppName, environment: &str) -> PathBuf {
        self.root.join("replacing").join(app.as_str()).join(environment)
    }

    /// Returns the persistent folders of an environment, or of all previews of an app; each belongs to the instances'
    /// user.
    pub(super) fn persisted(&self, app: &AppName, settings_place: &str) -> Vec<PathBuf> {
        let of_app = self.root.join("data").join(folder_name(app, settings_place));
        let folders = match settings_place {
            PREVIEW => entries(&of_app),
            environment => vec![of_app.join(environment)],
        };
        folders.into_iter().map(|folder| self.made(folder)).collect()
    }

    /// Returns the paths that belong to the instances' user, in or at one of their folders.
    pub(super) fn made(&self, folder: PathBuf) -> PathBuf {
        match &self.users {
            Users::Lent(_) => folder.join("own"),
            Users::Same | Users::Given(_) => folder,
        }
    }

    /// Returns the common root.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a name for a folder being removed; leftovers are removed at the next start.
    pub(super) fn aside(&self) -> PathBuf {
        aside(&self.root)
    }

    /// Returns the folder for temporary files of an environment, or of an app's previews.
    pub(super) fn temporary(&self, app: &AppName, settings_place: &str) -> PathBuf {
        self.root.join("tmp").join(folder_name(app, settings_place)).join(settings_place)
    }

    /// Removes the folders of an app or environment without running instances.
    pub(super) async fn forget(&self, app: &AppName, environment: Option<&PlaceName>) -> Result<(), Error> {
        let kinds = ["code", "data", "replacing", "snapshots", "tmp"].map(|kind| self.root.join(kind));
        let of_app = |folder: &PathBuf| match environment {
            Some(environment) if environment.is_preview() => vec![folder.join(folder_name(app, PREVIEW))],
            Some(environment) => vec![folder.join(app.as_str()).join(environment.as_str())],
            None => ["", PREVIEW].map(|settings_place| folder.join(folder_name(app, settings_place))).to_vec(),
        };
        let folders: Vec<PathBuf> = kinds.iter().flat_map(of_app).collect();
        let known = self.of(app);
        let removed = {
            // The lock prevents a concurrent layout.
            let mut known = known.lock().await;
            known.retain(|_, code| code.strong_count() > 0);
            blocking(move || Ok(folders.iter().try_for_each(|folder| durable::remove_folder(folder).map(drop))?)).await
        };
        self.forget_unused(app, &known);
        removed
    }

    /// Returns the folders created by the user itself, since the edge could not change owners.
    pub(super) fn made_by(&self, user: &PlaceUser) -> Vec<PathBuf> {
        let of_app =
            ["data", "snapshots", "tmp"].map(|kind| self.root.join(kind).join(folder_name(&user.app, &user.place)));
        let own = of_app.iter().flat_map(|folder| entries(folder)).map(|folder| folder.join("own"));
        own.filter(|own| std::fs::symlink_metadata(own).is_ok_and(|found| found.uid() == user.uid)).collect()
    }

    /// Creates a folder accessible to a single user; returns its location.
    pub(super) fn own(&self, path: &Path, uid: Option<u32>) -> Result<Own, Error> {
        if let Some(parent) = path.parent() {
            durable::make_folder(parent)?;
            durable::make_folder_as(parent, PASSED, Owner::default())?;
        }
        match (&self.users, uid) {
            (Users::Lent(_), Some(uid)) => {
                let own = path.join("own");
                if std::fs::symlink_metadata(&own).is_ok() {
                    check_own(&own, uid)?;
                    return Ok(Own::There(own));
                }
                // A world-writable folder with a secret name.
                let parent = path.parent().unwrap_or(path);
                let draft = parent.join(draft_name());
                // Only the creator may remove or move the folder's entries. The creator also syncs, which needs the
                // right to read.
                durable::make_folder_as(&draft, 0o1777, Owner::default())?;
                Ok(Own::ToMake { make: draft.join("own"), draft, path: path.to_owned(), own })
            }
            (_, uid) => {
                if let Some(uid) = uid
                    && let Ok(found) = std::fs::symlink_metadata(path)
                    && found.uid() != uid
                {
                    return Err(belongs_to_other(path, found.uid(), uid));
                }
                durable::make_folder_as(path, 0o700, Owner { uid, gid: uid })?;
                Ok(Own::There(path.to_owned()))
            }
        }
    }

    /// Returns a folder for the socket of an instance, and the socket's path.
    pub(super) fn socket(&self, uid: Option<u32>) -> Result<(PathBuf, PathBuf), Error> {
        let folder = self.root.join("run").join(format!("{:016x}", rand::random::<u64>()));
        let socket = folder.join("s");
        if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            let path = socket.display();
            return Err(Error::Folder(format!(
                "{path} is too long for a socket ({SOCKET_PATH_BYTES_MAX} bytes): choose a shorter [runner] folder, or listen = \"port\""
            )));
        }
        let (mode, owner) = match (&self.users, uid) {
            // The group is the edge's own.
            (Users::Given(_), Some(uid)) => (0o770, Owner { uid: Some(uid), gid: None }),
            // Files created there have the edge's group; only the instance knows the name.
            (Users::Lent(_), Some(_)) => (0o3733, Owner::default()),
            _ => (0o700, Owner::default()),
        };
        durable::make_folder_as(&folder, mode, owner)?;
        Ok((folder, socket))
    }
}

/// Folder owned by an app's user.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// Exists.
    There(PathBuf),
    /// A process of the app's user must create `make`; then `draft` is renamed to `path`, see [`finish_own`].
    ToMake { make: PathBuf, draft: PathBuf, path: PathBuf, own: PathBuf },
}

/// Renames a folder in which the app's user has created its own.
pub(super) fn finish_own(draft: &Path, path: &Path, uid: Option<u32>) -> Result<(), Error> {
    durable::make_folder_as(draft, PASSED, Owner::default())?;
    // From here on, only the edge changes the entries.
    if let Some(uid) = uid {
        check_own(&draft.join("own"), uid)?;
    }
    Ok(durable::move_folder(draft, path)?)
}

/// Checks that a folder that others could have created is a folder, not a link, and owned by the intended user.
fn check_own(own: &Path, uid: u32) -> Result<(), Error> {
    let found = std::fs::symlink_metadata(own);
    match found {
        Ok(found) if found.is_dir() && found.uid() == uid => Ok(()),
        Ok(found) if found.is_dir() => Err(belongs_to_other(own, found.uid(), uid)),
        _ => Err(Error::Folder(format!("{} is no folder of the user {uid}: remove it", own.display()))),
    }
}

fn belongs_to_other(path: &Path, owner: u32, uid: u32) -> Error {
    let path = path.display();
    Error::Folder(format!(
        "{path} belongs to the user id {owner} and not to {uid}: remove it, or keep what is in it by `chown -hR --from={owner} {uid}:{uid} {path}`"
    ))
}

/// Moves away temporary folders owned by a foreign user: earlier versions of the edge gave an app's whole folder to one
/// user.
fn set_aside_foreign(root: &Path) {
    let own = rustix::process::geteuid().as_raw();
    for folder in entries(&root.join("tmp")) {
        let is_foreign = std::fs::symlink_metadata(&folder).is_ok_and(|found| found.uid() != own);
        if is_foreign && let Err(error) = durable::move_folder(&folder, &aside(root)) {
            tracing::warn!(%error, "a folder of temporary files stays where it is");
        }
    }
}

/// Removes laid-out code after renaming, so that a partial folder never passes for complete.
fn remove_code(folder: PathBuf) -> Result<(), Error> {
    let folder = match name_of(&folder).starts_with('.') {
        true => folder,
        false => {
            let aside = folder.with_file_name(draft_name());
            durable::move_folder(&folder, &aside)?;
            aside
        }
    };
    durable::remove_folder(&folder)?;
    Ok(())
}

/// Returns the folder name of an app or its previews, distinct from every app name.
fn folder_name(app: &AppName, settings_place: &str) -> String {
    format!("{app}{}", if settings_place == PREVIEW { OF_PREVIEWS } else { "" })
}

/// Returns a unique name for an entry about to be removed.
fn aside(root: &Path) -> PathBuf {
    root.join(format!("{OLD_RUN}{:016x}", rand::random::<u64>()))
}

/// Returns a unique name for an incomplete entry.
fn draft_name() -> String {
    format!(".{:016x}.tmp", rand::random::<u64>())
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Returns the entries of a folder; empty if absent.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = std::fs::read_dir(folder).into_iter().flatten();
    found
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|e| e.path())
        .collect()
}

/// Runs blocking disk work on a blocking thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_panicked| Err(Error::Folder("the work on the disk broke off".to_owned())))
}

#[cfg(test)]
mod tests;
