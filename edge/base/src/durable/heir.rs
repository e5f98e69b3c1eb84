//! Whom files belong to that root makes in the data folder of an edge which runs as another user: that user.
//!
//! Only what this process has just made changes hands, by its descriptor, and only in a folder of that user. So a link
//! that the user planted gives no file of anybody else away.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{Gid, Mode, Uid, fchown, fstat, openat};

use super::folder_of;
use super::walk::{FOLDER, is_folder};

/// The user; root for nobody.
static HEIR: AtomicU32 = AtomicU32::new(ROOT);
const ROOT: u32 = 0;

/// From now on, what this process makes as root in a folder of the owner of `data_dir` belongs to that owner: for
/// commands that an operator calls beside an edge. Of a folder that is missing, the nearest one around it counts.
pub fn make_for_owner_of(data_dir: &Path) {
    if rustix::process::geteuid().is_root()
        && let Some(owner) = data_dir.ancestors().find_map(|folder| std::fs::metadata(folder).ok())
    {
        HEIR.store(owner.uid(), Ordering::Relaxed);
    }
}

/// Gives the new file `path` to the heir, if its folder is the heir's.
pub(super) fn give(file: &File, path: &Path) -> std::io::Result<()> {
    give_below(file, folder_of(path))
}

/// As [`give`], for a new folder, which nobody can have put anything into.
pub(super) fn give_folder(path: &Path) -> std::io::Result<()> {
    if HEIR.load(Ordering::Relaxed) == ROOT {
        return Ok(());
    }
    let folder = openat(rustix::fs::CWD, path, FOLDER, Mode::empty())?;
    let found = fstat(&folder)?;
    // The owner of the parent may have put another one in its place.
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
