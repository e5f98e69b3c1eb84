//! Signals that end a command: Ctrl-C, and the signal by which CI ends a job.

use devanture_config::problem::Code;

use crate::output::exit::{self, Failure, INTERRUPTED};
use crate::platform::terminated;

/// Runs `work` until Ctrl-C or SIGTERM.
pub(crate) async fn interruptible(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        // Signals are handled before the work begins.
        biased;
        exit = signalled() => Err(Failure::interrupted(exit)),
        ended = work => ended,
    }
}

/// Runs `work` until Ctrl-C or SIGTERM; `None` after a signal.
pub(crate) async fn until_signal<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        _ = signalled() => None,
        ended = work => Some(ended),
    }
}

/// Waits for a signal that ends a command. Returns the exit code of the signal.
async fn signalled() -> u8 {
    tokio::select! {
        biased;
        Ok(()) = tokio::signal::ctrl_c() => INTERRUPTED,
        () = terminated() => exit::TERMINATED,
    }
}

/// Runs `work`, which may wait for stdin or for the pipe of a different program, on a thread of its own: on the thread
/// of the command, signals would not be received meanwhile.
///
/// # Errors
/// Like `work`.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| Failure::new(Code::Internal, format!("What was to be read was not: {error}.")))?
}
