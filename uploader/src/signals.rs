//! Signals that end a command: Ctrl-C, and the one by which CI ends a job.

use crate::output::exit::{self, Failure, INTERRUPTED};
use crate::platform::terminated;

/// Carries out `work` until Ctrl-C or SIGTERM.
pub(crate) async fn interruptible(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        // Signals are handled before the work begins.
        biased;
        Ok(()) = tokio::signal::ctrl_c() => Err(Failure::interrupted(INTERRUPTED)),
        () = terminated() => Err(Failure::interrupted(exit::TERMINATED)),
        ended = work => ended,
    }
}
