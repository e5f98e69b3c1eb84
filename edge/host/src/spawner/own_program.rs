//! How this program starts itself for another part: an instance, a task, a spawner.

/// This very program, even where its file was replaced meanwhile.
pub(super) const OWN_PROGRAM: &str = "/proc/self/exe";
/// Its name.
pub(super) const OWN_NAME: &str = "devanture-edge";
