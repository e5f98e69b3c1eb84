//! Webhooks of apps: what is set for them, and the messages that are sent to them.
//!
//! A message is a record that the commit of its event writes (`ledger/announce.rs`). One node sends, which holds a duty
//! in a cluster. Before an attempt it claims the message by a commit that says when the next attempt would be: a node
//! that dies right then sends it again later, and what cannot be written is not sent again and again. So a message is
//! sent at least once, with the same id each time, and messages to one webhook come in no promised order.

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

use devanture_config::{AppName, PlaceName};
use metrics::gauge;
use tokio::sync::broadcast::error::RecvError;
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
use devanture_store::catalog::{Change, Committed};
use devanture_store::records::webhooks::{
    DeliveryAt, DeliveryRecord, ENDED_PREFIX, WAITING_PREFIX, WEBHOOKS_PREFIX, WebhookRecord, webhook_of,
};
use devanture_store::records::{StoredDelivery, gone};

/// What the node that sends has in a cluster.
const DUTY: &str = "webhooks";
/// Between two looks at the clock, and between two attempts to take the duty on.
const TICK: Duration = Duration::from_secs(1);
/// Longest wait for messages on their way where the edge ends.
const ENDING_MAX: Duration = Duration::from_secs(2);
/// Attempts that have ended and are not taken note of yet.
const ENDED_MAX: usize = 1_024;
/// The metric of attempts, by what came of them.
const DELIVERIES_TOTAL: &str = "devanture_webhook_deliveries_total";

/// The window of the limits by app: an edge floods nobody for an app.
const WINDOW_MS: u64 = 60_000;
/// Apps that are counted.
const APPS_MAX: usize = 10_000;

/// What sends messages to webhooks.
pub struct Webhooks {
    ledger: Arc<Ledger>,
    /// What addresses and secrets are sealed with.
    keys: Arc<KeyFile>,
    /// The other nodes; `None` of an edge that is alone.
    nodes: Option<Nodes>,
    client: Client,
    /// Nothing is sent any more.
    is_closed: watch::Sender<bool>,
    attempts: TaskTracker,
    /// Attempts of each app to send messages that wait.
    messages: RateLimit<AppName>,
    /// Places of tests, and how many there were.
    tests: Arc<Shares>,
    tested: RateLimit<AppName>,
    /// Those that reach private addresses since an admin of their app could have them do so.
    kept_reach: KeptReaches,
}

impl Webhooks {
    /// What sends for the apps whose environments these are, to where upstreams may point.
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

/// So many of each app within a minute.
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

    /// The duty to send; none of an edge that is alone.
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

    /// Sends what is due, for as long as the catalog is followed.
    async fn send_waiting(self: &Arc<Self>) {
        let (mut queue, (ended_in, mut ended)) = (Queue::default(), mpsc::channel(ENDED_MAX));
        // The watch begins before what waits is read: nothing that is committed in between is missed.
        let mut watch = self.ledger.catalog.watch();
        self.read_waiting(&mut queue).await;
        loop {
            let sends_max = usize::try_from(self.ledger.limits().webhook_sends_max).unwrap_or(usize::MAX);
            let may_send = |app: &AppName| self.messages.take(app).is_ok();
            for begun in queue.begin_due(clock::now_ms(), sends_max, may_send) {
                let (this, ended_in) = (Arc::clone(self), ended_in.clone());
                self.attempts.spawn(async move {
                    let next_ms = this.deliver(&begun).await;
                    // Nobody listens where another node sends by now.
                    ended_in.send((begun.at, next_ms)).await.ok();
                });
            }
            #[allow(clippy::cast_precision_loss, reason = "it is bounded")]
            gauge!("devanture_webhook_messages_waiting").set(queue.len() as f64);
            tokio::select! {
                committed = watch.recv() => match committed {
                    Ok(committed) => follow(&mut queue, &committed),
                    Err(RecvError::Lagged(_)) => self.read_waiting(&mut queue).await,
                    Err(RecvError::Closed) => return,
                },
                Some((at, next_ms)) = ended.recv() => {
                    queue.ended(&at);
                    // One that has ended is removed by the commit that says so, which a request to send it again may
                    // follow.
                    let look_ms = clock::now_ms().saturating_add(1_000);
                    queue.postpone(&at, next_ms.unwrap_or(look_ms));
                }
                () = sleep(TICK), if queue.len() > 0 => {}
            }
        }
    }

    /// Reads all messages that wait.
    async fn read_waiting(&self, queue: &mut Queue) {
        while let Err(error) = self.try_read_waiting(queue).await {
            tracing::warn!(%error, "the messages that wait for webhooks cannot be read");
            sleep(TICK).await;
        }
    }

    async fn try_read_waiting(&self, queue: &mut Queue) -> Result<(), Error> {
        queue.clear();
        let mut waiting = Scan::new(&*self.ledger.catalog, WAITING_PREFIX);
        while let Some((key, record)) = waiting.next().await? {
            note(queue, &key, &record.value);
        }
        Ok(())
    }

    /// Sends no more messages, and waits a moment for those on their way. What is not known to have come is sent again
    /// by the next edge.
    pub async fn end(&self) {
        self.is_closed.send_replace(true);
        self.attempts.close();
        timeout(ENDING_MAX, self.attempts.wait()).await.ok();
    }

    /// Sends again, where the next edge did not take over.
    pub fn resume(&self) {
        self.attempts.reopen();
        self.is_closed.send_replace(false);
    }
}

/// Takes note of a commit.
fn follow(queue: &mut Queue, committed: &Committed) {
    for change in committed.changes.iter() {
        match change {
            Change::Put(key, value) if key.starts_with(WAITING_PREFIX) => note(queue, key, value),
            Change::Put(key, value) if key.starts_with(ENDED_PREFIX) => count_dropped(key, value),
            Change::Put(key, value) if key.starts_with(WEBHOOKS_PREFIX) => look_at_changed(queue, key, value),
            Change::Put(key, _) => look_at_deleted(queue, key),
            Change::Delete(key) => {
                if let Some(at) = DeliveryAt::of(WAITING_PREFIX, key) {
                    queue.remove(&at);
                } else if let Some((app, name)) = webhook_of(key) {
                    queue.look_at(&app, |at, _| at.webhook == name);
                }
            }
        }
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

/// Messages to a webhook that was just disabled are given up at once, not when they are due, and those to one that may
/// take them again are sent at once. Attempts that fail change the webhook, too, and nothing about its messages.
fn look_at_changed(queue: &mut Queue, key: &str, value: &[u8]) {
    let is_changed = serde_json::from_slice::<WebhookRecord>(value)
        .is_ok_and(|webhook| webhook.disabled.is_some() || webhook.failing_since_ms.is_none());
    if let (true, Some((app, name))) = (is_changed, webhook_of(key)) {
        queue.look_at(&app, |at, _| at.webhook == name);
    }
}

/// Messages of an app or an environment that was just deleted are dropped at once, not when they are due.
fn look_at_deleted(queue: &mut Queue, key: &str) {
    if let Some(app) = key.strip_prefix(gone::DELETED_APPS_PREFIX) {
        if let Ok(app) = app.parse() {
            queue.look_at(&app, |_, _| true);
        }
    } else if let Some((app, environment)) = deleted_environment(key) {
        queue.look_at(&app, |_, own| own == Some(&environment));
    }
}

fn deleted_environment(key: &str) -> Option<(AppName, PlaceName)> {
    let (app, environment) = key.strip_prefix(gone::DELETED_ENVIRONMENTS_PREFIX)?.split_once('/')?;
    Some((app.parse().ok()?, environment.parse().ok()?))
}
