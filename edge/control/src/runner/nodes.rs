//! Nodes that share instances: live nodes, and recently gone nodes for a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::error::Error;
use super::group::Group;
use super::place_user::PREVIEW;
use super::shared::Shared;
use devanture_store::catalog::Catalog;
use devanture_store::records::nodes::NODES_PREFIX;

/// Time for which a gone node keeps its share, so that a restarting node finds its share unchanged, and no other node
/// has started instances meanwhile. After an unannounced end, the time begins with the end of the lease.
const RETURN_GRACE: Duration = Duration::from_secs(5);
/// Most nodes that share instances.
const NODES_MAX: usize = 1_000;

/// Known nodes. A standalone edge knows only itself.
pub(super) struct KnownNodes {
    own: String,
    /// True if other nodes may exist.
    is_in_cluster: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: BTreeSet<String>,
    /// Gone nodes, with the end of their grace period.
    gone: BTreeMap<String, Instant>,
}

impl KnownNodes {
    pub(super) fn new(own: String, is_in_cluster: bool) -> Self {
        Self { own, is_in_cluster, state: Mutex::default() }
    }

    /// Returns the nodes with a share, including the local node.
    pub(super) fn names(&self) -> Vec<String> {
        let state = self.state.lock();
        let mut names: BTreeSet<&String> = state.live.iter().chain(state.gone.keys()).collect();
        // The local node has a share from its start, although other nodes learn of the node only once it serves.
        names.insert(&self.own);
        names.into_iter().cloned().collect()
    }

    /// Reads the live nodes. Without a reachable catalog store, the known nodes stay.
    pub(super) async fn refresh(&self, catalog: &dyn Catalog) -> Result<(), Error> {
        if !self.is_in_cluster {
            return Ok(());
        }
        let listed = catalog.list(NODES_PREFIX, None, false, NODES_MAX).await?;
        let names = listed.iter().filter_map(|(key, _)| key.strip_prefix(NODES_PREFIX));
        self.set(names.map(str::to_owned).collect(), Instant::now());
        Ok(())
    }

    fn set(&self, live: BTreeSet<String>, now: Instant) {
        let mut state = self.state.lock();
        let before = std::mem::replace(&mut state.live, live);
        let State { live, gone } = &mut *state;
        gone.extend(before.into_iter().filter(|name| !live.contains(name)).map(|name| (name, now + RETURN_GRACE)));
        gone.retain(|name, until| *until > now && !live.contains(name));
    }

    /// Returns the end of the next grace period.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.state.lock().gone.values().min().copied()
    }

    /// Forgets nodes whose grace period has ended at `now`.
    pub(super) fn forget(&self, now: Instant) {
        self.state.lock().gone.retain(|_, until| *until > now);
    }

    /// Forgets all gone nodes.
    pub(super) fn forget_all(&self) {
        self.state.lock().gone.clear();
    }

    /// Whether there may be other nodes.
    pub(super) const fn may_be_others(&self) -> bool {
        self.is_in_cluster
    }
}

impl Shared {
    /// Adjusts the node's share of every environment after nodes joined or left.
    pub(super) async fn follow_nodes(self: &Arc<Self>) {
        let before = self.nodes.names();
        if let Err(error) = self.nodes.refresh(&*self.catalog).await {
            tracing::error!(%error, "the nodes cannot be listed: instances stay where they are");
        }
        self.spread_again(&before);
    }

    /// As [`Shared::follow_nodes`], after the end of a grace period.
    pub(super) fn forget_nodes(self: &Arc<Self>) {
        let before = self.nodes.names();
        self.nodes.forget(Instant::now());
        self.spread_again(&before);
    }

    /// Forgets gone nodes before a switch: all instances of the new version must be healthy before the switch.
    pub(super) fn forget_gone_nodes(self: &Arc<Self>) {
        let before = self.nodes.names();
        self.nodes.forget_all();
        self.spread_again(&before);
    }

    fn spread_again(self: &Arc<Self>, before: &[String]) {
        let nodes = self.nodes.names();
        if nodes != before {
            tracing::info!(?nodes, "instances are spread over other nodes than before");
            self.all_groups().into_iter().filter(|group| group.is_spread()).for_each(|group| self.rescale_later(group));
        }
    }

    /// Ends instances that replaced those of other nodes, once the latter run.
    pub(super) fn follow_elsewhere(self: &Arc<Self>) {
        let groups = self.all_groups().into_iter().filter(|group| group.inner().spreading.has_excess);
        groups.for_each(|group| self.rescale_later(group));
    }
}

impl Group {
    /// Returns true if instances are shared among nodes. Previews run on the requested node.
    pub(super) fn is_spread(&self) -> bool {
        self.settings_place != PREVIEW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_its_share_for_a_moment_after_it_has_gone() {
        let nodes = KnownNodes::new("edge-1".to_owned(), true);
        assert_eq!(nodes.names(), ["edge-1"], "itself, before anybody else knows it");
        let (now, set) = (Instant::now(), |names: &[&str], at| {
            nodes.set(names.iter().map(|name| (*name).to_owned()).collect(), at);
        });
        set(&["edge-2", "edge-3"], now);
        assert_eq!((nodes.names().len(), nodes.next_end()), (3, None));
        set(&["edge-1", "edge-2"], now);
        assert_eq!((nodes.names().len(), nodes.next_end()), (3, Some(now + RETURN_GRACE)));
        set(&["edge-1", "edge-2", "edge-3"], now);
        assert_eq!((nodes.names().len(), nodes.next_end()), (3, None), "it is back");
        set(&["edge-1", "edge-2"], now);
        nodes.forget(now + RETURN_GRACE);
        assert_eq!(nodes.names(), ["edge-1", "edge-2"]);
    }
}
