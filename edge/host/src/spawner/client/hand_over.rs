//! Client during a handover of the spawner: commands wait, and each side continues in turn.

use std::collections::VecDeque;

use tokio::sync::{mpsc, watch};

use super::{Launched, Outcome, Reply, Slot, SpawnerCommand, SpawnerSupervisor};
use crate::spawner::handover::{HandedProcess, HandedSpawner, SpawnerConnection};
use crate::spawner::session::Session;
use crate::spawner::wire::{Event, Frame, Order, PROTOCOL};
use crate::spawner::{SpawnError, Usage};

type Commands = mpsc::UnboundedReceiver<SpawnerCommand>;

impl SpawnerSupervisor {
    /// Pauses the spawner, and waits until this edge resumes or leaves the spawner to the next edge. `None` after a
    /// resume.
    pub(super) async fn pause(
        &mut self,
        session: &mut Session,
        commands: &mut Commands,
        reply: Reply<SpawnerConnection>,
    ) -> Option<Outcome> {
        if let Err(error) = session.say(&Order::Pause) {
            reply.send(Err(SpawnError::Order(error.to_string()))).ok();
            return None;
        }
        loop {
            match session.frames.recv().await {
                None => return Some(Outcome::Lost),
                Some(Frame::Message(Event::Paused)) => break,
                Some(frame) => self.receive(session, frame),
            }
        }
        let connection = session.copy().map(|socket| SpawnerConnection { state: self.state(), socket });
        if reply.send(connection.map_err(SpawnError::Start)).is_err() {
            // The caller has given up.
            return session.resume().await.err().map(|_lost| Outcome::Lost);
        }
        self.wait_paused(session, commands, &[]).await
    }

    fn state(&self) -> HandedSpawner {
        HandedSpawner {
            protocol: PROTOCOL,
            next_key: self.next,
            keys: self.slots.keys().copied().collect(),
            means: *self.means.borrow(),
            claimed: self.claimed.as_ref().map(|uids| (*uids.start(), *uids.end())),
            users: self.uids.iter().copied().collect(),
        }
    }

    /// Waits through a pause. Commands received meanwhile run afterwards, and after the end of `unknown` instances,
    /// which may conflict with new launches.
    async fn wait_paused(
        &mut self,
        session: &mut Session,
        commands: &mut Commands,
        unknown: &[u64],
    ) -> Option<Outcome> {
        let mut waiting = VecDeque::new();
        loop {
            match commands.recv().await {
                // The next edge may have the connection: closed without a shutdown, which would affect both.
                None | Some(SpawnerCommand::Leave) => return Some(Outcome::Left(None)),
                Some(SpawnerCommand::End { reply }) => return Some(Outcome::Left(Some(reply))),
                Some(SpawnerCommand::Resume) => break,
                Some(command) => waiting.push_back(command),
            }
        }
        if session.resume().await.is_err() {
            return Some(Outcome::Lost);
        }
        for key in unknown {
            session.say(&Order::Kill { key: *key }).ok();
        }
        for command in waiting {
            self.fulfil(session, command);
        }
        None
    }

    /// Continues with the spawner of an earlier edge after a resume. Ends `unknown` instances of the spawner.
    pub(super) async fn go_on(mut self, mut session: Session, mut commands: Commands, unknown: Vec<u64>) {
        match self.wait_paused(&mut session, &mut commands, &unknown).await {
            Some(Outcome::Lost) => {
                // Detected again by the reader.
                tracing::debug!("the spawner of the earlier edge is gone");
            }
            Some(_) => return,
            None => {}
        }
        self.keep(session, commands).await;
    }

    /// Adopts a process of the earlier edge.
    pub(super) fn take(&mut self, process: HandedProcess) -> Launched {
        let (happens, receiver) = mpsc::unbounded_channel();
        let (usage, used) = watch::channel(Usage::default());
        let (input_taken, taken) = watch::channel(0);
        let HandedProcess { key, pid } = process;
        self.slots.insert(key, Slot { happens, usage, input_taken, launching: None, pid: Some(pid) });
        Launched { key, pid, happens: receiver, usage: used, input_taken: taken }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::fd::OwnedFd;
    use std::path::PathBuf;

    use devanture_config::edge_toml::ControlGroups;
    use futures_util::FutureExt as _;
    use tokio::net::UnixStream;

    use super::*;
    use crate::spawner::{InstanceLimits, Launch, Means, Spawner, SpawnerSettings, wire};

    #[tokio::test]
    async fn what_the_next_edge_does_not_know_is_killed_before_it_launches_another() {
        let (mut spawner, socket) = UnixStream::pair().unwrap();
        let socket = OwnedFd::from(socket.into_std().unwrap());
        let state = HandedSpawner {
            protocol: PROTOCOL,
            next_key: 8,
            keys: vec![7],
            means: Means::default(),
            claimed: None,
            users: Vec::new(),
        };
        let settings = SpawnerSettings {
            program: PathBuf::new(),
            socket: None,
            cgroup: ControlGroups::Off,
            edge_id: "test".to_owned(),
            folder: PathBuf::new(),
            uids: Vec::new(),
        };
        let (client, _) = Spawner::adopt(settings, SpawnerConnection { state, socket }, &[]).unwrap();
        let launch = Launch {
            id: "shop/prod/worker.1".to_owned(),
            command: vec!["true".to_owned()],
            folder: PathBuf::from("/"),
            environment: BTreeMap::new(),
            uid: None,
            limits: InstanceLimits::default(),
            temporary: None,
            keep: Vec::new(),
        };
        let launched = client.launch(launch);
        tokio::pin!(launched);
        assert!(launched.as_mut().now_or_never().is_none());
        client.resume();
        let mut orders = Vec::new();
        while orders.len() < 3 {
            match wire::read::<Order>(&mut spawner).await.unwrap().unwrap() {
                Frame::Message(order) => orders.push(order),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(&*orders, [Order::Resume, Order::Kill { key: 7 }, Order::Launch(_)]), "{orders:?}");
    }
}
