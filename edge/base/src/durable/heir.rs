//! Owner of files that root creates in the data folder of an edge running as another user: the edge's user.
//!
//! Only files just created by this process change hands, by descriptor, and only in a folder of the edge's user. So a
//! link planted by the user gives away no file of another user.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{Gid, Mode, Uid, fchown, fstat, openat};

use super::folder_of;
use super::walk::{FOLDER, is_folder};

/// User id of the heir; root for no heir.
static HEIR: AtomicU32 = AtomicU32::new(ROOT);
const ROOT: u32 = 0;

/// Gives all files that this process creates as root in folders of the owner of `data_dir` to the owner: for commands
/// that an operator calls beside an edge. For a missing folder, the nearest existing parent counts.
pub fn make_for_owner_of(data_dir: &Path) {
    if rustix::process::geteuid().is_root()
        && let Some(owner) = data_dir.ancestors().find_map(|folder| std::fs::metadata(folder).ok())
    {
        HEIR.store(owner.uid(), Ordering::Relaxed);
    }
}

/// Gives the new file `path` to the heir, if the folder belongs to the heir.
pub(super) fn give(file: &File, path: &Path) -> std::io::Result<()> {
    give_below(file, folder_of(path))
}

/// Gives the new, certainly empty folder `path` to the heir, if the parent folder belongs to the heir.
pub(super) fn give_folder(path: &Path) -> std::io::Result<()> {
    if HEIR.load(Ordering::Relaxed) == ROOT {
        return Ok(());
    }
    let folder = openat(rustix::fs::CWD, path, FOLDER, Mode::empty())?;
    let found = fstat(&folder)?;
    // The owner of the parent may have replaced the folder.
    let is_ours = is_folder(&found) && found.st_uid == rustix::process::geteuid().as_raw();
    if is_ours { give_below(&folder, folder_of(path)) } else { Ok(()) }
}

fn give_below(made: &impl AsFd, parent: &Path) -> std::io::Result<()> {
    let heir = HEIR.load(Ordering::Relaxed);
    if heir == ROOT {
        return Ok(());
    }
    let parent = std::fs::metadata(parent)?;
    if parent.uid() == heir {
        fchown(made, Some(Uid::from_raw(heir)), Some(Gid::from_raw(parent.gid())))?;
    }
    Ok(())
}
