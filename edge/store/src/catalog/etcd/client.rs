//! Calls to the currently connected member, with a user's token.
//!
//! The follower chooses the member and connects (`follower`); all other callers send their calls through this client. A
//! call that finds the member silent or cut off gives the connection up, which leads the follower to the next member.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use devanture_config::api::Secret;
use http::header::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::fault::Fault;
use super::grpc::Channel;
use super::keys::Keys;
use super::settings::Endpoint;
use super::wire::{self, AuthenticateRequest, Call, RangeRequest, ResponseHeader, SortOrder, SortTarget};
use crate::catalog::Revision;

/// Longest wait for one answer. A member answers within milliseconds; the limit covers a few elections of a leader (one
/// second by default), after which a different member is more likely to answer.
pub(super) const REQUEST_TIME_MAX: Duration = Duration::from_secs(3);
/// Longest wait for a connection: time to find a member silent, and for an election or two.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(5);
/// Pause before a call is repeated: a new connection is needed first.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Upper bound of token renewals for one call.
const RENEWALS_MAX: usize = 2;

/// Calls to a cluster.
pub(super) struct Client {
    pub(super) keys: Keys,
    credentials: Option<(String, Secret)>,
    /// The id of the cluster, once known: members of a different cluster are refused.
    cluster: Mutex<Option<u64>>,
    current: watch::Sender<Option<Arc<Channel>>>,
    /// The last reason for there being no connection.
    last_fault: Mutex<Option<Fault>>,
    /// The time of etcd's last answer.
    contact: Mutex<Option<Instant>>,
    reconnects: AtomicU64,
    /// The turn to renew a token: one renewal is enough for all calls with an expired token.
    renewing: tokio::sync::Mutex<()>,
}

/// Offers a connection to callers, until it is dropped.
pub(super) struct Offer<'c> {
    client: &'c Client,
}

impl Drop for Offer<'_> {
    fn drop(&mut self) {
        self.client.current.send_replace(None);
    }
}

impl Client {
    pub(super) fn new(keys: Keys, credentials: Option<(String, Secret)>, cluster: Option<u64>) -> Self {
        Self {
            keys,
            credentials,
            cluster: Mutex::new(cluster),
            current: watch::Sender::new(None),
            last_fault: Mutex::new(None),
            contact: Mutex::new(None),
            reconnects: AtomicU64::new(0),
            renewing: tokio::sync::Mutex::new(()),
        }
    }

    /// Connects to a member as the configured user, before `until`.
    pub(super) async fn connect(&self, endpoint: &Endpoint, until: Instant) -> Result<Arc<Channel>, Fault> {
        let channel = Channel::connect(endpoint, until).await?;
        self.authenticate(&channel, until).await?;
        Ok(Arc::new(channel))
    }

    /// Lets callers use a connection while the offer lives.
    pub(super) fn offer(&self, channel: Arc<Channel>) -> Offer<'_> {
        self.current.send_replace(Some(channel));
        Offer { client: self }
    }

    /// Takes note of why there is no connection.
    pub(super) fn note_fault(&self, fault: Fault) {
        *self.last_fault.lock() = Some(fault);
    }

    /// Records the end of a connection that had been used.
    pub(super) fn note_reconnect(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes note of an answer.
    pub(super) fn note_contact(&self) {
        *self.contact.lock() = Some(Instant::now());
    }

    /// The time since etcd answered.
    pub(super) fn age(&self) -> Option<Duration> {
        self.contact.lock().map(|at| at.elapsed())
    }

    pub(super) fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }

    /// Checks that an answer is from the expected cluster, which the first answer decides.
    pub(super) fn check_cluster(&self, channel: &Channel, header: &ResponseHeader) -> Result<(), Fault> {
        let expected = *self.cluster.lock().get_or_insert(header.cluster_id);
        if expected == header.cluster_id {
            return Ok(());
        }
        Err(Fault::OtherCluster { endpoint: channel.url().to_owned(), expected, found: header.cluster_id })
    }

    /// Returns the current connection; waits for a connection until `until`, and no longer than
    /// [`CONNECTION_TIME_MAX`].
    pub(super) async fn connection(&self, until: Instant) -> Result<Arc<Channel>, Fault> {
        let until = until.min(Instant::now() + CONNECTION_TIME_MAX);
        let mut current = self.current.subscribe();
        let found = timeout_at(until, current.wait_for(Option::is_some)).await;
        match found.ok().and_then(Result::ok).and_then(|channel| channel.clone()) {
            Some(channel) => Ok(channel),
            None => {
                let unknown =
                    || Fault::Unreachable { endpoint: "etcd".to_owned(), reason: "no member answered yet".to_owned() };
                Err(self.last_fault.lock().clone().unwrap_or_else(unknown))
            }
        }
    }

    /// Calls the member of `channel`, and renews an expired token.
    pub(super) async fn call_on<C: Call>(
        &self,
        channel: &Channel,
        request: &C::Request,
        until: Instant,
    ) -> Result<C::Answer, Fault> {
        let full = Instant::now() + REQUEST_TIME_MAX;
        let until_answered = full.min(until);
        let mut renewals = 0;
        loop {
            let token = channel.token();
            let fault = match channel.call::<C>(request, until_answered).await {
                Ok(answer) => {
                    self.note_contact();
                    return Ok(answer);
                }
                // Sent without a token, as etcd needed no users then, or with the token of a removed user. A wrong
                // password shows when it is exchanged for a token.
                Err(Fault::BadCredentials) if self.credentials.is_some() => Fault::ExpiredToken,
                // The same if etcd takes the name in the client's certificate for the name of a user.
                Err(Fault::Denied) if self.credentials.is_some() && token.is_none() => Fault::ExpiredToken,
                Err(fault) => fault,
            };
            let renewed = match fault {
                Fault::ExpiredToken if renewals < RENEWALS_MAX => {
                    renewals += 1;
                    self.renew(channel, token.as_ref(), until_answered).await
                }
                fault => Err(fault),
            };
            if let Err(fault) = renewed {
                // A caller with little time left learns nothing about the member from a missing answer.
                if fault.is_of_member() && !(matches!(fault, Fault::Silent { .. }) && until < full) {
                    channel.give_up();
                }
                return Err(fault);
            }
        }
    }

    /// Reads, from member after member until one answers.
    pub(super) async fn read<C: Call>(&self, request: &C::Request, until: Instant) -> Result<C::Answer, Fault> {
        loop {
            let channel = self.connection(until).await?;
            match self.call_on::<C>(&channel, request, until).await {
                Err(fault) if fault.is_transient() && Instant::now() < until => pause_before_again().await,
                outcome => return outcome,
            }
        }
    }

    /// Returns the last commit of any node that was acknowledged before the call.
    pub(super) async fn last_commit(&self, until: Instant) -> Result<Revision, Fault> {
        let found = self.read::<wire::Range>(&self.last_marker(), until).await?;
        Ok(newest(&found.kvs))
    }

    /// Reads the latest marker, with the revision of the last commit: each commit writes a marker, and markers are
    /// never deleted.
    pub(super) fn last_marker(&self) -> RangeRequest {
        let (key, range_end) = self.keys.markers();
        RangeRequest {
            key,
            range_end,
            limit: 1,
            sort_order: SortOrder::Descend.into(),
            sort_target: SortTarget::Mod.into(),
            keys_only: true,
            ..RangeRequest::default()
        }
    }

    async fn renew(&self, channel: &Channel, expired: Option<&HeaderValue>, until: Instant) -> Result<(), Fault> {
        let late = |_late| Fault::Silent { endpoint: channel.url().to_owned() };
        let _turn = timeout_at(until, self.renewing.lock()).await.map_err(late)?;
        if channel.token().as_ref() != expired {
            return Ok(());
        }
        self.authenticate(channel, until).await
    }

    async fn authenticate(&self, channel: &Channel, until: Instant) -> Result<(), Fault> {
        let Some((name, password)) = &self.credentials else { return Ok(()) };
        let request = AuthenticateRequest { name: name.clone(), password: password.expose().to_owned() };
        // Without the expired token. The connection keeps the expired token until a new one arrives: concurrent calls
        // are refused as expired meanwhile, even if the caller of this renewal goes away, and renew the token
        // themselves.
        let answer = match channel.call_without_token::<wire::Authenticate>(&request, until).await {
            // Users are not needed yet: etcd is open to every client.
            Err(Fault::AuthDisabled) => {
                channel.set_token(None);
                return Ok(());
            }
            answer => answer?,
        };
        let malformed = |_error| Fault::Malformed {
            endpoint: channel.url().to_owned(),
            reason: "a token that is no text".to_owned(),
        };
        let mut token = HeaderValue::try_from(answer.token).map_err(malformed)?;
        token.set_sensitive(true);
        channel.set_token(Some(token));
        Ok(())
    }
}

/// Waits for a short, random time.
pub(super) async fn pause_before_again() {
    sleep(AGAIN_AFTER.mul_f64(rand::random_range(0.5..1.5))).await;
}

/// The highest revision of some keys.
pub(super) fn newest(kvs: &[wire::KeyValue]) -> Revision {
    kvs.iter().filter_map(|kv| Revision::try_from(kv.mod_revision).ok()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::catalog::Change;
    use crate::catalog::etcd::tests::{Cluster, Node, TIME_MAX, is_installed};
    use crate::catalog::{Catalog as _, Commit};

    fn put(key: &str) -> Commit {
        let change = Change::Put(key.to_owned(), b"1".as_slice().into());
        Commit { checks: Vec::new(), changes: vec![change] }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_renewal_whose_caller_goes_away_leaves_a_connection_that_commits() {
        if !is_installed() {
            return;
        }
        let cluster = Cluster::start_secure(1);
        let node = Node::start(&cluster, "a").await;
        let client = &node.catalog.client;
        let until = Instant::now() + TIME_MAX;
        let channel = client.connection(until).await.unwrap();
        let token = channel.token();
        cluster.end_tokens();
        let renewal = client.renew(&channel, token.as_ref(), until).now_or_never();
        assert!(renewal.is_none(), "it waits for etcd");
        assert!(channel.token().is_some(), "the calls beside it are not sent without a user");
        node.catalog.commit(put("x")).await.unwrap();
        assert_ne!(channel.token(), token);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn users_that_are_needed_from_now_on_are_authenticated_on_the_open_connection() {
        if !is_installed() {
            return;
        }
        let cluster = Cluster::start_secure(1);
        cluster.admin(&["auth", "disable"]);
        let node = Node::start(&cluster, "a").await;
        let channel = node.catalog.client.connection(Instant::now() + TIME_MAX).await.unwrap();
        assert!(channel.token().is_none());
        node.catalog.commit(put("x")).await.unwrap();
        cluster.admin(&["auth", "enable"]);
        node.catalog.commit(put("y")).await.unwrap();
    }
}
