//! Detects changes of files: by events of the system if available, else by periodic checks. Reports that a file has
//! changed and not which one, since the folder is read as a whole either way.

use std::ffi::{OsStr, OsString};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use devanture_config::manifest::leave_out::{is_left_out, is_left_out_itself, left_out_part};
use devanture_config::site_toml::overlay_of;
use devanture_project::bundle::WRANGLER_FILES;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::watch;
use tokio::time::Instant;

/// Quiet time after which changes are over: a program that writes several files does not pause longer.
const QUIET: Duration = Duration::from_millis(100);
/// Time after which ongoing changes are taken as they are: some program may write all the time.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// Interval of checks that the folder is still the watched one, and of polls without support by the system.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Upper bound of nested folders.
const DEPTH_MAX: usize = 256;

/// Device, inode, and time of creation, if known.
type Identity = (u64, u64, Option<SystemTime>);

/// The watched folder.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    /// The served folder.
    www: PathBuf,
    /// The folder of `devanture.toml`.
    project: PathBuf,
    /// Both without links, in the form of some systems.
    real: [PathBuf; 2],
    /// The name of `devanture.toml`.
    site_file: OsString,
}

impl Watched {
    /// Creates the set of the folder and the project's file, which may have overlays beside it.
    pub(super) fn new(www: &Path, site_file: &Path) -> Self {
        let parent = site_file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let (www, project) = (absolute(www), absolute(parent.unwrap_or_else(|| Path::new("."))));
        let real = [real(&www), real(&project)];
        Self { www, project, real, site_file: site_file.file_name().unwrap_or_default().to_owned() }
    }

    /// Returns true if a file of this name, beside `devanture.toml`, affects the site.
    fn is_setting(&self, name: &OsStr) -> bool {
        let (own, name) = (self.site_file.to_string_lossy(), name.to_string_lossy());
        own == name || overlay_of(&own, &name).is_some() || WRANGLER_FILES.contains(&&*name)
    }

    /// Returns true if a change of the file at `path` may affect the served site.
    fn concerns(&self, path: &Path) -> bool {
        let below = |part: &Path| part.to_str().is_none_or(|part| left_out_part(part).is_none());
        let [www, project] = &self.real;
        let is_beside = |folder: &Path| path.parent() == Some(folder);
        [&self.www, www].into_iter().any(|www| path.strip_prefix(www).is_ok_and(below))
            || ((is_beside(&self.project) || is_beside(project))
                && path.file_name().is_some_and(|name| self.is_setting(name)))
    }

    /// Returns the identity of the folder at the path, which may be replaced by a new folder.
    fn identity(&self) -> Option<Identity> {
        self.www.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino(), metadata.created().ok()))
    }

    /// Returns true if the folder itself was removed or renamed: its replacement may have the same inode.
    fn is_end(&self, event: &Event) -> bool {
        let is_end = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
        is_end && event.paths.iter().any(|path| *path == self.www || *path == self.real[0])
    }

    /// Returns a number that differs after a change of a file.
    fn print(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for entry in std::fs::read_dir(&self.project).into_iter().flatten().flatten() {
            if self.is_setting(&entry.file_name()) {
                print_of(&entry.path(), &mut hasher);
            }
        }
        walk(&self.www, 0, &mut hasher);
        hasher.finish()
    }
}

/// Returns the path from the root. Links are not resolved: their targets may change.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn print_of(path: &Path, hasher: &mut DefaultHasher) {
    path.hash(hasher);
    // Also where a link leads.
    for metadata in [path.symlink_metadata(), path.metadata()].into_iter().flatten() {
        (metadata.dev(), metadata.ino(), metadata.len()).hash(hasher);
        (metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()).hash(hasher);
    }
}

fn walk(folder: &Path, depth: usize, hasher: &mut DefaultHasher) {
    if depth > DEPTH_MAX {
        return;
    }
    let mut entries: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let is_out = if depth == 0 { is_left_out_itself } else { is_left_out };
    for entry in entries {
        if entry.file_name().to_str().is_some_and(is_out) {
            continue;
        }
        print_of(&entry.path(), hasher);
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), depth + 1, hasher);
        }
    }
}

/// Hears of changes.
pub(super) struct Watch {
    watched: Watched,
    /// The identity of the folder at the last check.
    identity: Option<Identity>,
    /// Set if the folder has gone since.
    has_ended: Arc<AtomicBool>,
    changes: watch::Sender<u64>,
    changed: watch::Receiver<u64>,
    means: Means,
}

/// The source of events.
enum Means {
    /// The system tells.
    System {
        /// Reports events until dropped.
        _watcher: RecommendedWatcher,
    },
    /// Periodic checks of the files; with their last fingerprint.
    Looking(u64),
}

impl Watch {
    /// Begins to watch. Returns also the reason why the system's events are unavailable, if so.
    pub(super) fn begin(watched: Watched, polls: bool) -> (Self, Option<String>) {
        let (changes, changed) = watch::channel(0);
        let identity = watched.identity();
        let has_ended = Arc::default();
        let mut watch = Self { watched, identity, has_ended, changes, changed, means: Means::Looking(0) };
        if polls {
            watch.look();
            return (watch, None);
        }
        let why = watch.listen().err().map(|error| error.to_string());
        (watch, why)
    }

    /// Subscribes to the system's events; without them, the files are checked periodically.
    fn listen(&mut self) -> notify::Result<()> {
        match self.watcher() {
            Ok(watcher) => {
                self.means = Means::System { _watcher: watcher };
                Ok(())
            }
            Err(error) => {
                self.look();
                Err(error)
            }
        }
    }

    fn look(&mut self) {
        self.means = Means::Looking(self.watched.print());
    }

    fn watcher(&self) -> notify::Result<RecommendedWatcher> {
        let (watched, changes, has_ended) = (self.watched.clone(), self.changes.clone(), Arc::clone(&self.has_ended));
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.as_ref().is_ok_and(|event| watched.is_end(event)) {
                has_ended.store(true, Ordering::Relaxed);
            }
            // An unknown change may affect any file.
            if event.map_or(true, |event| is_change(&event, &watched)) {
                changes.send_modify(|count| *count += 1);
            }
        })?;
        let Watched { www, project, .. } = &self.watched;
        if www != project && project.is_dir() {
            watcher.watch(project, RecursiveMode::NonRecursive)?;
        }
        if self.identity.is_some() {
            watcher.watch(www, RecursiveMode::Recursive)?;
        }
        Ok(watcher)
    }

    /// Watches the folder named by `watched`, if different.
    pub(super) fn turn_to(&mut self, watched: Watched) {
        if watched.www != self.watched.www {
            self.watched = watched;
            self.identity = self.watched.identity();
            self.start_again();
        }
    }

    fn start_again(&mut self) {
        self.watched.real = [real(&self.watched.www), real(&self.watched.project)];
        match self.means {
            // After a later failure the files are polled; the note is printed once, at the start.
            Means::System { .. } => drop(self.listen()),
            Means::Looking(_) => self.look(),
        }
    }

    /// Waits for a change, and then for quiet.
    pub(super) async fn settled(&mut self) {
        loop {
            tokio::select! {
                // The sender is a field of this value.
                _ = self.changed.changed() => break,
                () = tokio::time::sleep(LOOK_EVERY) => {
                    if self.is_other().await {
                        break;
                    }
                }
            }
        }
        self.quiet().await;
    }

    /// Waits until no change occurred for a moment.
    async fn quiet(&mut self) {
        let until = Instant::now() + BUSY_MAX;
        while Instant::now() < until {
            let is_quiet = match &self.means {
                Means::System { .. } => tokio::time::timeout(QUIET, self.changed.changed()).await.is_err(),
                Means::Looking(_) => {
                    tokio::time::sleep(QUIET).await;
                    !self.is_other().await
                }
            };
            if is_quiet {
                break;
            }
        }
        self.follow();
    }

    /// Returns true if a new folder is at the path, or, without the system's events, if a file has changed.
    async fn is_other(&mut self) -> bool {
        if self.follow() {
            return true;
        }
        let Means::Looking(before) = self.means else { return false };
        let watched = self.watched.clone();
        let now = tokio::task::spawn_blocking(move || watched.print()).await.unwrap_or(before);
        self.means = Means::Looking(now);
        now != before
    }

    /// Watches the current folder at the path. Returns true if the folder is a new one.
    fn follow(&mut self) -> bool {
        let has_ended = self.has_ended.swap(false, Ordering::Relaxed);
        let identity = self.watched.identity();
        if identity == self.identity && !has_ended {
            return false;
        }
        self.identity = identity;
        self.start_again();
        true
    }
}

/// Returns true if an event changes a relevant file. Opening a file, as this program does, is an event too.
fn is_change(event: &Event, watched: &Watched) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        EventKind::Access(_) => return false,
        _ => {}
    }
    event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(|path| watched.concerns(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// Longest time until a change is heard of.
    const TIME_MAX: Duration = Duration::from_secs(30);

    fn put(path: &Path, text: &str) {
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(path);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn what_is_not_served_and_what_is_only_read_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path();
        std::fs::create_dir(project.join("www")).unwrap();
        let watched = Watched::new(&project.join("www"), &project.join("devanture.toml"));
        let event = |kind, path: &str| Event::new(kind).add_path(project.join(path));
        let any = EventKind::Modify(ModifyKind::Any);
        for path in ["www/index.html", "www/a/b", "devanture.toml", "devanture.staging.toml", "wrangler.toml", "www"] {
            assert!(is_change(&event(any, path), &watched), "{path}");
        }
        for path in
            ["www/.git/index", "www/node_modules/a/b.js", "src/main.js", ".env", "other.toml", "a/devanture.toml"]
        {
            assert!(!is_change(&event(any, path), &watched), "{path}");
        }
        let read = EventKind::Access(AccessKind::Open(AccessMode::Any));
        assert!(!is_change(&event(read, "www/index.html"), &watched));
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert!(is_change(&event(written, "www/index.html"), &watched));
    }

    #[tokio::test]
    async fn changes_are_heard_of_with_and_without_the_system() {
        for polls in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let (www, site_file) = (folder.path().join("www"), folder.path().join("devanture.toml"));
            let (mut watch, _) = Watch::begin(Watched::new(&www, &site_file), polls);
            let settled = async |watch: &mut Watch, what: &str| {
                let settled = tokio::time::timeout(TIME_MAX, watch.settled()).await;
                assert!(settled.is_ok(), "{what}, polls: {polls}");
            };
            std::fs::create_dir(&www).unwrap();
            settled(&mut watch, "a folder that comes to be").await;
            put(&www.join("a.html"), "one");
            settled(&mut watch, "a new file").await;
            std::fs::create_dir(www.join("b")).unwrap();
            settled(&mut watch, "a new folder").await;
            put(&www.join("b/c.css"), "two");
            settled(&mut watch, "a file below").await;
            put(&site_file, "app = \"x\"");
            settled(&mut watch, "devanture.toml").await;
            std::fs::remove_dir_all(&www).unwrap();
            settled(&mut watch, "a folder that goes").await;
            std::fs::create_dir(&www).unwrap();
            settled(&mut watch, "a folder that comes back").await;
            put(&www.join("a.html"), "three");
            settled(&mut watch, "a file in it").await;
            // A folder created at once may have the inode of the removed one.
            for round in 0..if polls { 1 } else { 5 } {
                std::fs::remove_dir_all(&www).unwrap();
                std::fs::create_dir(&www).unwrap();
                settled(&mut watch, "a folder in the place of another").await;
                put(&www.join("a.html"), &format!("round {round}"));
                settled(&mut watch, "a file in that").await;
            }
        }
    }
}
