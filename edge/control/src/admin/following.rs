//! Progress of a deploy, for readers other than its author.

use devanture_config::AppName;
use devanture_config::problem::{Code, Problem};
use tokio::sync::mpsc;

use super::answer;
use super::call::Answer;
use super::state::Admin;
use crate::ledger::Actor;

impl Admin {
    /// Streams the events of a deploy until the deploy ends, the reader leaves, or the reader's credential ends.
    pub(super) async fn follow_deploy(&self, actor: Actor, app: &AppName, deploy: &str) -> Answer {
        let stream = self.streams.open(&actor)?;
        let share = self.followers.take(app).ok_or_else(|| {
            let detail = format!("Too many readers follow deploys of the app {app} just now.");
            Problem::new(Code::Busy, detail).hint("try again in a moment")
        })?;
        let mut follower = self.publisher.follow_deploy(app, deploy);
        let mut in_force = self.credentials.in_force(actor).await;
        let (sink, events) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let _places = (share, stream);
            loop {
                let event = tokio::select! {
                    event = follower.next() => event,
                    () = in_force.ended() => break,
                    () = sink.closed() => break,
                };
                let Some(event) = event else { break };
                if !in_force.is_good().await || sink.send(event).is_err() {
                    break;
                }
            }
        });
        Ok(answer::events(events))
    }
}
