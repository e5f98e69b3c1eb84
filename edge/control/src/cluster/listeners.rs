//! Listener addresses of other nodes, forbidden as targets of routes.

use super::nodes::Nodes;
use crate::ledger::Member;
use devanture_serve::proxy::address::{NodeListeners, OtherNodes};
use devanture_store::records::table::FollowedBy;

impl Nodes {
    /// Has `listeners` know where the nodes listen that live now; `own_ports` are those of this node. Returns whether
    /// they could be listed.
    pub async fn read_listeners(&self, listeners: &OtherNodes, own_ports: &[u16]) -> bool {
        match self.others().await {
            Ok(others) => {
                listeners.set(&others.into_iter().map(of_member).collect::<Vec<_>>(), own_ports);
                true
            }
            Err(error) => {
                tracing::error!(%error, "the nodes cannot be listed: routes are refused where they listened last");
                false
            }
        }
    }

    /// As [`Nodes::read_listeners`], repeated whenever nodes join or leave.
    pub async fn follow_listeners(self, listeners: OtherNodes, own_ports: Vec<u16>) {
        let mut follow = self.follow(FollowedBy::NodeListeners);
        while follow.changed().await {
            if !self.read_listeners(&listeners, &own_ports).await {
                follow.read_failed();
            }
        }
    }
}

fn of_member(member: Member) -> NodeListeners {
    NodeListeners { advertise: member.advertise, listens: member.listens }
}
