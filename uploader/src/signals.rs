//! Signals that end a command: Ctrl-C, and the one by which CI ends a job.

use crate::output::exit::{self, Failure, INTERRUPTED};

/// Carries out `work` until Ctrl-C or SIGTERM.
pub(crate) async fn interruptible(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        // Signals are handled before the work begins.
        biased;
        Ok(()) = tokio::signal::ctrl_c() => Err(Failure::interrupted(INTERRUPTED)),
        failure = terminated() => Err(failure),
        ended = work => ended,
    }
}

/// Waits for the signal by which CI ends a job.
#[cfg(unix)]
pub(crate) async fn terminated() -> Failure {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut signal) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    match signal.recv().await {
        Some(()) => Failure::interrupted(exit::TERMINATED),
        None => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminated() -> Failure {
    std::future::pending().await
}
