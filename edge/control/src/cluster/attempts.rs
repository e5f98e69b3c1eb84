//! Login attempts, reported between nodes so that limits apply to the whole cluster.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::listener::ATTEMPTS;
use super::messages::AttemptNote;
use super::nodes::Nodes;
use crate::ledger::Member;

/// Longest report to a node.
const REPORT_MAX: Duration = Duration::from_secs(3);

impl Nodes {
    /// Reports local attempts to all other nodes. An unreachable node counts only its own attempts.
    pub async fn report_attempts(&self, notes: &[AttemptNote]) {
        let Ok(others) = self.others().await else { return };
        let reports = others.iter().map(|member| timeout(REPORT_MAX, self.report(member, notes)));
        join_all(reports).await;
    }

    async fn report(&self, member: &Member, notes: &[AttemptNote]) {
        let Ok(mut exchange) = self.open(member, ATTEMPTS).await else { return };
        exchange.sender.send(&notes).await;
        // The node ends the answer once the attempts are counted.
        drop(exchange.reader.next::<AttemptNote>().await);
    }
}
