//! Owners of listening TCP ports of this machine, from `/proc/net/tcp` and `/proc/net/tcp6`.

/// The state `LISTEN` in these tables.
const LISTEN: &str = "0A";
/// 127.0.0.1, 0.0.0.0, ::ffff:127.0.0.1, :: and ::1 as these tables write them on a little-endian machine. In the order
/// in which the kernel gives a connection to 127.0.0.1 to them; ::1 comes last, for a backend that has only that.
const PLACES: [&str; 5] = [
    "0100007F",
    "00000000",
    "0000000000000000FFFF00000100007F",
    "00000000000000000000000000000000",
    "00000000000000000000000001000000",
];

/// The user that owns the TCP socket which listens on `port` of the loopback address or of all addresses. `None` if
/// none listens. Reads files of `/proc` each time that it is asked.
#[must_use]
pub fn listener_uid(port: u16) -> Option<u32> {
    let four = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let six = std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    let found: Vec<(usize, u32)> = listeners(&four, port).chain(listeners(&six, port)).collect();
    found.into_iter().min_by_key(|(place, _)| *place).map(|(_, uid)| uid)
}

/// Those that listen on `port` in a table: which of [`PLACES`], and whose.
fn listeners(table: &str, port: u16) -> impl Iterator<Item = (usize, u32)> {
    table.lines().skip(1).filter_map(move |line| {
        let mut fields = line.split_ascii_whitespace();
        let (address, at) = fields.nth(1)?.split_once(':')?;
        if u16::from_str_radix(at, 16) != Ok(port) || fields.nth(1)? != LISTEN {
            return None;
        }
        let place = PLACES.iter().position(|place| *place == address)?;
        Some((place, fields.nth(3)?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 200001        0 10 1 0 100 0 0 10 0
   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 200002        0 11 1 0 100 0 0 10 0
   2: 0100007F:1F91 0100007F:C001 01 00000000:00000000 00:00000000 00000000 200003        0 12 1 0 100 0 0 10 0
   3: 0A0A0A0A:1F92 00000000:0000 0A 00000000:00000000 00:00000000 00000000 200004        0 13 1 0 100 0 0 10 0
   4: broken
";

    #[test]
    fn only_sockets_that_listen_where_loopback_arrives_count() {
        assert_eq!(listeners(TABLE, 0x1f90).collect::<Vec<_>>(), [(0, 200_001), (1, 200_002)]);
        assert_eq!(listeners(TABLE, 0x1f91).count(), 0, "a connection");
        assert_eq!(listeners(TABLE, 0x1f92).count(), 0, "another address");
        assert_eq!(listeners("", 1).count(), 0);
    }

    #[test]
    fn sockets_of_version_six_count_too() {
        let table = "head\n 0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0:0 0:0 0 7 0 1\n";
        assert_eq!(listeners(table, 0x1f90).collect::<Vec<_>>(), [(3, 7)]);
    }

    #[test]
    fn an_own_socket_is_found() {
        let own = Some(rustix::process::geteuid().as_raw());
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(address) else { continue };
            assert_eq!(listener_uid(listener.local_addr().unwrap().port()), own, "{address}");
        }
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert_eq!(listener_uid(closed), None);
    }
}
