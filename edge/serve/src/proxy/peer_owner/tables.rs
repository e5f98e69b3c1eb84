//! The tables of TCP sockets in `/proc/net`, for kernels without `sock_diag`.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{LISTEN, SocketInfo, SocketName};

/// One line of a table.
struct Line<'t> {
    local: (&'t str, u16),
    remote: (&'t str, u16),
    found: SocketInfo,
}

/// Returns the tables' entry of a socket.
pub(super) fn find(name: SocketName) -> io::Result<Option<SocketInfo>> {
    let (four, six) = (read("/proc/net/tcp")?, read("/proc/net/tcp6")?);
    let lines: Vec<Line<'_>> = four.lines().chain(six.lines()).filter_map(line).collect();
    let SocketName { local, remote } = name;
    Ok(if remote.port() == 0 { listener(&lines, local) } else { connection(&lines, local, remote) })
}

/// Reads a table; a machine without IPv6 has one table.
fn read(path: &str) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    }
}

fn connection(lines: &[Line<'_>], local: SocketAddr, remote: SocketAddr) -> Option<SocketInfo> {
    let is_at = |(text, port): (&str, u16), end: SocketAddr| {
        // An IPv6 socket may have an IPv4 connection.
        port == end.port() && spellings(end.ip()).iter().any(|spelling| spelling == text)
    };
    let line = lines.iter().find(|line| is_at(line.local, local) && is_at(line.remote, remote))?;
    Some(line.found)
}

/// Returns the listener for connections to `local`: of several, the listener preferred by the kernel.
fn listener(lines: &[Line<'_>], local: SocketAddr) -> Option<SocketInfo> {
    let any = match local.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let of_six = spelling(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let places: Vec<String> = spellings(local.ip()).into_iter().chain(spellings(any)).chain([of_six]).collect();
    let found = lines.iter().filter(|line| line.found.state == LISTEN && line.local.1 == local.port());
    let placed = found.filter_map(|line| Some((places.iter().position(|place| place == line.local.0)?, line.found)));
    placed.min_by_key(|(place, _)| *place).map(|(_, found)| found)
}

/// Returns the forms of an address in the tables.
fn spellings(ip: IpAddr) -> Vec<String> {
    match ip {
        IpAddr::V4(four) => vec![spelling(ip), spelling(IpAddr::V6(four.to_ipv6_mapped()))],
        IpAddr::V6(_) => vec![spelling(ip)],
    }
}

/// Formats an address as words of 32 bits in the machine's byte order.
fn spelling(ip: IpAddr) -> String {
    let octets = match ip {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    };
    let words = octets.as_chunks::<4>().0.iter();
    words.map(|word| format!("{:08X}", u32::from_ne_bytes(*word))).collect()
}

fn line(text: &str) -> Option<Line<'_>> {
    let mut fields = text.split_ascii_whitespace();
    let (local, remote) = (end(fields.nth(1)?)?, end(fields.next()?)?);
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let (uid, inode) = (fields.nth(3)?.parse().ok()?, fields.nth(1)?.parse().ok()?);
    Some(Line { local, remote, found: SocketInfo { state, uid, inode } })
}

fn end(text: &str) -> Option<(&str, u16)> {
    let (address, port) = text.split_once(':')?;
    Some((address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    const TABLE: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 200002        0 11 1 0 100 0 0 10 0
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 200001        0 10 1 0 100 0 0 10 0
   2: 0100007F:1F91 0100007F:C001 01 00000000:00000000 00:00000000 00000000 200003        0 12 1 0 100 0 0 10 0
   3: 0100007F:1F91 0100007F:C002 01 00000000:00000000 00:00000000 00000000 0        0 0 1 0 100 0 0 10 0
   4: 0A0A0A0A:1F92 00000000:0000 0A 00000000:00000000 00:00000000 00000000 200004        0 13 1 0 100 0 0 10 0
   5: broken
   6: 00000000000000000000000000000000:1F93 00000000000000000000000000000000:0000 0A 0:0 0:0 0 7 0 14
   7: 0000000000000000FFFF00000100007F:1F94 0000000000000000FFFF00000100007F:C001 01 0:0 0:0 0 8 0 15
";

    #[test]
    fn a_socket_is_found_by_both_of_its_ends() {
        let lines: Vec<Line<'_>> = TABLE.lines().filter_map(line).collect();
        assert_eq!(lines.len(), 7);
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let found = |local, remote| connection(&lines, at(local), at(remote)).map(|it| (it.uid, it.inode));
        assert_eq!(found(0x1f91, 0xc001), Some((200_003, 12)));
        assert_eq!(found(0x1f91, 0xc002), Some((0, 0)), "nobody has accepted it");
        assert_eq!(found(0x1f91, 0xc003), None);
        assert_eq!(found(0x1f94, 0xc001), Some((8, 15)), "version 4 on a socket of version 6");
        let listens = |port| listener(&lines, at(port)).map(|it| it.uid);
        assert_eq!(listens(0x1f90), Some(200_001), "the one of the very address");
        assert_eq!((listens(0x1f91), listens(0x1f92), listens(0x1f93)), (None, None, Some(7)));
    }
}
