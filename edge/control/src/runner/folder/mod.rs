//! The folders of backends: the code of a version, laid out whole and read-only; what an environment keeps; what it may
//! write that nobody keeps; where its sockets lie.

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

/// Longest path of a socket that every system takes, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 100;
/// The mode of the runner's folder: everybody may pass it, and nobody else may list it.
const PASSED: u32 = 0o711;

/// The suffix of the folder of an app's previews, after the name of the app.
const OF_PREVIEWS: &str = "--preview";
/// The prefix of a folder of an earlier run that is to be removed, before a number of its own.
const OLD_RUN: &str = "run.old-";

/// The code of a backend on disk, for as long as this lives.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) path: PathBuf,
    folder: ServerFolder,
}

/// The code of one app that is on disk, by its folder.
type Known = HashMap<PathBuf, Weak<Code>>;

/// All folders of the runner.
pub(super) struct Folders {
    root: PathBuf,
    users: Users,
    interpreters: Interpreters,
    blobs: Arc<dyn Blobs>,
    /// Held while one of an app is laid out or removed.
    apps: Mutex<HashMap<AppName, Arc<tokio::sync::Mutex<Known>>>>,
}

impl Folders {
    /// Makes the folders that are always there, and puts the sockets of an earlier run out of the way, unless its
    /// instances are adopted; what apps have made of their folders is removed meanwhile, and never keeps an edge from
    /// starting.
    pub(super) fn open(
        root: PathBuf,
        (users, interpreters): (Users, Interpreters),
        blobs: Arc<dyn Blobs>,
        is_adopted: bool,
    ) -> Result<Self, Error> {
        durable::make_folder(&root)?;
        durable::make_folder_as(&root, PASSED, Owner::default())?;
        let old = aside(&root);
        // Instances of the edge before listen on its sockets.
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

    /// Mode and owner of the folder with the code of one environment. The edge owns the code, so that no instance can
    /// change its mode; where the edge can give groups away, nobody but the environment's user passes this folder, else
    /// nobody lists it.
    fn code_access(&self, uid: Option<u32>) -> (u32, Owner) {
        match (&self.users, uid) {
            (Users::Given(_), Some(_)) => (0o710, Owner { uid: None, gid: uid }),
            _ => (PASSED, Owner::default()),
        }
    }

    /// The interpreters to which links of bundles may lead.
    pub(super) fn interpreters(&self) -> &Interpreters {
        &self.interpreters
    }

    fn of(&self, app: &AppName) -> Arc<tokio::sync::Mutex<Known>> {
        let mut apps = self.apps.lock();
        Arc::clone(apps.entry(app.clone()).or_default())
    }

    /// Forgets an app of which no code is known, unless somebody works on it.
    fn forget_unused(&self, app: &AppName, known: &Arc<tokio::sync::Mutex<Known>>) {
        let mut apps = self.apps.lock();
        // The map has one of them, and the caller the other; nobody gets a third meanwhile.
        if Arc::strong_count(known) <= 2 && known.try_lock().is_ok_and(|known| known.is_empty()) {
            apps.remove(app);
        }
    }

    /// The code of a backend, laid out where it is not.
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
            // What nobody but the edge can change may be one file under several names, of several environments too: its
            // owner is the edge's user, and who has a name of it has equal bytes.
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

    /// Keeps the code of instances that the edge before started.
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

    /// Removes the code of an app that nothing has any more.
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

    /// Removes the code of all apps that nothing has.
    pub(super) async fn tidy_all(&self) {
        for folder in entries(&self.root.join("code")) {
            let name = name_of(&folder);
            let name = name.strip_suffix(OF_PREVIEWS).unwrap_or(name);
            if let Ok(app) = name.parse() {
                self.tidy(&app).await;
            }
        }
    }

    /// The folder that stays for a place of an app, below which the instances' own is made by [`Folders::own`]. An
    /// alias and an environment that once had the same name share nothing.
    pub(super) fn data(&self, app: &AppName, settings_place: &str, place: &str) -> PathBuf {
        self.root.join("data").join(folder_name(app, settings_place)).join(place)
    }

    /// The folder for the snapshots of an environment's data, below which its user's own is made by [`Folders::own`].
    pub(super) fn snapshots(&self, app: &AppName, environment: &str) -> PathBuf {
        self.root.join("snapshots").join(app.as_str()).join(environment)
    }

    /// The folder that is there while the data of an environment is being replaced.
    pub(super) fn replacing(&self, app: &AppName, environment: &str) -> PathBuf {
        self.root.join("replacing").join(app.as_str()).join(environment)
    }

    /// The folders of what an environment, or all previews of an app, keep; each belongs to the user of its instances.
    pub(super) fn persisted(&self, app: &AppName, settings_place: &str) -> Vec<PathBuf> {
        let of_app = self.root.join("data").join(folder_name(app, settings_place));
        let folders = match settings_place {
            PREVIEW => entries(&of_app),
            environment => vec![of_app.join(environment)],
        };
        folders.into_iter().map(|folder| self.made(folder)).collect()
    }

    /// Paths that belong to the user of instances, in or at one of their folders.
    pub(super) fn made(&self, folder: PathBuf) -> PathBuf {
        match &self.users {
            Users::Lent(_) => folder.join("own"),
            Users::Same | Users::Given(_) => folder,
        }
    }

    /// The folder that all others are in.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// A name for a folder that is being removed; what is left of it goes at the next start.
    pub(super) fn aside(&self) -> PathBuf {
        aside(&self.root)
    }

    /// The folder for what an environment, or the previews of an app, write and nobody keeps.
    pub(super) fn temporary(&self, app: &AppName, settings_place: &str) -> PathBuf {
        self.root.join("tmp").join(folder_name(app, settings_place)).join(settings_place)
    }

    /// Removes the folders of an app, or of one environment of it, of which nothing runs.
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
            // Nothing is laid out meanwhile.
            let mut known = known.lock().await;
            known.retain(|_, code| code.strong_count() > 0);
            blocking(move || Ok(folders.iter().try_for_each(|folder| durable::remove_folder(folder).map(drop))?)).await
        };
        self.forget_unused(app, &known);
        removed
    }

    /// The folders that a place's user made itself, since the edge could not give it any.
    pub(super) fn made_by(&self, user: &PlaceUser) -> Vec<PathBuf> {
        let of_app =
            ["data", "snapshots", "tmp"].map(|kind| self.root.join(kind).join(folder_name(&user.app, &user.place)));
        let own = of_app.iter().flat_map(|folder| entries(folder)).map(|folder| folder.join("own"));
        own.filter(|own| std::fs::symlink_metadata(own).is_ok_and(|found| found.uid() == user.uid)).collect()
    }

    /// Makes a folder that one user alone may enter; says where it is.
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
                // A folder that everybody may make one in, under a name that nobody knows.
                let parent = path.parent().unwrap_or(path);
                let draft = parent.join(draft_name());
                // Only its creator removes it or moves it away again. That one syncs it, which takes the right to read
                // it.
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

    /// A folder for the socket of one instance, and the socket in it.
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
            // What is made in it has the edge's group; its name is known to the instance alone.
            (Users::Lent(_), Some(_)) => (0o3733, Owner::default()),
            _ => (0o700, Owner::default()),
        };
        durable::make_folder_as(&folder, mode, owner)?;
        Ok((folder, socket))
    }
}

/// A folder of an app's own.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// It is there.
    There(PathBuf),
    /// A process of the app's user has to make `make`; then `draft` gets the name `path`, see [`finish_own`].
    ToMake { make: PathBuf, draft: PathBuf, path: PathBuf, own: PathBuf },
}

/// Gives a folder its name in which the app's user has made its own.
pub(super) fn finish_own(draft: &Path, path: &Path, uid: Option<u32>) -> Result<(), Error> {
    durable::make_folder_as(draft, PASSED, Owner::default())?;
    // From here on nobody else changes what is in it.
    if let Some(uid) = uid {
        check_own(&draft.join("own"), uid)?;
    }
    Ok(durable::move_folder(draft, path)?)
}

/// Whether a folder that others could make is one, no link to another, and made by the user that it is for.
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

/// Puts folders for temporary files out of the way that belong to another user than the edge: earlier versions of the
/// edge gave the folder of a whole app to one user.
fn set_aside_foreign(root: &Path) {
    let own = rustix::process::geteuid().as_raw();
    for folder in entries(&root.join("tmp")) {
        let is_foreign = std::fs::symlink_metadata(&folder).is_ok_and(|found| found.uid() != own);
        if is_foreign && let Err(error) = durable::move_folder(&folder, &aside(root)) {
            tracing::warn!(%error, "a folder of temporary files stays where it is");
        }
    }
}

/// Removes laid out code, under another name: what is only half there is never taken for what it was.
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

/// The name of the folder of an app, or of its previews: no app has such a name.
fn folder_name(app: &AppName, settings_place: &str) -> String {
    format!("{app}{}", if settings_place == PREVIEW { OF_PREVIEWS } else { "" })
}

/// A name for what is to be removed, which nothing else has.
fn aside(root: &Path) -> PathBuf {
    root.join(format!("{OLD_RUN}{:016x}", rand::random::<u64>()))
}

/// A name for what is not whole, which nothing else has.
fn draft_name() -> String {
    format!(".{:016x}.tmp", rand::random::<u64>())
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// The entries of a folder; none if it does not exist.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = std::fs::read_dir(folder).into_iter().flatten();
    found
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|e| e.path())
        .collect()
}

/// Does what waits for a disk where nobody else waits.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_panicked| Err(Error::Folder("the work on the disk broke off".to_owned())))
}

#[cfg(test)]
mod tests;
