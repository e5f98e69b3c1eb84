//! Follows the pause of all changes: refuses new changes, and ends the pause at its deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{sleep, timeout};

use devanture_control::ledger::{is_write_pause, resume_changes, write_pause};
use devanture_control::publish::Publisher;
use devanture_store::catalog::Committed;

/// Pause after the catalog failed.
const AGAIN: Duration = Duration::from_secs(2);

/// Follows the pause as long as the edge runs.
pub(super) async fn follow(publisher: Arc<Publisher>) {
    let ledger = publisher.ledger();
    let catalog = &*ledger.catalog;
    let mut commits = catalog.watch();
    let mut was_paused = false;
    loop {
        let pause = match write_pause(catalog).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(%error, "whether changes are paused cannot be read");
                sleep(AGAIN).await;
                continue;
            }
        };
        if pause.is_some() != was_paused {
            was_paused = pause.is_some();
            ledger.note_pause(was_paused);
        }
        let Some((revision, pause)) = pause else {
            changed(&mut commits).await;
            continue;
        };
        tracing::warn!(
            seconds = pause.seconds,
            "changes are paused while the last of them are copied to another store"
        );
        if timeout(Duration::from_secs(pause.seconds), changed(&mut commits)).await.is_ok() {
            continue;
        }
        match resume_changes(catalog, Some(revision)).await {
            Ok(is_resumed) => {
                if is_resumed {
                    tracing::warn!("the time of the pause is over: changes go on, and what was copied is out of date");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the pause of changes could not be ended");
                sleep(AGAIN).await;
            }
        }
    }
}

/// Waits until the pause may have changed.
async fn changed(commits: &mut Receiver<Committed>) {
    loop {
        match commits.recv().await {
            Ok(committed) if !is_write_pause(&committed) => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
