//! Forwarding port whose target can change or be absent; the address exists before the target does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Forwards connections until drop; while shut, ends connections at once.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    leads_to: Arc<Mutex<VecDeque<SocketAddr>>>,
    holds: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Door {
    /// Door without a target, initially shut.
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (leads_to, refused) = (Arc::<Mutex<VecDeque<SocketAddr>>>::default(), Arc::<AtomicUsize>::default());
        let holds = Arc::<AtomicBool>::default();
        let (targets, count, holding) = (Arc::clone(&leads_to), Arc::clone(&refused), Arc::clone(&holds));
        let task = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut from, _)) = listener.accept().await {
                if holding.load(Ordering::Relaxed) {
                    held.push(from);
                    continue;
                }
                let target = {
                    let mut targets = targets.lock().unwrap();
                    let next = targets.pop_front();
                    targets.extend(next);
                    next
                };
                let Some(target) = target else {
                    count.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                tokio::spawn(async move {
                    if let Ok(mut to) = TcpStream::connect(target).await {
                        copy_bidirectional(&mut from, &mut to).await.ok();
                    }
                });
            }
        });
        Self { address, leads_to, holds, refused, task }
    }

    pub(crate) fn open(&self, target: SocketAddr) {
        self.open_to_all([target]);
    }

    /// Forwards each connection to the next target in turn.
    pub(crate) fn open_to_all(&self, targets: impl IntoIterator<Item = SocketAddr>) {
        *self.leads_to.lock().unwrap() = targets.into_iter().collect();
        self.holds.store(false, Ordering::Relaxed);
    }

    pub(crate) fn shut(&self) {
        self.leads_to.lock().unwrap().clear();
    }

    /// Keeps connections waiting until the door opens.
    pub(crate) fn hold(&self) {
        self.holds.store(true, Ordering::Relaxed);
    }

    /// Number of connections refused while shut.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}
