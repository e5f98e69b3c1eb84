//! Instance service of a node for other nodes: reports, lists, changes.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use devanture_config::api::InstanceStatus;
use devanture_config::problem::Problem;
use hyper::body::Incoming;

use super::instance_messages::{InstancesRequest, RunReport};
use super::lines::{LineReader, LineSender};
use super::messages::Answer;
use devanture_serve::proxy::{Registry, RunId, RunMember, RunNow};

/// Most runs per line.
const RUNS_MAX: usize = 1_000;

/// Instance service of a node for other nodes.
#[async_trait]
pub trait InstanceService: Send + Sync {
    /// Returns the registry of the pools of the node's instances.
    fn registry(&self) -> &Registry;

    /// Handles a request, and returns the resulting instances of the node.
    ///
    /// # Errors
    /// The reason for a refusal.
    async fn instances(&self, request: &InstancesRequest) -> Result<Vec<InstanceStatus>, Problem>;
}

/// Instances reported to another node.
#[derive(Default)]
struct Reported(HashMap<RunId, Vec<RunMember>>);

impl Reported {
    /// Returns the runs changed since the last report, with their present instances; an empty list for an ended run.
    fn differences(&mut self, now: Vec<(RunId, Arc<RunNow>)>) -> Vec<(RunId, Vec<RunMember>)> {
        let before = std::mem::take(&mut self.0);
        self.0 = now.into_iter().map(|(id, now)| (id, now.members.clone())).collect();
        let ended = before.keys().filter(|id| !self.0.contains_key(id)).map(|id| (id.clone(), Vec::new()));
        let changed = self.0.iter().filter(|(id, members)| before.get(id) != Some(members));
        ended.chain(changed.map(|(id, members)| (id.clone(), members.clone()))).collect()
    }
}

/// Reports the instances of the node until the receiver is gone, or the instances are no longer available to others.
pub(super) async fn report(sender: LineSender, registry: Registry) {
    let mut changes = registry.run_changes();
    let mut reported = Reported::default();
    let mut is_whole = true;
    while registry.is_shared() {
        changes.borrow_and_update();
        let runs = reported.differences(registry.shared_runs());
        let mut rest = runs.as_slice();
        // The first line is sent even without any run.
        while is_whole || !rest.is_empty() {
            let (part, more) = rest.split_at(rest.len().min(RUNS_MAX));
            let line = RunReport { process: registry.process(), is_whole, runs: part.to_vec() };
            if !sender.send(&Answer::Runs(line)).await {
                return;
            }
            (rest, is_whole) = (more, false);
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
    }
}

/// Answers a request about instances.
pub(super) async fn answer(mut reader: LineReader<Incoming>, sender: LineSender, service: &dyn InstanceService) {
    let Ok(Some(request)) = reader.next::<InstancesRequest>().await else { return };
    let answer = match service.instances(&request).await {
        Ok(instances) => Answer::Instances(instances),
        Err(problem) => Answer::Problem(Box::new(problem)),
    };
    sender.send(&answer).await;
}

#[cfg(test)]
mod tests {
    use devanture_config::Digest;

    use super::*;
    use devanture_serve::proxy::address::Endpoint;
    use devanture_serve::proxy::{RunKey, RunState};

    #[test]
    fn only_what_changed_is_reported() {
        let id = |settings| RunId {
            app: "shop".parse().unwrap(),
            place: "prod".to_owned(),
            key: RunKey { digest: Digest::of(b"1"), settings },
        };
        let member = |port: u16| RunMember {
            endpoint: Endpoint::Tcp(([127, 0, 0, 1], port).into()),
            is_draining: false,
            uid: None,
            scripts: None,
        };
        let now = |port| Arc::new(RunNow { state: RunState::Running, is_shared: true, members: vec![member(port)] });
        let mut reported = Reported::default();
        assert_eq!(reported.differences(vec![(id(1), now(1))]), [(id(1), vec![member(1)])]);
        assert_eq!(reported.differences(vec![(id(1), now(1)), (id(2), now(2))]), [(id(2), vec![member(2)])]);
        assert_eq!(reported.differences(vec![(id(2), now(3))]), [(id(1), Vec::new()), (id(2), vec![member(3)])]);
        assert_eq!(reported.differences(vec![(id(2), now(3))]), []);
    }
}
