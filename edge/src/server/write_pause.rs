//! Follows the pause of all changes: refuses new changes, and ends the pause at its deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use devanture_control::ledger::{resume_changes, write_pause};
use devanture_control::publish::Publisher;
use devanture_store::catalog::Revision;
use devanture_store::records::follow::Follow;
use devanture_store::records::table::FollowedBy;

/// Pause after the catalog failed.
const AGAIN: Duration = Duration::from_secs(2);

/// Follows the pause as long as the edge runs.
pub(super) async fn follow(publisher: Arc<Publisher>) {
    let ledger = publisher.ledger();
    let catalog = &*ledger.catalog;
    let mut follow = Follow::new(catalog, FollowedBy::WritePause).with_pause(AGAIN);
    let mut was_paused = false;
    // The revision of the pause, and when its time is over.
    let mut paused: Option<(Revision, Instant)> = None;
    loop {
        tokio::select! {
            is_followed = follow.changed() => {
                if !is_followed {
                    return;
                }
                let pause = match write_pause(catalog).await {
                    Ok(pause) => pause,
                    Err(error) => {
                        tracing::warn!(%error, "whether changes are paused cannot be read");
                        follow.read_failed();
                        continue;
                    }
                };
                if pause.is_some() != was_paused {
                    was_paused = pause.is_some();
                    ledger.note_pause(was_paused);
                }
                if let Some((_, pause)) = &pause {
                    tracing::warn!(
                        seconds = pause.seconds,
                        "changes are paused while the last of them are copied to another store"
                    );
                }
                paused = pause.and_then(|(revision, pause)| {
                    Some((revision, Instant::now().checked_add(Duration::from_secs(pause.seconds))?))
                });
            }
            revision = time_over(paused) => {
                paused = None;
                match resume_changes(catalog, Some(revision)).await {
                    Ok(is_resumed) => {
                        if is_resumed {
                            tracing::warn!(
                                "the time of the pause is over: changes go on, and what was copied is out of date"
                            );
                        }
                        follow.read_again();
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the pause of changes could not be ended");
                        follow.read_failed();
                    }
                }
            }
        }
    }
}

/// Waits until the time of a pause is over; for ever where there is none.
async fn time_over(paused: Option<(Revision, Instant)>) -> Revision {
    let Some((revision, ends)) = paused else { return std::future::pending().await };
    sleep_until(ends).await;
    revision
}
