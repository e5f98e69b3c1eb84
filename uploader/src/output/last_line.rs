//! The last lines of failed commands: the resulting live version.

use super::report::Again;

/// A version was live before.
pub(crate) const STILL_RUNNING: &str = "The previous version is still running.";
/// No version was live before.
pub(crate) const NOTHING_LIVE: &str = "Nothing is live yet; nothing has changed.";
/// The push ended before its first request, and no edge can be asked for the live version.
pub(crate) const NOTHING_SENT: &str = "Nothing was sent; nothing has changed.";
/// The push of an archive was interrupted, and the edge may have received it: for its hint.
pub(crate) const MAY_GO_ON: &str = "the edge may go on with the archive and make it live";

/// The end of the command was not received, and the edge cannot be reached either.
pub(crate) fn not_known(again: &Again) -> String {
    format!("What is live is not known: `devanture status{}` tells it.", again.0)
}

/// The push of `what` was interrupted after the edge had accepted it: for its hint.
pub(crate) fn goes_on(what: &str) -> String {
    format!("the edge goes on with {what} and may make it live")
}
