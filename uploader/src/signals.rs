//! Signals that end a command: Ctrl-C, and the one by which CI ends a job.

use devanture_config::problem::Code;

use crate::output::exit::{self, Failure, INTERRUPTED};
use crate::platform::terminated;

/// Carries out `work` until Ctrl-C or SIGTERM.
pub(crate) async fn interruptible(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        // Signals are handled before the work begins.
        biased;
        exit = signalled() => Err(Failure::interrupted(exit)),
        ended = work => ended,
    }
}

/// Carries out `work` until Ctrl-C or SIGTERM; `None` if it was ended.
pub(crate) async fn until_signal<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        _ = signalled() => None,
        ended = work => Some(ended),
    }
}

/// Waits for a signal that ends a command. Returns the exit code that says which.
async fn signalled() -> u8 {
    tokio::select! {
        biased;
        Ok(()) = tokio::signal::ctrl_c() => INTERRUPTED,
        () = terminated() => exit::TERMINATED,
    }
}

/// Carries out `work`, which may wait for stdin or for another program's pipe, on a thread of its own: on that of the
/// command, no signal would be heard meanwhile.
///
/// # Errors
/// As `work`.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| Failure::new(Code::Internal, format!("What was to be read was not: {error}.")))?
}
