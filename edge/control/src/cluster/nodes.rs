//! Requests to all other nodes: preparation of versions before a switch, and status.

use std::sync::Arc;
use std::time::Duration;

use devanture_config::AppName;
use devanture_config::api::{NodeState, NodeStatus};
use devanture_config::problem::Problem;
use futures_util::future::{join_all, try_join_all};
use hyper::client::conn::http2::SendRequest;
use tokio::time::{Instant, sleep, timeout};

use super::error::Error;
use super::forward::ApiBody;
use super::identity::Identity;
use super::listener::{PREPARE, STATUS};
use super::messages::{Answer, Outcome, PrepareRequest, Progress};
use super::peer::{self, Exchange};
use super::tunnel;
use crate::ledger::{self, Duty, Member, Members};
use devanture_serve::proxy::Registry;
use devanture_store::catalog::Revision;
use devanture_store::records::follow::Follow;
use devanture_store::records::table::FollowedBy;

/// Time beyond its lease during which a node may be silent before a switch is abandoned. By then an ended node is gone,
/// even if a busy etcd notices late; a remaining node reaches only the catalog.
const BEYOND_LEASE: Duration = Duration::from_secs(30);
/// Silence after which a node is named in the progress.
const NAMED_AFTER: Duration = Duration::from_secs(2);
/// Interruptions by a node during a preparation longer than its permitted silence: a node crashed by each load of the
/// version would never become ready.
const BREAKS_MAX: usize = 8;
/// Pause before retrying a silent node, and between checks of its lease.
pub(super) const PAUSE: Duration = Duration::from_millis(250);
/// Longest wait for a node to serve a prepared version, which takes a moment.
const FOLLOW_MAX: Duration = Duration::from_secs(5);
/// Longest wait for a node's status.
const STATUS_MAX: Duration = Duration::from_secs(3);

/// Other nodes, as reached from the local node.
#[derive(Clone)]
pub struct Nodes {
    identity: Identity,
    members: Arc<Members>,
}

/// Version held ready by every other node, until dropped.
pub struct Prepared {
    ready: Vec<(String, Exchange)>,
    gone: Vec<String>,
}

/// Answer of a node.
enum Prepare {
    Ready(Exchange),
    Gone,
}

/// Retry limits for an unreachable node during a preparation.
struct Patience {
    silent_max: Duration,
    began: Instant,
    /// Last sign of life.
    heard: Instant,
    breaks: usize,
    is_named: bool,
}

impl Patience {
    fn new(silent_max: Duration) -> Self {
        let now = Instant::now();
        Self { silent_max, began: now, heard: now, breaks: 0, is_named: false }
    }

    /// Records that a reachable node interrupted its work.
    fn note_break(&mut self) {
        self.heard = Instant::now();
        self.breaks = self.breaks.saturating_add(1);
        self.is_named = false;
    }

    /// Returns the sentence about a silent node, once per silence.
    fn named_once(&mut self, node: &str) -> Option<String> {
        if self.is_named || self.heard.elapsed() < NAMED_AFTER {
            return None;
        }
        self.is_named = true;
        Some(format!("{node} does not answer, and is waited for at most {} s", self.silent_max.as_secs()))
    }

    /// Returns true if the node is to be retried.
    fn is_left(&self) -> bool {
        let breaks_off_always = self.breaks > BREAKS_MAX && self.began.elapsed() >= self.silent_max;
        self.heard.elapsed() < self.silent_max && !breaks_off_always
    }
}

impl Nodes {
    /// Connects to the nodes of `members` with `identity`.
    #[must_use]
    pub const fn new(identity: Identity, members: Arc<Members>) -> Self {
        Self { identity, members }
    }

    /// Returns the local node.
    #[must_use]
    pub fn own(&self) -> &Member {
        self.members.own()
    }

    /// Formats a refusal by the local node like a refusal by another node.
    #[must_use]
    pub(crate) fn refused_here(&self, problem: Box<Problem>) -> ledger::Error {
        Error::Refused { node: self.own().node.clone(), problem }.into_problem()
    }

    /// Returns the expiry of the node's certificate, in seconds since 1970 UTC.
    #[must_use]
    pub fn certificate_ends_s(&self) -> i64 {
        self.identity.ends_s()
    }

    /// Returns the fault of a changed certificate of the node or the CA, while the earlier certificate is in use.
    #[must_use]
    pub fn certificate_fault(&self) -> Option<String> {
        self.identity.fault().map(|reason| reason.to_string())
    }

    pub(super) async fn others(&self) -> Result<Vec<Member>, Error> {
        Ok(self.members.others().await?)
    }

    /// Returns the live node of the given name.
    pub(super) async fn current(&self, node: &str) -> Result<Option<Member>, Error> {
        Ok(self.members.current(node).await?)
    }

    /// Waits until all acknowledged commits are readable locally.
    pub(super) async fn catch_up(&self) -> Result<(), Error> {
        Ok(self.members.catch_up().await?)
    }

    /// Returns another live node whose name is accepted by `is_wanted`.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub async fn find(&self, is_wanted: impl Fn(&str) -> bool) -> Result<Option<Member>, Error> {
        Ok(self.others().await?.into_iter().find(|member| is_wanted(&member.node)))
    }

    /// Opens a connection for requests of clients.
    pub(super) async fn connect(&self, member: &Member) -> Result<SendRequest<ApiBody>, Error> {
        peer::connect(&self.identity, member).await
    }

    /// Returns the permitted silence of a live node.
    pub(super) fn silent_max(&self) -> Duration {
        self.members.lease().saturating_add(BEYOND_LEASE)
    }

    /// Follows the nodes that come and go.
    pub(super) fn follow(&self, follower: FollowedBy) -> Follow {
        self.members.follow(follower)
    }

    /// Connects `registry` to the instances of other nodes.
    pub fn open_tunnels(&self, registry: &Registry) {
        registry.open_tunnels_by(Arc::new(tunnel::Opener::new(&self.identity)));
    }

    pub(super) async fn open(&self, member: &Member, path: &str) -> Result<Exchange, Error> {
        peer::open(&self.identity, member, path).await
    }

    /// Takes a duty done by one node at a time, for example `collection`, for the lifetime of the lease; `None` if
    /// taken by another node.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub async fn take_duty(&self, duty: &str) -> Result<Option<Duty>, Error> {
        Ok(self.members.take_duty(duty).await?)
    }

    /// Returns true if a node has the duty, as far as known locally.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub async fn is_duty_taken(&self, duty: &str) -> Result<bool, Error> {
        Ok(self.members.is_duty_taken(duty).await?)
    }

    /// Makes every other node prepare a version. A node whose lease ends meanwhile is gone, and not awaited.
    ///
    /// # Errors
    /// [`Error::Refused`] and [`Error::Unreachable`] of the first failing node; [`Error::Catalog`].
    pub async fn prepare_all(&self, request: &PrepareRequest, progress: Progress<'_>) -> Result<Prepared, Error> {
        self.prepare_others(Prepared { ready: Vec::new(), gone: Vec::new() }, request, progress).await
    }

    /// Makes nodes prepare the version again that have dropped the version or joined since.
    ///
    /// # Errors
    /// As [`Nodes::prepare_all`].
    pub async fn prepare_again(&self, mut prepared: Prepared, request: &PrepareRequest) -> Result<Prepared, Error> {
        prepared.ready.retain(|(_, exchange)| !exchange.sender.is_closed());
        prepared.gone.clear();
        self.prepare_others(prepared, request, &|_line| {}).await
    }

    async fn prepare_others(
        &self,
        mut prepared: Prepared,
        request: &PrepareRequest,
        progress: Progress<'_>,
    ) -> Result<Prepared, Error> {
        loop {
            let mut others = self.members.others().await?;
            others.retain(|member| !prepared.names(&member.node));
            // Nodes that joined meanwhile are prepared, too.
            if others.is_empty() {
                return Ok(prepared);
            }
            let all = try_join_all(others.iter().map(|member| self.prepare(member.clone(), request, progress))).await?;
            for (member, outcome) in others.into_iter().zip(all) {
                match outcome {
                    Prepare::Ready(exchange) => prepared.ready.push((member.node, exchange)),
                    Prepare::Gone => prepared.gone.push(member.node),
                }
            }
        }
    }

    async fn prepare(
        &self,
        mut member: Member,
        request: &PrepareRequest,
        progress: Progress<'_>,
    ) -> Result<Prepare, Error> {
        let mut patience = Patience::new(self.silent_max());
        loop {
            let asked = tokio::select! {
                asked = self.ask(&member, request, progress, &mut patience) => asked,
                changed = self.changed(&member) => match changed {
                    // A successor process has prepared nothing.
                    Some(successor) => {
                        patience.note_break();
                        member = successor;
                        continue;
                    }
                    None => return Ok(Prepare::Gone),
                },
            };
            match asked {
                Err(Error::Unreachable { .. }) if patience.is_left() => {
                    if let Some(line) = patience.named_once(&member.node) {
                        progress(&line);
                    }
                    sleep(PAUSE).await;
                }
                // An ending process abandons its work: its successor is asked.
                Err(Error::Refused { .. }) if self.current(&member.node).await?.as_ref() != Some(&member) => {}
                asked => return asked.map(Prepare::Ready),
            }
        }
    }

    async fn ask(
        &self,
        member: &Member,
        request: &PrepareRequest,
        progress: Progress<'_>,
        patience: &mut Patience,
    ) -> Result<Exchange, Error> {
        let exchange = self.open(member, PREPARE).await?;
        let answered = answered(member, exchange, request, progress).await;
        if matches!(answered, Err(Error::Unreachable { .. })) {
            // Counted from now, rather than from the last line: a load may be silent for minutes while pings are
            // answered.
            patience.note_break();
        }
        answered
    }

    /// Waits until a node is gone or replaced by another process.
    pub(super) async fn changed(&self, member: &Member) -> Option<Member> {
        loop {
            match self.members.current(&member.node).await {
                Ok(current) if current.as_ref() != Some(member) => return current,
                Ok(_) | Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Returns the status of all nodes by name, the local node by `own`; with the versions of one app or of all.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub async fn statuses(&self, own: NodeStatus, app: Option<&AppName>) -> Result<Vec<NodeStatus>, Error> {
        let others = self.members.others().await?;
        let mut nodes = join_all(others.iter().map(|member| self.status(member, app))).await;
        for node in &mut nodes {
            node.lag = own.revision.zip(node.revision).map(|(own, other)| own.saturating_sub(other));
        }
        nodes.push(own);
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(app) = app {
            // Nodes of the previous release report versions of every app.
            nodes.iter_mut().for_each(|node| node.versions.retain(|version| version.app == *app));
        }
        Ok(nodes)
    }

    async fn status(&self, member: &Member, app: Option<&AppName>) -> NodeStatus {
        let path = app.map_or_else(|| STATUS.to_owned(), |app| format!("{STATUS}?{app}"));
        let ask = async {
            let mut exchange = self.open(member, &path).await?;
            match exchange.reader.next().await {
                Ok(Some(Answer::Status(status))) => Ok(*status),
                Ok(_) => Err(peer::unreachable(member, "it did not say how it is".to_owned())),
                Err(reason) => Err(peer::unreachable(member, reason)),
            }
        };
        let asked = timeout(STATUS_MAX, ask).await;
        let detail = match asked {
            Ok(Ok(status)) => return status,
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("{} at {} does not answer", member.node, member.advertise),
        };
        NodeStatus {
            name: member.node.clone(),
            advertise: Some(member.advertise.to_string()),
            state: NodeState::Unreachable,
            release: member.release.clone(),
            started_ms: member.started_ms,
            revision: None,
            lag: None,
            catalog_age_ms: None,
            certificate_ends_s: None,
            cache: None,
            versions: Vec::new(),
            has_more: false,
            detail: Some(detail),
        }
    }
}

/// Waits until a node is ready; the open exchange keeps the node ready.
async fn answered(
    member: &Member,
    mut exchange: Exchange,
    request: &PrepareRequest,
    progress: Progress<'_>,
) -> Result<Exchange, Error> {
    if !exchange.sender.send(request).await {
        return Err(peer::unreachable(member, "it ended the connection".to_owned()));
    }
    loop {
        match exchange.reader.next().await {
            Ok(Some(Answer::Step(line))) => progress(&line),
            Ok(Some(Answer::Ready)) => {
                progress(&format!("{} ready", member.node));
                return Ok(exchange);
            }
            Ok(Some(Answer::Problem(problem))) => {
                return Err(Error::Refused { node: member.node.clone(), problem });
            }
            Ok(Some(
                Answer::Held(_)
                | Answer::Instances(_)
                | Answer::Live
                | Answer::Environment(_)
                | Answer::Runs(_)
                | Answer::Status(_),
            )) => {}
            Ok(None) => return Err(peer::unreachable(member, "it ended the connection".to_owned())),
            Err(reason) => return Err(peer::unreachable(member, reason)),
        }
    }
}

impl Prepared {
    fn names(&self, node: &str) -> bool {
        self.ready.iter().any(|(ready, _)| ready == node) || self.gone.iter().any(|gone| gone == node)
    }

    /// Returns the number of prepared nodes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ready.len()
    }

    /// Summarizes the preparation, including the node `own`: a word for each node, by name.
    #[must_use]
    pub fn summary(&self, own: &str, here: &str) -> String {
        let ready = self.ready.iter().map(|(node, _)| (node.as_str(), "ready"));
        let gone = self.gone.iter().map(|node| (node.as_str(), "gone"));
        let mut all: Vec<(&str, &str)> = ready.chain(gone).chain([(own, here)]).collect();
        all.sort_unstable();
        all.iter().map(|(node, state)| format!("{node} {state}")).collect::<Vec<_>>().join(" · ")
    }

    /// Reports that the version is live since `revision`, and waits until each node serves the version. Returns the
    /// nodes without a timely answer, which follow later.
    pub async fn switched(self, revision: Revision) -> Vec<String> {
        let follow = self.ready.into_iter().map(|(node, mut exchange)| async move {
            let live = async {
                exchange.sender.send(&Outcome::Switched(revision)).await;
                while let Ok(Some(answer)) = exchange.reader.next::<Answer>().await {
                    if answer == Answer::Live {
                        return true;
                    }
                }
                false
            };
            let is_live = timeout(FOLLOW_MAX, live).await.unwrap_or(false);
            (!is_live).then_some(node)
        });
        join_all(follow).await.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SILENT_MAX: Duration = Duration::from_secs(15);

    #[tokio::test(start_paused = true)]
    async fn a_silent_node_is_named_once_and_again_after_it_came_back() {
        let mut patience = Patience::new(SILENT_MAX);
        assert_eq!(patience.named_once("edge-2"), None);
        for _ in 0..2 {
            advance(NAMED_AFTER).await;
            assert_eq!(
                patience.named_once("edge-2").as_deref(),
                Some("edge-2 does not answer, and is waited for at most 15 s")
            );
            assert_eq!(patience.named_once("edge-2"), None);
            patience.note_break();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_prepared_for_long_is_waited_for_from_the_break_of_its_connection_on() {
        let mut patience = Patience::new(SILENT_MAX);
        advance(10 * SILENT_MAX).await;
        patience.note_break();
        advance(SILENT_MAX - PAUSE).await;
        assert!(patience.is_left());
        advance(PAUSE).await;
        assert!(!patience.is_left(), "it is silent");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_breaks_off_again_and_again_is_not_waited_for_without_end() {
        let mut patience = Patience::new(SILENT_MAX);
        for _ in 0..2 * BREAKS_MAX {
            patience.note_break();
        }
        assert!(patience.is_left(), "it restarts for as long as it may be silent");
        advance(SILENT_MAX - PAUSE).await;
        patience.note_break();
        advance(PAUSE).await;
        assert!(!patience.is_left());
    }
}
