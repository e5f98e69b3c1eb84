//! Watches all keys below the prefix, from the revision of the mirror.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Follower;
use super::events::Events;
use crate::catalog::Revision;
use crate::catalog::etcd::client::REQUEST_TIME_MAX;
use crate::catalog::etcd::fault::Fault;
use crate::catalog::etcd::grpc::Channel;
use crate::catalog::etcd::wire::{
    Watch, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchRequestUnion, WatchResponse,
};

/// Interval between two looks at whether the member is silent.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Silence after which the member is asked if it still watches: commits may just be rare.
const ASK_AFTER: Duration = Duration::from_secs(1);
/// Silence after which the member counts as stopped or cut off.
const SILENCE_MAX: Duration = Duration::from_secs(4);

impl Follower {
    /// Watches until a failure. [`Fault::Compacted`] ends a watch that has to begin with a snapshot again.
    pub(super) async fn watch(&mut self, channel: &Channel) -> Result<Infallible, Fault> {
        let mut position = self.mirrored().await?;
        let create = self.create_request(position)?;
        let until = Instant::now() + REQUEST_TIME_MAX;
        let (requests, mut answers) = channel.stream::<Watch>(&create, until).await?;
        let mut events = Events::default();
        let mut heard = Instant::now();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let progress = std::sync::Arc::clone(&self.progress);
        let ended = |reason: &str| Fault::Unreachable { endpoint: channel.url().to_owned(), reason: reason.to_owned() };
        loop {
            tokio::select! {
                answer = answers.next() => {
                    let answer = answer?.ok_or_else(|| ended("it ended the watch"))?;
                    self.client.note_contact();
                    refuse_canceled(&answer, channel)?;
                    if answer.created && !progress.is_connected() {
                        tracing::info!(endpoint = channel.url(), revision = position, "etcd is followed");
                        progress.set_connected(true);
                    }
                    let commits = events.push(answer, &self.client.keys, channel.url())?;
                    if let Some(last) = commits.last().map(|last| last.revision) {
                        self.apply(position, commits, events.marked()).await?;
                        position = last;
                    }
                    // The time spent on the disk does not count against the member.
                    heard = Instant::now();
                }
                _ = looks.tick() => {
                    if heard.elapsed() >= SILENCE_MAX {
                        return Err(Fault::Silent { endpoint: channel.url().to_owned() });
                    }
                    if heard.elapsed() >= ASK_AFTER {
                        let request = WatchRequestUnion::Progress(WatchProgressRequest {});
                        requests.send(&WatchRequest { request: Some(request) });
                    }
                    self.flush().await?;
                }
                () = channel.until_broken() => return Err(ended("the connection broke")),
                () = progress.restart.notified() => return Err(ended("the mirror was opened again")),
            }
        }
    }

    fn create_request(&self, position: Revision) -> Result<WatchRequest, Fault> {
        let (key, range_end) = self.client.keys.all();
        let start_revision = i64::try_from(position.saturating_add(1));
        let create = WatchCreateRequest {
            key,
            range_end,
            start_revision: start_revision.map_err(|error| Fault::Mirror(error.to_string()))?,
            progress_notify: true,
            fragment: true,
        };
        // The revision of a progress answer is not used: up to etcd 3.4.24 and 3.5.7 a requested answer may be ahead of
        // events that are still to come (etcd #15220).
        Ok(WatchRequest { request: Some(WatchRequestUnion::Create(create)) })
    }
}

/// Refuses a watch that etcd ended, or did not begin.
fn refuse_canceled(answer: &WatchResponse, channel: &Channel) -> Result<(), Fault> {
    if !answer.canceled {
        return Ok(());
    }
    if answer.compact_revision > 0 {
        return Err(Fault::Compacted);
    }
    if answer.cancel_reason.contains("permission denied") {
        return Err(Fault::Denied);
    }
    let reason = format!("it ended the watch: {}", answer.cancel_reason);
    Err(Fault::Unreachable { endpoint: channel.url().to_owned(), reason })
}
