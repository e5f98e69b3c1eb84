//! HTTP/3 connections while other processes take over their sockets.

use super::*;

/// A waiting request, with the handles that must outlive the request.
type Waiting = (Stream, Requests, quinn::Connection, quinn::Endpoint);

/// Successive processes on the same sockets.
struct Processes {
    sockets: Vec<UdpSocket>,
    folder: Arc<tempfile::TempDir>,
}

impl Processes {
    fn bind() -> Self {
        let sockets = bind_all("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        Self { sockets, folder: Arc::new(tempfile::tempdir().unwrap()) }
    }

    fn start(&self, generation: u8, before: Option<Vec<UnixDatagram>>) -> Served {
        let copies = self.sockets.iter().map(|socket| socket.try_clone().unwrap()).collect();
        Served::on(copies, &Limits::default(), Arc::clone(&self.folder), ("edge-1", generation), before)
    }

    /// Starts the successor of `old`, which then drains for a long time.
    async fn take_over(&self, old: &Served, generation: u8) -> Served {
        let (here, there): (Vec<_>, Vec<_>) = old.after.iter().map(|_| UnixDatagram::pair().unwrap()).unzip();
        for (after, here) in old.after.iter().zip(here) {
            after.send(here).unwrap();
        }
        let new = self.start(generation, Some(there));
        // The threads have received their ends of the pairs before the drain.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let order = DrainOrder { has_successor: true, ..DrainOrder::until(Instant::now() + PATIENCE * 10) };
        old.drain.send_replace(Some(order));
        new
    }
}

/// Sends waiting requests, each on its own connection.
async fn waiting(served: &Served) -> Vec<Waiting> {
    let mut all = Vec::new();
    for _ in 0..6 {
        let client = served.client();
        let (mut requests, connection) = served.speak(&client).await;
        let mut waiting = begin(&mut requests, ask_for("/wait")).await;
        waiting.finish().await.unwrap();
        all.push((waiting, requests, connection, client));
    }
    eventually(|| served.peers.borrow().len() == 6).await;
    all
}

/// Releases the requests: all are answered, and their connections end in order.
async fn answered(served: &Served, all: &mut Vec<Waiting>) {
    served.gate.add_permits(all.len());
    for (waiting, _requests, connection, _client) in all {
        assert_eq!(timeout(PATIENCE, body(waiting)).await.unwrap(), b"waited");
        let reason = timeout(PATIENCE, connection.closed()).await.unwrap();
        assert!(matches!(reason, quinn::ConnectionError::ApplicationClosed(_)), "{reason}");
    }
}

async fn drained(served: Served) {
    for ended in served.ended {
        assert_eq!(timeout(PATIENCE, ended).await.unwrap().unwrap().unwrap(), Drained { cut: 0 });
    }
}

#[test]
fn connections_outlive_the_process_that_takes_the_sockets_over() {
    local(async || {
        let processes = Processes::bind();
        let old = processes.start(255, None);
        let mut clients = waiting(&old).await;
        let new = processes.take_over(&old, 0).await;
        for _ in 0..6 {
            let (mut requests, _connection) = new.speak(&new.client()).await;
            assert_eq!(fetch(&mut requests, "/bytes/200000").await.len(), 200_000);
        }
        assert_eq!((new.peers.borrow().len(), old.peers.borrow().len()), (6, 6));
        answered(&old, &mut clients).await;
        drained(old).await;
    });
}

/// The process in between has no requests of its own: packets of the first process pass through.
#[test]
fn connections_outlive_a_second_process_that_takes_the_sockets_over() {
    local(async || {
        let processes = Processes::bind();
        let first = processes.start(254, None);
        let mut clients = waiting(&first).await;
        let second = processes.take_over(&first, 255).await;
        let third = processes.take_over(&second, 0).await;
        let (mut requests, _connection) = third.speak(&third.client()).await;
        assert_eq!(fetch(&mut requests, "/bytes/200000").await.len(), 200_000);
        answered(&first, &mut clients).await;
        drained(first).await;
        // The test's process does not learn of the end.
        second.drain.send_replace(Some(DrainOrder::until(Instant::now())));
        drained(second).await;
    });
}

#[test]
fn an_order_that_ends_sooner_is_followed() {
    local(async || {
        let processes = Processes::bind();
        let old = processes.start(1, None);
        let clients = waiting(&old).await;
        let new = processes.take_over(&old, 2).await;
        let (mut requests, _connection) = new.speak(&new.client()).await;
        assert_eq!(fetch(&mut requests, "/").await, b"hello");
        old.drain.send_replace(Some(DrainOrder::until(Instant::now())));
        let mut cut = 0;
        for ended in old.ended {
            cut += timeout(PATIENCE, ended).await.unwrap().unwrap().unwrap().cut;
        }
        assert_eq!(cut, clients.len());
    });
}
