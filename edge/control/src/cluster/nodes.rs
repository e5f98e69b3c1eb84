//! What this node asks of all others: to prepare a version before it goes live, and how they are.

use std::sync::Arc;
use std::time::Duration;

use devanture_config::AppName;
use devanture_config::api::{NodeState, NodeStatus};
use devanture_config::problem::Problem;
use futures_util::future::{join_all, try_join_all};
use hyper::client::conn::http2::SendRequest;
use tokio::sync::broadcast::Receiver;
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
use devanture_store::catalog::{Committed, Revision};

/// Time beyond its lease for which a node may not answer before a switch is given up: one that ended is gone by then,
/// also where etcd is busy and notices late, and one that is not reaches the catalog alone.
const BEYOND_LEASE: Duration = Duration::from_secs(30);
/// Time after which a node that does not answer is named.
const NAMED_AFTER: Duration = Duration::from_secs(2);
/// Times that a node may break off what it prepares, once that goes on for longer than it may be silent: one that a
/// version ends every time never gets ready.
const BREAKS_MAX: usize = 8;
/// Pause before a node that did not answer is tried again, and between looks whether a silent one still lives.
pub(super) const PAUSE: Duration = Duration::from_millis(250);
/// Longest wait for a node to serve what was switched to; it has prepared it, so that this is a moment.
const FOLLOW_MAX: Duration = Duration::from_secs(5);
/// Longest wait for a node to say how it is.
const STATUS_MAX: Duration = Duration::from_secs(3);

/// The other nodes, as this one reaches them.
#[derive(Clone)]
pub struct Nodes {
    identity: Identity,
    members: Arc<Members>,
}

/// A version that every other node holds ready, for as long as this lives.
pub struct Prepared {
    ready: Vec<(String, Exchange)>,
    gone: Vec<String>,
}

/// How a node answered.
enum Prepare {
    Ready(Exchange),
    Gone,
}

/// How long a node that prepares a version is still tried, when it cannot be reached.
struct Patience {
    silent_max: Duration,
    began: Instant,
    /// When it was known to live last.
    heard: Instant,
    breaks: usize,
    is_named: bool,
}

impl Patience {
    fn new(silent_max: Duration) -> Self {
        let now = Instant::now();
        Self { silent_max, began: now, heard: now, breaks: 0, is_named: false }
    }

    /// Takes note that the node, which was there until now, has broken off what it had begun.
    fn note_break(&mut self) {
        self.heard = Instant::now();
        self.breaks = self.breaks.saturating_add(1);
        self.is_named = false;
    }

    /// The sentence about a node that is silent, once for each silence.
    fn named_once(&mut self, node: &str) -> Option<String> {
        if self.is_named || self.heard.elapsed() < NAMED_AFTER {
            return None;
        }
        self.is_named = true;
        Some(format!("{node} does not answer, and is waited for at most {} s", self.silent_max.as_secs()))
    }

    /// Whether it is tried again.
    fn is_left(&self) -> bool {
        let breaks_off_always = self.breaks > BREAKS_MAX && self.began.elapsed() >= self.silent_max;
        self.heard.elapsed() < self.silent_max && !breaks_off_always
    }
}

impl Nodes {
    /// Reaches the nodes of `members` by `identity`.
    #[must_use]
    pub const fn new(identity: Identity, members: Arc<Members>) -> Self {
        Self { identity, members }
    }

    /// This node.
    #[must_use]
    pub fn own(&self) -> &Member {
        self.members.own()
    }

    /// A refusal by this node, as one by another node reads.
    #[must_use]
    pub(crate) fn refused_here(&self, problem: Box<Problem>) -> ledger::Error {
        Error::Refused { node: self.own().node.clone(), problem }.into_problem()
    }

    /// When the certificate of this node ends, in seconds since 1970 UTC.
    #[must_use]
    pub fn certificate_ends_s(&self) -> i64 {
        self.identity.ends_s()
    }

    /// Why a changed certificate of this node, or the CA's, cannot be used; the earlier one is.
    #[must_use]
    pub fn certificate_fault(&self) -> Option<String> {
        self.identity.fault().map(|reason| reason.to_string())
    }

    pub(super) async fn others(&self) -> Result<Vec<Member>, Error> {
        Ok(self.members.others().await?)
    }

    /// The node of that name, if it lives.
    pub(super) async fn current(&self, node: &str) -> Result<Option<Member>, Error> {
        Ok(self.members.current(node).await?)
    }

    /// Waits until what was acknowledged anywhere can be read here.
    pub(super) async fn catch_up(&self) -> Result<(), Error> {
        Ok(self.members.catch_up().await?)
    }

    /// Another node that lives and whose name is one of those.
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

    /// How long a node that lives may not answer.
    pub(super) fn silent_max(&self) -> Duration {
        self.members.lease().saturating_add(BEYOND_LEASE)
    }

    /// Commits from now on.
    pub(super) fn commits(&self) -> Receiver<Committed> {
        self.members.commits()
    }

    /// Has `registry` reach the instances of other nodes.
    pub fn open_tunnels(&self, registry: &Registry) {
        registry.open_tunnels_by(Arc::new(tunnel::Opener::new(&self.identity)));
    }

    pub(super) async fn open(&self, member: &Member, path: &str) -> Result<Exchange, Error> {
        peer::open(&self.identity, member, path).await
    }

    /// Takes on what one node does at a time, such as `collection`, for as long as the lease lives; `None` if another
    /// one does it.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub async fn take_duty(&self, duty: &str) -> Result<Option<Duty>, Error> {
        Ok(self.members.take_duty(duty).await?)
    }

    /// Whether some node has a duty, as far as this one knows.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub async fn is_duty_taken(&self, duty: &str) -> Result<bool, Error> {
        Ok(self.members.is_duty_taken(duty).await?)
    }

    /// Has every other node prepare a version. One whose lease ends meanwhile is gone, and not waited for.
    ///
    /// # Errors
    /// [`Error::Refused`] and [`Error::Unreachable`] of the first node that cannot; [`Error::Catalog`].
    pub async fn prepare_all(&self, request: &PrepareRequest, progress: Progress<'_>) -> Result<Prepared, Error> {
        self.prepare_others(Prepared { ready: Vec::new(), gone: Vec::new() }, request, progress).await
    }

    /// Has those prepare it that hold it no longer, or have come since.
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
            // Those that came meanwhile have it, too.
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
                    // Another process has taken its place, and has not prepared anything.
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
                // A process that ends breaks off what it has begun: the one in its place is asked.
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
            // Not from the last line on: a load may report nothing for minutes, in which pings were answered.
            patience.note_break();
        }
        answered
    }

    /// Waits until a node is gone, or another process has taken its place.
    pub(super) async fn changed(&self, member: &Member) -> Option<Member> {
        loop {
            match self.members.current(&member.node).await {
                Ok(current) if current.as_ref() != Some(member) => return current,
                Ok(_) | Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// The states of all nodes, this one by `own`, in the order of their names; with the versions of one app, or of
    /// all.
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
            // A node of the release before reports those of every app.
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

/// Waits until a node is ready, by an exchange that is open; the exchange holds it so.
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

    /// How many nodes hold it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ready.len()
    }

    /// What a report says about it, with the part of the node `own`: a word for each node, in the order of their names.
    #[must_use]
    pub fn summary(&self, own: &str, here: &str) -> String {
        let ready = self.ready.iter().map(|(node, _)| (node.as_str(), "ready"));
        let gone = self.gone.iter().map(|node| (node.as_str(), "gone"));
        let mut all: Vec<(&str, &str)> = ready.chain(gone).chain([(own, here)]).collect();
        all.sort_unstable();
        all.iter().map(|(node, state)| format!("{node} {state}")).collect::<Vec<_>>().join(" · ")
    }

    /// Says that the version is live as of `revision`, and waits until each node serves it. Gives the nodes that did
    /// not say so in time: they follow when they can.
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
