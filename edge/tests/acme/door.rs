//! A port whose connections are led elsewhere, or nowhere: it has its address before there is anything behind it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Leads connections on until it is dropped; shut, it ends them at once.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    leads_to: Arc<Mutex<Option<SocketAddr>>>,
    refused: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Door {
    /// Shut at first.
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (leads_to, refused) = (Arc::<Mutex<Option<SocketAddr>>>::default(), Arc::<AtomicUsize>::default());
        let (target, count) = (Arc::clone(&leads_to), Arc::clone(&refused));
        let task = tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let target = *target.lock().unwrap();
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
        Self { address, leads_to, refused, task }
    }

    pub(crate) fn open(&self, target: SocketAddr) {
        *self.leads_to.lock().unwrap() = Some(target);
    }

    pub(crate) fn shut(&self) {
        *self.leads_to.lock().unwrap() = None;
    }

    /// Connections that found it shut.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}
