//! A DNS server on loopback, whose names and addresses a test changes at run time.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

/// RFC 1035 §3.2.2.
const TYPE_A: u16 = 1;
/// RFC 1035 §4.1.1: the name does not exist.
const NAME_ERROR: u8 = 3;

type Names = Arc<Mutex<HashMap<String, Vec<Ipv4Addr>>>>;

/// A DNS server that runs until the test ends.
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    names: Names,
}

impl Dns {
    /// Starts without names; each address has the TTL `ttl_s`, in seconds.
    pub(crate) fn start(ttl_s: u32) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let names = Names::default();
        let shared = Arc::clone(&names);
        std::thread::spawn(move || {
            let mut query = [0; 1_500];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                if let Some(answer) = answer(&query[..length], &shared, ttl_s) {
                    socket.send_to(&answer, from).ok();
                }
            }
        });
        Self { address, names }
    }

    /// Replaces the addresses of a name.
    pub(crate) fn set(&self, name: &str, addresses: &[Ipv4Addr]) {
        self.names.lock().unwrap().insert(name.to_owned(), addresses.to_vec());
    }
}

/// Returns the answer to a query of one question (RFC 1035 §4.1).
fn answer(query: &[u8], names: &Names, ttl_s: u32) -> Option<Vec<u8>> {
    let (mut end, mut labels) = (12, Vec::new());
    while *query.get(end)? != 0 {
        let length = usize::from(query[end]);
        labels.push(String::from_utf8_lossy(query.get(end + 1..=end + length)?).to_ascii_lowercase());
        end += 1 + length;
    }
    let question = query.get(12..end + 5)?;
    let is_address = u16::from_be_bytes([query[end + 1], query[end + 2]]) == TYPE_A;
    let found = names.lock().unwrap().get(&labels.join(".")).cloned();
    let code = if found.is_some() { 0 } else { NAME_ERROR };
    let addresses = found.filter(|_| is_address).unwrap_or_default();
    let mut answer = query[..2].to_vec();
    // A response, authoritative, recursion as requested and available.
    answer.extend([0x84 | query[2] & 1, 0x80 | code, 0, 1, 0, u8::try_from(addresses.len()).ok()?, 0, 0, 0, 0]);
    answer.extend(question);
    for address in addresses {
        // The name of the question, A, IN.
        answer.extend([0xc0, 12, 0, 1, 0, 1]);
        answer.extend(ttl_s.to_be_bytes());
        answer.extend([0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
