//! Attempts at logging in, which nodes report to each other: so many are allowed in a cluster, and not on each node.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::listener::ATTEMPTS;
use super::messages::AttemptNote;
use super::nodes::Nodes;
use crate::ledger::Member;

/// Longest time for a report to a node.
const REPORT_MAX: Duration = Duration::from_secs(3);

impl Nodes {
    /// Reports attempts on this node to all others. A node that does not answer counts its own alone.
    pub async fn report_attempts(&self, notes: &[AttemptNote]) {
        let Ok(others) = self.others().await else { return };
        let reports = others.iter().map(|member| timeout(REPORT_MAX, self.report(member, notes)));
        join_all(reports).await;
    }

    async fn report(&self, member: &Member, notes: &[AttemptNote]) {
        let Ok(mut exchange) = self.open(member, ATTEMPTS).await else { return };
        exchange.sender.send(&notes).await;
        // It ends the answer when it has counted them.
        drop(exchange.reader.next::<AttemptNote>().await);
    }
}
