//! Listener addresses of other nodes, forbidden as targets of routes.

use super::follow_runs::next_change;
use super::nodes::Nodes;
use crate::ledger::Member;
use devanture_serve::proxy::address::{NodeListeners, OtherNodes};

impl Nodes {
    /// Sets `listeners` to the addresses of all live nodes; `own_ports` are the local ports.
    pub async fn read_listeners(&self, listeners: &OtherNodes, own_ports: &[u16]) {
        match self.others().await {
            Ok(others) => listeners.set(&others.into_iter().map(of_member).collect::<Vec<_>>(), own_ports),
            Err(error) => {
                tracing::error!(%error, "the nodes cannot be listed: routes are refused where they listened last");
            }
        }
    }

    /// As [`Nodes::read_listeners`], repeated whenever nodes join or leave.
    pub async fn follow_listeners(self, listeners: OtherNodes, own_ports: Vec<u16>) {
        // Subscribed before the listing, so that no join in between is missed.
        let mut commits = self.commits();
        loop {
            self.read_listeners(&listeners, &own_ports).await;
            if !next_change(&mut commits).await {
                return;
            }
        }
    }
}

fn of_member(member: Member) -> NodeListeners {
    NodeListeners { advertise: member.advertise, listens: member.listens }
}
