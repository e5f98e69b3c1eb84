//! Hears that files have changed: by the system where it tells, else by looking at them from time to time. It says that
//! something has changed and not what, since the folder is read as a whole either way.

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

/// Changes are over when there was none for so long: a program that writes several files does not rest longer.
const QUIET: Duration = Duration::from_millis(100);
/// After so long they are taken as they are: something may write all the time.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// Interval of checks whether the folder is still the watched one, and of polls without support by the system.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Most folders below one another that are looked at.
const DEPTH_MAX: usize = 256;

/// Device, inode, and when it was made, where that is known.
type Identity = (u64, u64, Option<SystemTime>);

/// The watched folder.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    /// The folder that is served.
    www: PathBuf,
    /// The folder of `devanture.toml`.
    project: PathBuf,
    /// Both without links, as some systems name them.
    real: [PathBuf; 2],
    /// The name of `devanture.toml`.
    site_file: OsString,
}

impl Watched {
    /// The folder, and the file of the project beside which overlays lie.
    pub(super) fn new(www: &Path, site_file: &Path) -> Self {
        let parent = site_file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let (www, project) = (absolute(www), absolute(parent.unwrap_or_else(|| Path::new("."))));
        let real = [real(&www), real(&project)];
        Self { www, project, real, site_file: site_file.file_name().unwrap_or_default().to_owned() }
    }

    /// Whether a file of this name, beside `devanture.toml`, says something about the site.
    fn is_setting(&self, name: &OsStr) -> bool {
        let (own, name) = (self.site_file.to_string_lossy(), name.to_string_lossy());
        own == name || overlay_of(&own, &name).is_some() || WRANGLER_FILES.contains(&&*name)
    }

    /// Whether what happened to the file at `path` may change what is served.
    fn concerns(&self, path: &Path) -> bool {
        let below = |part: &Path| part.to_str().is_none_or(|part| left_out_part(part).is_none());
        let [www, project] = &self.real;
        let is_beside = |folder: &Path| path.parent() == Some(folder);
        [&self.www, www].into_iter().any(|www| path.strip_prefix(www).is_ok_and(below))
            || ((is_beside(&self.project) || is_beside(project))
                && path.file_name().is_some_and(|name| self.is_setting(name)))
    }

    /// The identity of the folder at the path: another one may be put in its place.
    fn identity(&self) -> Option<Identity> {
        self.www.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino(), metadata.created().ok()))
    }

    /// Whether the folder itself went away or got another name: what comes in its place may have the same inode.
    fn is_end(&self, event: &Event) -> bool {
        let is_end = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
        is_end && event.paths.iter().any(|path| *path == self.www || *path == self.real[0])
    }

    /// A number that is another one when a file was changed.
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

/// The path from the root. Links stay in it: where they lead may change.
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
    /// The identity of the folder at the last look.
    identity: Option<Identity>,
    /// Whether it has gone since.
    has_ended: Arc<AtomicBool>,
    changes: watch::Sender<u64>,
    changed: watch::Receiver<u64>,
    means: Means,
}

/// The source of events.
enum Means {
    /// The system tells.
    System {
        /// It tells for as long as it is there.
        _watcher: RecommendedWatcher,
    },
    /// The files are looked at; with what they were last.
    Looking(u64),
}

impl Watch {
    /// Begins to watch. Beside it stands why the system does not tell, where it does not.
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

    /// Lets the system tell; without it, the files are looked at.
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
            // An unknown change may be anything.
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

    /// Watches another folder where `watched` names one.
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
            // Where it fails later, the files are polled; the note is printed once, at the start.
            Means::System { .. } => drop(self.listen()),
            Means::Looking(_) => self.look(),
        }
    }

    /// Waits until something has changed and everything is quiet again.
    pub(super) async fn settled(&mut self) {
        loop {
            tokio::select! {
                // The sender is a part of this.
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

    /// Waits until nothing has changed for a moment.
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

    /// Whether another folder is at the path, or, where the system does not tell, a file is another.
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

    /// Watches what is at the path now. Gives whether that is another folder than before.
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

/// Whether what happened changes a file, and one that matters. Opening a file, as this program does, is an event too.
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
            // What is made at once may have the inode of what has just gone.
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
