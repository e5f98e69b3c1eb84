//! When the allocator gives memory back that is free: sooner than by its default, where pushes and loads of many files
//! leave tens of megabytes of it for a while.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// What the allocator reads before the program begins, and never again.
const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";
/// Milliseconds that memory stays the process's once it is free; the default is 1,000.
const PURGE_DELAY_MS: &str = "100";

/// Begins this program again with that delay, unless the environment has one: the process stays the same, and so do its
/// descriptors.
pub(crate) fn give_back_early() {
    let mut arguments = std::env::args_os();
    let (Some(name), Ok(program)) = (arguments.next(), std::env::current_exe()) else { return };
    if std::env::var_os(PURGE_DELAY).is_none() {
        // Where it fails, the process goes on as it is, with more memory.
        drop(Command::new(program).arg0(name).args(arguments).env(PURGE_DELAY, PURGE_DELAY_MS).exec());
    }
}
