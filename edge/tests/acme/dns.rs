//! DNS server on loopback that resolves every name to 127.0.0.1.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// RFC 1035 §3.2.2.
const TYPE_A: u16 = 1;

/// Server, running until drop.
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Dns {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 1_500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                if let Some(answer) = answer(&buffer[..length]) {
                    socket.send_to(&answer, from).await.ok();
                }
            }
        });
        Self { address, task }
    }
}

/// Answer to a query of one question (RFC 1035 §4.1): an address for `A`, no record for every other type.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let mut end = 12;
    while *query.get(end)? != 0 {
        end += 1 + usize::from(query[end]);
    }
    let question = query.get(12..end + 5)?;
    let is_address = u16::from_be_bytes([query[end + 1], query[end + 2]]) == TYPE_A;
    let mut answer = query[..2].to_vec();
    // Header: authoritative response, recursion as desired and available; one question, at most one answer.
    answer.extend([0x84 | query[2] & 1, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    answer.extend(question);
    if is_address {
        // Name of the question, A, IN, a TTL of zero.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(Ipv4Addr::LOCALHOST.octets());
    }
    Some(answer)
}
