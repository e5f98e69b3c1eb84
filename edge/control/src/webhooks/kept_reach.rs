//! Webhooks with unvouched private addresses: an admin of the app was allowed to grant access when the webhook was set.
//! Messages are still sent, and all problem reports name the line of edge.toml with a permanent permission.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::{KeptReach, WebhookName};
use devanture_config::{AppName, PlaceName};
use parking_lot::Mutex;

use super::Webhooks;
use super::target::Target;
use crate::ledger::Error;
use devanture_serve::proxy::address::allow_line;
use devanture_store::catalog::scan::Scan;
use devanture_store::records;
use devanture_store::records::follow::Follow;
use devanture_store::records::table::FollowedBy;
use devanture_store::records::webhooks::{WEBHOOKS_PREFIX, WebhookRecord, webhook_of};

/// Beginning of the sentence about a webhook.
pub const KEPT_WEBHOOK: &str = "the webhook ";
/// Interval of DNS lookups without changes.
const LOOK: Duration = Duration::from_secs(60);

/// Webhooks found by the latest scan.
pub(super) type KeptReaches = Mutex<Arc<BTreeSet<KeptWebhook>>>;

/// Webhook with unvouched private addresses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeptWebhook {
    app: AppName,
    name: WebhookName,
    /// Environments with events for the webhook; all environments if empty.
    environments: Vec<PlaceName>,
    addresses: BTreeSet<IpAddr>,
}

impl KeptWebhook {
    /// Returns a sentence for operators, without the remedy.
    pub(crate) fn sentence(&self) -> String {
        let Self { app, name, addresses, .. } = self;
        let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let (shown, line) = (shown.join(", "), allow_line(addresses.iter().copied()));
        format!("{KEPT_WEBHOOK}{name} of {app} reaches {shown}, for which no admin of every app vouches: {line}")
    }

    fn is_of(&self, app: &AppName, environment: &PlaceName) -> bool {
        self.app == *app && (self.environments.is_empty() || self.environments.contains(environment))
    }
}

impl Webhooks {
    /// Returns the webhooks found by the latest scan.
    pub(crate) fn kept_reach(&self) -> Arc<BTreeSet<KeptWebhook>> {
        Arc::clone(&self.kept_reach.lock())
    }

    /// Adds the addresses reached by webhooks of an environment to the addresses reached by the live version.
    pub(crate) fn with_kept_reach(
        &self,
        live: Option<KeptReach>,
        app: &AppName,
        environment: &PlaceName,
    ) -> Option<KeptReach> {
        let all = self.kept_reach();
        let own: Vec<&KeptWebhook> = all.iter().filter(|kept| kept.is_of(app, environment)).collect();
        if own.is_empty() {
            return live;
        }
        let of_live = live.iter().flat_map(|live| &live.addresses).filter_map(|address| address.parse().ok());
        let addresses: BTreeSet<IpAddr> =
            of_live.chain(own.iter().flat_map(|kept| kept.addresses.iter().copied())).collect();
        Some(KeptReach {
            addresses: addresses.iter().map(ToString::to_string).collect(),
            allow: allow_line(addresses),
            webhooks: own.iter().map(|kept| kept.name.clone()).collect(),
        })
    }

    /// Scans the webhooks at once and after each change of a webhook, for as long as the catalog is followed.
    pub async fn keep_looking_for_kept_reach(self: Arc<Self>) {
        let follow = Follow::new(&*self.ledger.catalog, FollowedBy::WebhookReach);
        // Without a change, too: names may lead elsewhere by then.
        let mut follow = follow.read_every(LOOK).with_pause(LOOK);
        while follow.changed().await {
            match self.find_kept_reach().await {
                Ok(found) => *self.kept_reach.lock() = Arc::new(found),
                Err(error) => {
                    tracing::warn!(%error, "where webhooks lead cannot be looked up");
                    follow.read_failed();
                }
            }
        }
    }

    async fn find_kept_reach(&self) -> Result<BTreeSet<KeptWebhook>, Error> {
        let mut found = BTreeSet::new();
        let mut all = Scan::new(&*self.ledger.catalog, WEBHOOKS_PREFIX);
        while let Some((key, record)) = all.next().await? {
            // A webhook with an unreadable record sends no messages.
            let read = records::read::<WebhookRecord>(&key, &record).ok();
            let kept = read.filter(|record| record.trusted && !record.vouched && record.disabled.is_none());
            let Some((record, (app, name))) = kept.zip(webhook_of(&key)) else { continue };
            let Ok(target) = Target::parse(&record.address) else { continue };
            if self.ledger.live.is_deleted(&app) {
                continue;
            }
            let addresses = self.client.private_addresses(&app, &target).await;
            if !addresses.is_empty() {
                found.insert(KeptWebhook { app, name, environments: record.environments, addresses });
            }
        }
        Ok(found)
    }
}
