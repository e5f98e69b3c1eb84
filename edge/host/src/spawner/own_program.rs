//! Starting this program for another role: an instance, a task, a spawner.

/// Path of the running program, even if the file was replaced meanwhile.
pub(super) const OWN_PROGRAM: &str = "/proc/self/exe";
/// Name of the program.
pub(super) const OWN_NAME: &str = "devanture-edge";
