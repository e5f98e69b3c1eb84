//! Configures the allocator to return free memory to the system sooner than by default: pushes and loads of many files
//! otherwise leave tens of megabytes of free memory for a while.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Environment variable that the allocator reads once, before `main`.
const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";
/// Milliseconds until free memory is returned; the default is 1,000.
const PURGE_DELAY_MS: &str = "100";

/// Executes the program again with the delay, unless the environment has the variable: the process id and the
/// descriptors stay the same.
pub(crate) fn give_back_early() {
    let mut arguments = std::env::args_os();
    let (Some(name), Ok(program)) = (arguments.next(), std::env::current_exe()) else { return };
    if std::env::var_os(PURGE_DELAY).is_none() {
        // On failure, the process continues with the default, and more memory.
        drop(Command::new(program).arg0(name).args(arguments).env(PURGE_DELAY, PURGE_DELAY_MS).exec());
    }
}
