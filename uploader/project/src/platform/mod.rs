//! Differences between systems in files: run bits, identities, and opening without following links. `unix` is tested on
//! Linux; `windows`, which all other systems use, has never been compiled or tested.

#[cfg(unix)]
mod unix;
#[cfg(not(unix))]
mod windows;

#[cfg(unix)]
pub use unix::is_program;
#[cfg(unix)]
pub(crate) use unix::{OpenFolder, identity, may_run};
#[cfg(not(unix))]
pub use windows::is_program;
#[cfg(not(unix))]
pub(crate) use windows::{OpenFolder, identity, may_run};
