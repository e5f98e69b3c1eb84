//! Webhooks of apps: configuration, and message delivery.
//!
//! A message is a record written by the commit of the event (`ledger/announce.rs`). A single node sends, and holds a
//! duty in a cluster. Before an attempt, the node claims the message by a commit with the time of the next attempt:
//! after a crash, the message is sent again later, and with an unwritable catalog the message is not sent again and
//! again. So delivery is at least once, with the same id for all attempts, and without a guaranteed order per webhook.

mod client;
mod deliver;
mod kept_reach;
mod manage;
mod message;
mod outcome;
mod queue;
mod records;
mod requested;
mod sign;
mod target;

pub use kept_reach::KEPT_WEBHOOK;

use std::sync::Arc;
use std::time::Duration;

use devanture_config::AppName;
use metrics::gauge;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use self::client::Client;
use self::kept_reach::KeptReaches;
use self::queue::Queue;
use crate::cluster::Nodes;
use crate::environments::Environments;
use crate::ledger::{Duty, Error, Ledger};
use crate::settings::KeyFile;
use devanture_base::clock;
use devanture_base::fair::{RateLimit, Shares};
use devanture_base::telemetry;
use devanture_serve::proxy::address::Policy;
use devanture_store::catalog::scan::Scan;
use devanture_store::records::StoredDelivery;
use devanture_store::records::follow::{Follow, FollowStep, FollowedChange};
use devanture_store::records::table::{FollowedBy, RecordKind};
use devanture_store::records::webhooks::{
    DeliveryAt, DeliveryRecord, ENDED_PREFIX, WAITING_PREFIX, WebhookRecord, webhook_of,
};

/// Name of the duty of the sending node in a cluster.
const DUTY: &str = "webhooks";
/// Interval of clock checks, and of attempts to take the duty.
const TICK: Duration = Duration::from_secs(1);
/// Maximum wait for attempts in progress at the end of the edge.
const ENDING_MAX: Duration = Duration::from_secs(2);
/// Capacity of the channel of completed attempts.
const ENDED_MAX: usize = 1_024;
/// Metric of attempts, by result.
const DELIVERIES_TOTAL: &str = "devanture_webhook_deliveries_total";

/// Window of the rate limits by app: an edge must not flood receivers on behalf of an app.
const WINDOW_MS: u64 = 60_000;
/// Maximum number of apps with a counter.
const APPS_MAX: usize = 10_000;

/// Sender of webhook messages.
pub struct Webhooks {
    ledger: Arc<Ledger>,
    /// Sealing keys of addresses and secrets.
    keys: Arc<KeyFile>,
    /// Other nodes of the cluster; `None` without a cluster.
    nodes: Option<Nodes>,
    client: Client,
    /// Set to true once sending has stopped.
    is_closed: watch::Sender<bool>,
    attempts: TaskTracker,
    /// Rate of delivery attempts by app.
    messages: RateLimit<AppName>,
    /// Permits of running tests; `tested` is the rate of tests by app.
    tests: Arc<Shares>,
    tested: RateLimit<AppName>,
    /// Webhooks with access to unvouched private addresses.
    kept_reach: KeptReaches,
}

impl Webhooks {
    /// Creates the sender for the apps of these environments; `policy` limits the addresses.
    pub(crate) fn new(ledger: Arc<Ledger>, environments: &Environments, policy: Policy, nodes: Option<Nodes>) -> Self {
        let limits = ledger.limits();
        Self {
            keys: Arc::clone(&environments.settings.keys),
            nodes,
            client: Client::new(environments.hostnames.dns_servers(), policy),
            is_closed: watch::Sender::new(false),
            attempts: TaskTracker::new(),
            messages: per_minute(limits.webhook_messages_per_minute_per_app_max),
            tests: Shares::new(limits.webhook_sends_max),
            tested: per_minute(limits.webhook_tests_per_minute_per_app_max),
            kept_reach: KeptReaches::default(),
            ledger,
        }
    }
}

/// Returns a rate limit of `count_max` per app and minute.
fn per_minute(count_max: u64) -> RateLimit<AppName> {
    RateLimit::new(usize::try_from(count_max).unwrap_or(usize::MAX), APPS_MAX, WINDOW_MS)
}

impl Webhooks {
    /// Sends messages to webhooks while no other node does, until the edge ends.
    pub async fn keep_sending(self: Arc<Self>) {
        let mut closed = self.is_closed.subscribe();
        loop {
            if closed.wait_for(|is_closed| !is_closed).await.is_err() {
                return;
            }
            let duty = match self.sending_duty().await {
                Ok(duty) => duty,
                Err(reason) => {
                    tracing::trace!(reason, "this node sends no messages to webhooks");
                    sleep(TICK).await;
                    continue;
                }
            };
            let lost = async {
                match &duty {
                    Some(duty) => duty.lost().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.send_waiting() => return,
                () = lost => tracing::warn!("another node sends messages to webhooks: this one was not heard of for a while"),
                _ = closed.wait_for(|is_closed| *is_closed) => {}
            }
        }
    }

    /// Takes the duty to send; `None` without a cluster.
    async fn sending_duty(&self) -> Result<Option<Duty>, String> {
        let Some(nodes) = &self.nodes else { return Ok(None) };
        match nodes.is_duty_taken(DUTY).await {
            Ok(true) => return Err("another node does".to_owned()),
            Ok(false) => {}
            Err(error) => return Err(error.to_string()),
        }
        let duty = nodes.take_duty(DUTY).await.map_err(|error| error.to_string())?;
        duty.map(Some).ok_or_else(|| "another node was quicker".to_owned())
    }

    /// Sends due messages for as long as the catalog is followed.
    async fn send_waiting(self: &Arc<Self>) {
        let (mut queue, (ended_in, mut ended)) = (Queue::default(), mpsc::channel(ENDED_MAX));
        let mut follow = Follow::new(&*self.ledger.catalog, FollowedBy::Webhooks).with_pause(TICK);
        loop {
            let sends_max = usize::try_from(self.ledger.limits().webhook_sends_max).unwrap_or(usize::MAX);
            let may_send = |app: &AppName| self.messages.take(app).is_ok();
            for begun in queue.begin_due(clock::now_ms(), sends_max, may_send) {
                let (this, ended_in) = (Arc::clone(self), ended_in.clone());
                self.attempts.spawn(async move {
                    let next_ms = this.deliver(&begun).await;
                    // The receiver is gone if another node has become the sender.
                    ended_in.send((begun.at, next_ms)).await.ok();
                });
            }
            #[allow(clippy::cast_precision_loss, reason = "it is bounded")]
            gauge!("devanture_webhook_messages_waiting").set(queue.len() as f64);
            tokio::select! {
                step = follow.next() => match step {
                    Some(FollowStep::Changes(commit)) => {
                        commit.changes.iter().for_each(|change| note_change(&mut queue, change));
                    }
                    Some(FollowStep::ReadAll) => if let Err(error) = self.read_waiting(&mut queue).await {
                        tracing::warn!(%error, "the messages that wait for webhooks cannot be read");
                        follow.read_failed();
                    },
                    None => return,
                },
                Some((at, next_ms)) = ended.recv() => {
                    queue.ended(&at);
                    // A completed message is removed from the queue by its commit, and a request to send again may
                    // follow.
                    let look_ms = clock::now_ms().saturating_add(1_000);
                    queue.postpone(&at, next_ms.unwrap_or(look_ms));
                }
                () = sleep(TICK), if queue.len() > 0 => {}
            }
        }
    }

    /// Reads all messages that wait.
    async fn read_waiting(&self, queue: &mut Queue) -> Result<(), Error> {
        queue.clear();
        let mut waiting = Scan::new(&*self.ledger.catalog, WAITING_PREFIX);
        while let Some((key, record)) = waiting.next().await? {
            note(queue, &key, &record.value);
        }
        Ok(())
    }

    /// Stops sending, and waits briefly for attempts in progress. The next edge process resends messages without a
    /// recorded delivery.
    pub async fn end(&self) {
        self.is_closed.send_replace(true);
        self.attempts.close();
        timeout(ENDING_MAX, self.attempts.wait()).await.ok();
    }

    /// Resumes sending, after a failed handover to a new process.
    pub fn resume(&self) {
        self.attempts.reopen();
        self.is_closed.send_replace(false);
    }
}

/// Takes note of a change.
fn note_change(queue: &mut Queue, change: &FollowedChange) {
    let FollowedChange { kind, key, value } = change;
    match (kind, value) {
        (RecordKind::WaitingMessage, Some(value)) => note(queue, key, value),
        (RecordKind::WaitingMessage, None) => {
            if let Some(at) = DeliveryAt::of(WAITING_PREFIX, key) {
                queue.remove(&at);
            }
        }
        (RecordKind::EndedMessage, Some(value)) => count_dropped(key, value),
        (RecordKind::Webhook, Some(value)) => look_at_changed(queue, key, value),
        (RecordKind::Webhook, None) => {
            if let Some((app, name)) = webhook_of(key) {
                queue.look_at(&app, |at, _| at.webhook == name);
            }
        }
        // Messages of an app or an environment that was just deleted are dropped at once, not when they are due.
        (RecordKind::DeletedApp, Some(_)) => {
            if let Some(app) = change.app() {
                queue.look_at(&app, |_, _| true);
            }
        }
        (RecordKind::DeletedEnvironment, Some(_)) => {
            if let Some((app, environment)) = change.place() {
                queue.look_at(&app, |_, own| own == Some(&environment));
            }
        }
        _ => {}
    }
}

fn note(queue: &mut Queue, key: &str, value: &[u8]) {
    let record = serde_json::from_slice::<DeliveryRecord>(value);
    match (DeliveryAt::of(WAITING_PREFIX, key), record) {
        (Some(at), Ok(record)) => queue.set(at, record.next_ms, record.data.environment),
        _ => tracing::error!(key, "a message to a webhook cannot be read: it is not sent"),
    }
}

fn count_dropped(key: &str, value: &[u8]) {
    let is_dropped =
        serde_json::from_slice::<DeliveryRecord>(value).is_ok_and(|record| record.state == StoredDelivery::Dropped);
    if let (true, Some(at)) = (is_dropped, DeliveryAt::of(ENDED_PREFIX, key)) {
        telemetry::count_in_app(DELIVERIES_TOTAL, at.app.as_str(), &[("outcome", "dropped")], 1);
    }
}

/// Drops messages to a newly disabled webhook at once, instead of at the due time, and sends messages to a resumed
/// webhook at once. Failed attempts also change the webhook record, without any effect on messages.
fn look_at_changed(queue: &mut Queue, key: &str, value: &[u8]) {
    let is_changed = serde_json::from_slice::<WebhookRecord>(value)
        .is_ok_and(|webhook| webhook.disabled.is_some() || webhook.failing_since_ms.is_none());
    if let (true, Some((app, name))) = (is_changed, webhook_of(key)) {
        queue.look_at(&app, |at, _| at.webhook == name);
    }
}
