//! Network between HTTP/3 clients and an edge: loses, duplicates and delays packets, and changes the address of
//! clients.
//!
//! The packet number alone determines the fate of a packet. The network ends on drop.

#![allow(dead_code, reason = "every file of tests uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Size of the longest packet.
const PACKET_BYTES_MAX: usize = 65_535;
/// Number of packets that overtake a late packet.
const LATE_BY: usize = 4;

/// Fates of packets, in percent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    /// Share of packets delivered after the next packets.
    pub(crate) late: u64,
}

/// Relay between clients and an edge.
pub(crate) struct Relay {
    /// Address for clients.
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    front: UdpSocket,
    edge: SocketAddr,
    weather: Weather,
    is_off: AtomicBool,
    loses_answers: AtomicBool,
    packets: AtomicU64,
    lost: AtomicU64,
    /// Clients by the address that the edge sees.
    ways: Mutex<HashMap<SocketAddr, ClientPath>>,
}

/// Edge-side socket of a client.
struct ClientPath {
    socket: Arc<UdpSocket>,
    late: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Readers of earlier addresses keep delivering.
    readers: Vec<JoinHandle<()>>,
}

impl Drop for ClientPath {
    fn drop(&mut self) {
        self.readers.iter().for_each(JoinHandle::abort);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
        // A panic here would hide the message of a failed test.
        self.shared.ways.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }
}

impl Relay {
    /// Starts to relay packets to an edge.
    pub(crate) async fn start(edge: SocketAddr, weather: Weather) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = front.local_addr().unwrap();
        let (packets, lost) = (AtomicU64::new(0), AtomicU64::new(0));
        let (is_off, loses_answers, ways) = (AtomicBool::new(false), AtomicBool::new(false), Mutex::default());
        let shared = Arc::new(Shared { front, edge, weather, is_off, loses_answers, packets, lost, ways });
        let task = tokio::spawn(Arc::clone(&shared).pass_from_clients());
        Self { address, shared, task }
    }

    /// Moves every client to another source address, unknown to the client.
    pub(crate) async fn move_clients(&self) {
        let clients: Vec<SocketAddr> = self.shared.ways.lock().unwrap().keys().copied().collect();
        for client in clients {
            let (socket, reader) = self.shared.way(client).await;
            let mut ways = self.shared.ways.lock().unwrap();
            let way = ways.get_mut(&client).unwrap();
            way.socket = socket;
            way.readers.push(reader);
        }
    }

    /// Stops relaying.
    pub(crate) fn turn_off(&self) {
        self.shared.is_off.store(true, Ordering::SeqCst);
    }

    /// Starts or stops losing the packets of the edge.
    pub(crate) fn lose_answers(&self, loses: bool) {
        self.shared.loses_answers.store(loses, Ordering::SeqCst);
    }

    /// Number of packets received, and number of lost packets.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.shared.packets.load(Ordering::SeqCst), self.shared.lost.load(Ordering::SeqCst))
    }
}

impl Shared {
    async fn pass_from_clients(self: Arc<Self>) {
        let mut packet = vec![0; PACKET_BYTES_MAX];
        loop {
            // The error belongs to an earlier undelivered packet.
            let Ok((count, client)) = self.front.recv_from(&mut packet).await else { continue };
            let find =
                || self.ways.lock().unwrap().get(&client).map(|way| (Arc::clone(&way.socket), Arc::clone(&way.late)));
            let (socket, late) = match find() {
                Some(known) => known,
                None => {
                    let (socket, reader) = self.way(client).await;
                    let late = Arc::default();
                    let way =
                        ClientPath { socket: Arc::clone(&socket), late: Arc::clone(&late), readers: vec![reader] };
                    self.ways.lock().unwrap().insert(client, way);
                    (socket, late)
                }
            };
            for packet in self.fate(&packet[..count], &late) {
                drop(socket.send_to(&packet, self.edge).await);
            }
        }
    }

    /// New source address of a client, and the task that relays the packets received there.
    async fn way(self: &Arc<Self>, client: SocketAddr) -> (Arc<UdpSocket>, JoinHandle<()>) {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let (shared, from) = (Arc::clone(self), Arc::clone(&socket));
        let reader = tokio::spawn(async move {
            let (mut packet, late) = (vec![0; PACKET_BYTES_MAX], Mutex::default());
            loop {
                let Ok(count) = from.recv(&mut packet).await else { continue };
                if shared.loses_answers.load(Ordering::SeqCst) {
                    shared.lost.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                for packet in shared.fate(&packet[..count], &late) {
                    drop(shared.front.send_to(&packet, client).await);
                }
            }
        });
        (socket, reader)
    }

    /// Packets to deliver after the arrival of a packet.
    fn fate(&self, packet: &[u8], late: &Mutex<Vec<Vec<u8>>>) -> Vec<Vec<u8>> {
        if self.is_off.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let number = self.packets.fetch_add(1, Ordering::SeqCst);
        // SplitMix64: close numbers have unrelated fates.
        let mixed = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mut chance = ((mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 31) % 100;
        let mut is = |share: u64| {
            let is = chance < share;
            chance = chance.wrapping_sub(share);
            is
        };
        let Weather { lost, twice, late: of_late } = self.weather;
        if is(lost) {
            self.lost.fetch_add(1, Ordering::SeqCst);
            return Vec::new();
        }
        let packet = packet.to_vec();
        let mut late = late.lock().unwrap();
        if is(twice) {
            return vec![packet.clone(), packet];
        }
        if is(of_late) {
            late.push(packet);
            return Vec::new();
        }
        let mut delivered = vec![packet];
        if late.len() > LATE_BY || number.is_multiple_of(LATE_BY as u64) {
            delivered.append(&mut late);
        }
        delivered
    }
}
