//! Folders for temporary files that an instance has to itself, in namespaces of its own: those that everybody may write
//! to and the folder that `TMPDIR` names are one tmpfs of a fixed size. It goes with the last process of the instance,
//! and so does the instance's System V shared memory, which outlives processes otherwise; where another process holds
//! them, the spawner removes what is in them ([`PrivateMemory`]). Terminals are its own there too
//! ([`private_terminals`]), and the service manager cannot be reached from there.
//!
//! Nothing here is on a disk: what is made is made in a tmpfs, and seen by the instance alone.

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

/// Folders that everybody on a machine may write to, and what stands in for each. Debian's PHP brings the last one.
const SHARED: [(&str, &str); 5] = [
    ("/tmp", "tmp"),
    ("/var/tmp", "var-tmp"),
    ("/dev/shm", "shm"),
    ("/run/lock", "lock"),
    ("/var/lib/php/sessions", "php-sessions"),
];
/// The socket of sd_notify(3). The unit of an edge takes messages of all its processes, for takeovers: from an instance
/// that the edge starts itself, one could end the service.
const MANAGER: &str = "/run/systemd/notify";
/// The stand-in for the folder that `TMPDIR` names.
const OWN: &str = "own";
/// Folders of the edge's own in the tmpfs, at most.
const OWN_FILES: u64 = 64;
/// Bounds of System V in the namespace, of sysctl(5): the pages of shared memory …
const SHARED_MEMORY_PAGES: &str = "/proc/sys/kernel/shmall";
/// … and what the kernel has memory for that no limit counts. Semaphores of a set, of all sets, operations at once, and
/// sets; message queues, each with at most as many messages as `msgmnb` has bytes.
const UNCOUNTED: [(&str, &str); 3] = [
    ("/proc/sys/kernel/sem", "1000 4000 100 128"),
    ("/proc/sys/kernel/msgmni", "16"),
    ("/proc/sys/kernel/msgmnb", "16384"),
];

/// The folders of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PrivateFolders {
    /// The folder that `TMPDIR` names, which exists.
    pub(super) temporary: PathBuf,
    /// Bytes of all files together; as much again may be System V shared memory.
    pub(super) bytes: u64,
    /// Files and folders together.
    pub(super) files: u64,
    /// Folders that stay what they are, also where they are in one of the replaced folders.
    pub(super) keep: Vec<PathBuf>,
}

/// What a process has in its namespaces.
pub(super) struct Entered {
    /// What is to be freed at the end of the instance.
    pub(super) memory: PrivateMemory,
    /// The name of its terminal, where that is another one here.
    pub(super) terminal: Option<CString>,
}

/// Where something is, as a folder that is open.
struct Opened {
    path: PathBuf,
    folder: OwnedFd,
}

impl PrivateFolders {
    /// Some that show whether there can be any.
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

/// Moves this process, which has one thread and the privileges for it, into namespaces with such folders; `uid` is the
/// user that is to own them. Terminals of its own come with them where the system allows it.
///
/// # Errors
/// The operation that failed, and why.
pub(super) fn enter(folders: &PrivateFolders, uid: Option<u32>) -> Result<Entered, (&'static str, io::Error)> {
    let step = |what: &'static str| move |error: rustix::io::Errno| (what, io::Error::from(error));
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC).map_err(|error| ("no namespaces", error.into()))?;
    // What is unmounted outside goes here too; nothing that is mounted here is seen outside.
    let private = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", private).map_err(step("the mounts cannot be separated"))?;
    // Opened before anything is put in front of them, and in this namespace: a folder of another cannot be mounted.
    let kept: Vec<Opened> = folders.keep.iter().filter_map(|path| opened(path).ok()).collect();
    let own = opened(&folders.temporary).map_err(step("the folder for temporary files cannot be opened"))?;
    let inner = |error: rustix::io::Errno| ("the folder for temporary files cannot be made", io::Error::from(error));
    let (root, parts) = tmpfs(folders, uid, &own.path).map_err(inner)?;
    let replace = |error: io::Error| ("a folder for temporary files cannot be replaced", error);
    let mut replaced = Vec::new();
    for ((path, _), part) in SHARED.iter().zip(&parts) {
        // Where two are one, or one is missing, there is nothing more to replace.
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

/// Mounts the tmpfs at `place`, out of the way of what comes after; gives its top and its folders, in the order of
/// [`SHARED`] and the own one last.
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

/// A path to an open folder, whatever is mounted in front of it by now.
fn link_to(folder: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", folder.as_raw_fd())
}

/// Bounds the System V objects of the namespace.
fn bound_system_v(bytes: u64) {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4_096);
    let pages = bytes.div_ceil(page).to_string();
    let bounds = || UNCOUNTED.into_iter().chain([(SHARED_MEMORY_PAGES, pages.as_str())]);
    let bound = || bounds().fold(true, |all, (file, text)| write(Path::new(file), text).is_ok() && all);
    if !bound() {
        with_writable_settings(|| Ok(bound())).ok();
    }
}

/// Calls `with` while the kernel's settings can be written. A service manager may have mounted them read-only, which
/// can be undone in a namespace of mounts of its own, where this is to be called.
///
/// # Errors
/// Where they stay read-only, and those of `with`.
pub(super) fn with_writable_settings<T>(with: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_remount("/proc/sys", flags, "")?;
    let done = with();
    mount_remount("/proc/sys", flags | MountFlags::RDONLY, "").ok();
    done
}
