//! The nodes that instances are spread over: those that live, and for a moment those that did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::error::Error;
use super::group::Group;
use super::place_user::PREVIEW;
use super::shared::Shared;
use devanture_store::catalog::{Catalog, Change, Committed};
use devanture_store::records::nodes::NODES_PREFIX;

/// Time for which a node that has gone keeps its share: one that only restarts finds it as it was, and no other node
/// has started instances meanwhile. It comes after the lease of a node that did not say that it goes.
const RETURN_GRACE: Duration = Duration::from_secs(5);
/// Most nodes that instances are spread over.
const NODES_MAX: usize = 1_000;

/// The nodes as this one knows them. An edge that is alone knows only itself.
pub(super) struct KnownNodes {
    own: String,
    /// Whether there may be others.
    is_in_cluster: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: BTreeSet<String>,
    /// Those that have gone, and when they are forgotten.
    gone: BTreeMap<String, Instant>,
}

impl KnownNodes {
    pub(super) fn new(own: String, is_in_cluster: bool) -> Self {
        Self { own, is_in_cluster, state: Mutex::default() }
    }

    /// The nodes that have a share now, this one among them.
    pub(super) fn names(&self) -> Vec<String> {
        let state = self.state.lock();
        let mut names: BTreeSet<&String> = state.live.iter().chain(state.gone.keys()).collect();
        // It has one from its start on, though others know it only once it serves.
        names.insert(&self.own);
        names.into_iter().cloned().collect()
    }

    /// Reads who lives. Where the catalog's store is away, the nodes stay as they were known last.
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

    /// When the next node that has gone is forgotten.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.state.lock().gone.values().min().copied()
    }

    /// Forgets those whose time is over at `now`.
    pub(super) fn forget(&self, now: Instant) {
        self.state.lock().gone.retain(|_, until| *until > now);
    }

    /// Forgets all that have gone.
    pub(super) fn forget_all(&self) {
        self.state.lock().gone.clear();
    }

    /// Whether a commit says that a node came or went.
    pub(super) fn are_changed_by(&self, committed: &Committed) -> bool {
        self.is_in_cluster
            && committed.changes.iter().any(|change| {
                let (Change::Delete(key) | Change::Put(key, _)) = change;
                key.starts_with(NODES_PREFIX)
            })
    }
}

impl Shared {
    /// Has every environment run this node's share, as far as nodes came or went.
    pub(super) async fn follow_nodes(self: &Arc<Self>) {
        let before = self.nodes.names();
        if let Err(error) = self.nodes.refresh(&*self.catalog).await {
            tracing::error!(%error, "the nodes cannot be listed: instances stay where they are");
        }
        self.spread_again(&before);
    }

    /// As [`Shared::follow_nodes`], for nodes whose time to come back is over.
    pub(super) fn forget_nodes(self: &Arc<Self>) {
        let before = self.nodes.names();
        self.nodes.forget(Instant::now());
        self.spread_again(&before);
    }

    /// Has what is about to go live not count on nodes that have gone: whatever it needs is to be healthy before.
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

    /// Ends what ran in place of other nodes' instances, as far as these run by now.
    pub(super) fn follow_elsewhere(self: &Arc<Self>) {
        let groups = self.all_groups().into_iter().filter(|group| group.inner().spreading.has_excess);
        groups.for_each(|group| self.rescale_later(group));
    }
}

impl Group {
    /// Whether its instances are spread over the nodes. Those of a preview run where somebody asks for it.
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
