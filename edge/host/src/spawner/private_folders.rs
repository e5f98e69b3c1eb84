//! Private folders for temporary files of an instance, in separate namespaces: the world-writable folders and the
//! folder of `TMPDIR` are one tmpfs of a fixed size. The tmpfs is freed with the last process of the instance, and so
//! is the System V shared memory, which otherwise outlives processes; if another process holds either, the spawner
//! removes the content ([`PrivateMemory`]). Terminals are private too ([`private_terminals`]), and the service manager
//! is out of reach.
//!
//! No file here is on a disk: all files are in a tmpfs, visible only to the instance.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chmodat, chownat, mkdirat, openat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change, mount_remount,
};
use serde::{Deserialize, Serialize};

use super::kernel_files::write;
use super::private_memory::PrivateMemory;
use super::private_terminals::{self, TerminalName};

/// World-writable folders of a machine, with the name of each replacement. Debian's PHP adds the last.
const SHARED: [(&str, &str); 5] = [
    ("/tmp", "tmp"),
    ("/var/tmp", "var-tmp"),
    ("/dev/shm", "shm"),
    ("/run/lock", "lock"),
    ("/var/lib/php/sessions", "php-sessions"),
];
/// Socket of sd_notify(3). The edge's unit accepts messages of all its processes, for takeovers: an instance started by
/// the edge itself could stop the service.
const MANAGER: &str = "/run/systemd/notify";
/// Replacement for the folder of `TMPDIR`.
const OWN: &str = "own";
/// Maximum number of the edge's folders in the tmpfs.
const OWN_FILES: u64 = 64;
/// System V limits of the namespace, from sysctl(5): the pages of shared memory …
const SHARED_MEMORY_PAGES: &str = "/proc/sys/kernel/shmall";
/// … and kernel memory without another limit: semaphores per set and in all sets, operations per call, and sets;
/// message queues, each with at most as many messages as `msgmnb` has bytes.
const UNCOUNTED: [(&str, &str); 3] = [
    ("/proc/sys/kernel/sem", "1000 4000 100 128"),
    ("/proc/sys/kernel/msgmni", "16"),
    ("/proc/sys/kernel/msgmnb", "16384"),
];

/// Private folders of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PrivateFolders {
    /// Existing folder of `TMPDIR`.
    pub(super) temporary: PathBuf,
    /// Bytes of all files together; the same amount again may be System V shared memory.
    pub(super) bytes: u64,
    /// Number of files and folders.
    pub(super) files: u64,
    /// Folders that stay reachable, even within a replaced folder.
    pub(super) keep: Vec<PathBuf>,
}

/// Resources of a process in its namespaces.
pub(super) struct Entered {
    /// Memory to free at the end of the instance.
    pub(super) memory: PrivateMemory,
    /// New name of the terminal, if different inside.
    pub(super) terminal: Option<CString>,
}

/// Open folder with its path.
struct Opened {
    path: PathBuf,
    folder: OwnedFd,
}

impl PrivateFolders {
    /// Returns minimal folders for testing if private folders are possible.
    pub(super) fn smallest() -> Self {
        let shared = SHARED.iter().map(|(path, _)| Path::new(path)).find(|path| path.is_dir());
        Self {
            temporary: shared.unwrap_or_else(|| Path::new("/tmp")).to_owned(),
            bytes: 1 << 20,
            files: 16,
            keep: Vec::new(),
        }
    }
}

/// Moves the single-threaded, privileged process into namespaces with private folders; `uid` is the owner of the
/// folders. Private terminals are included if the system permits.
///
/// # Errors
/// Returns the failed operation and its error.
pub(super) fn enter(folders: &PrivateFolders, uid: Option<u32>) -> Result<Entered, (&'static str, io::Error)> {
    let step = |what: &'static str| move |error: rustix::io::Errno| (what, io::Error::from(error));
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC).map_err(|error| ("no namespaces", error.into()))?;
    // Unmounts outside also apply here; mounts made here are invisible outside.
    let private = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", private).map_err(step("the mounts cannot be separated"))?;
    // Opened before mounting over the folders, and in this namespace: a folder of another namespace cannot be mounted.
    let kept: Vec<Opened> = folders.keep.iter().filter_map(|path| opened(path).ok()).collect();
    let own = opened(&folders.temporary).map_err(step("the folder for temporary files cannot be opened"))?;
    let inner = |error: rustix::io::Errno| ("the folder for temporary files cannot be made", io::Error::from(error));
    let (root, parts) = tmpfs(folders, uid, &own.path).map_err(inner)?;
    let replace = |error: io::Error| ("a folder for temporary files cannot be replaced", error);
    let mut replaced = Vec::new();
    for ((path, _), part) in SHARED.iter().zip(&parts) {
        // Two paths to one folder, or a missing folder, need no further replacement.
        let Some(path) = fs::canonicalize(path).ok().filter(|path| !replaced.contains(path)) else { continue };
        mount_bind(link_to(part).as_str(), &path).map_err(|error| replace(error.into()))?;
        replaced.push(path);
    }
    for kept in &kept {
        if replaced.iter().any(|folder| kept.path.starts_with(folder)) {
            fs::create_dir_all(&kept.path).map_err(replace)?;
            mount_bind_recursive(link_to(&kept.folder).as_str(), &kept.path).map_err(|error| replace(error.into()))?;
        }
    }
    if let Some(part) = parts.last() {
        fs::create_dir_all(&own.path).map_err(replace)?;
        mount_bind(link_to(part).as_str(), &own.path).map_err(|error| replace(error.into()))?;
    }
    if Path::new(MANAGER).exists() {
        mount_bind("/dev/null", MANAGER).map_err(step("the socket of the service manager cannot be hidden"))?;
    }
    bound_system_v(folders.bytes);
    let name = private_terminals::enter().ok().flatten();
    let (terminal, place) = name.map(|TerminalName { path, place }| (path, place)).unzip();
    let memory = PrivateMemory::own(root, place);
    let memory = memory.map_err(|error| ("the folder for temporary files cannot be held", error))?;
    Ok(Entered { memory, terminal })
}

/// Mounts the tmpfs at `place`, away from later mounts; returns the top and the folders, in the order of [`SHARED`] and
/// with the folder of `TMPDIR` last.
fn tmpfs(
    folders: &PrivateFolders,
    uid: Option<u32>,
    place: &Path,
) -> Result<(OwnedFd, Vec<OwnedFd>), rustix::io::Errno> {
    let files = folders.files.saturating_add(OWN_FILES);
    let options = format!("size={},nr_inodes={files},mode=0755", folders.bytes);
    let options = CString::new(options).map_err(|_zero| rustix::io::Errno::INVAL)?;
    mount("tmpfs", place, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())?;
    let root = opened(place)?.folder;
    let shared = SHARED.iter().map(|(_, name)| (*name, 0o1777, None));
    let parts = shared.chain([(OWN, 0o700, uid)]);
    let parts: Result<Vec<OwnedFd>, rustix::io::Errno> = parts
        .map(|(name, mode, owner)| {
            mkdirat(&root, name, Mode::RWXU)?;
            chmodat(&root, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
            if let Some(owner) = owner {
                let (user, group) = (Uid::from_raw(owner), Gid::from_raw(owner));
                chownat(&root, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            openat(&root, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        })
        .collect();
    Ok((root, parts?))
}

fn opened(path: &Path) -> Result<Opened, rustix::io::Errno> {
    let path = fs::canonicalize(path)
        .map_err(|error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::NOENT))?;
    let folder = openat(CWD, &path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(Opened { path, folder })
}

/// Returns a path to an open folder, regardless of later mounts.
fn link_to(folder: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", folder.as_raw_fd())
}

/// Sets the System V limits of the namespace.
fn bound_system_v(bytes: u64) {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4_096);
    let pages = bytes.div_ceil(page).to_string();
    let bounds = || UNCOUNTED.into_iter().chain([(SHARED_MEMORY_PAGES, pages.as_str())]);
    let bound = || bounds().fold(true, |all, (file, text)| write(Path::new(file), text).is_ok() && all);
    if !bound() {
        with_writable_settings(|| Ok(bound())).ok();
    }
}

/// Calls `with` while the kernel's settings are writable. A service manager may have mounted the settings read-only,
/// which can be undone in a private mount namespace, where this function must be called.
///
/// # Errors
/// Fails if the settings stay read-only, and with errors of `with`.
pub(super) fn with_writable_settings<T>(with: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_remount("/proc/sys", flags, "")?;
    let done = with();
    mount_remount("/proc/sys", flags | MountFlags::RDONLY, "").ok();
    done
}
