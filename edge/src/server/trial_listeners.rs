//! Tries the addresses of a new edge that the running edge does not have.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

use devanture_config::edge_toml::EdgeFile;

use super::error::StartError;
use super::takeover::{Listener, Running};
use devanture_serve::listen::{quic, try_bind};

/// The first port open to every user.
const UNPRIVILEGED_PORT: u16 = 1_024;
/// The number of CAP_NET_BIND_SERVICE (capabilities(7)).
const NET_BIND_SERVICE: u32 = 10;

/// Returns the listeners for which a takeover would fail. Listeners of the running edge are handed over, and not tried;
/// if the release does not report its listeners, none is tried.
pub(super) fn try_listeners(file: &EdgeFile, running: &Running) -> Vec<StartError> {
    let Some(held) = &running.held else { return Vec::new() };
    let listen = &file.listen;
    let is_handed = |listener: Listener, address: SocketAddr| {
        held.listening.iter().any(|held| held.listener == listener && held.address == address)
    };
    let own =
        [(Listener::Admin, Some(listen.admin)), (Listener::Http, listen.http), (Listener::Https, Some(listen.https))];
    let own =
        own.into_iter().filter_map(|(listener, address)| address.filter(|address| !is_handed(listener, *address)));
    let of_nodes = file.cluster.as_ref().map(|cluster| cluster.listen).filter(|address| held.nodes != Some(*address));
    let fails =
        |address: SocketAddr, tried: Result<(), Error>| tried.err().filter(|error| counts(error, address, running));
    let tcp = own.chain(of_nodes).filter(|address| address.port() != 0);
    let mut faults: Vec<_> = tcp
        .filter_map(|address| Some(StartError::Bind { address, source: fails(address, try_bind(address))? }))
        .collect();
    // By default, an edge without the UDP port serves without HTTP/3.
    let address = listen.https;
    let is_wanted = listen.http3 == Some(true) && listen.tries_http3() && address.port() != 0;
    if is_wanted
        && !is_handed(Listener::Http3, address)
        && let Some(source) = fails(address, quic::bind_all(address, 1).map(drop))
    {
        faults.push(StartError::BindUdp { address, source });
    }
    faults
}

/// Returns true if a new edge would fail too. A new edge has the rights of the running edge, which starts the new edge,
/// while the caller of the check may have fewer rights.
fn counts(error: &Error, address: SocketAddr, running: &Running) -> bool {
    let is_of_rights = error.kind() == ErrorKind::PermissionDenied && address.port() < UNPRIVILEGED_PORT;
    let status = || std::fs::read_to_string(format!("/proc/{}/status", running.pid)).unwrap_or_default();
    !is_of_rights || !gives_low_ports(&status())
}

/// Returns true if children of a process may listen on ports below 1024, by the process's `/proc/PID/status`: children
/// inherit ambient capabilities, and children of root have root's capabilities.
fn gives_low_ports(status: &str) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default();
    let has = |name: &str| u64::from_str_radix(field(name), 16).is_ok_and(|bits| bits & (1 << NET_BIND_SERVICE) != 0);
    let is_root = field("Uid:").split_ascii_whitespace().nth(1) == Some("0");
    has("CapAmb:") || (is_root && has("CapEff:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_edge_has_the_ambient_capabilities_of_the_one_that_starts_it() {
        let status = |uid: u32, effective: &str, ambient: &str| {
            format!("Name:\tedge\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapEff:\t{effective}\nCapAmb:\t{ambient}\n")
        };
        let (all, low_ports, none) = ("000001ffffffffff", "0000000000000400", "0000000000000000");
        assert!(gives_low_ports(&status(900, low_ports, low_ports)));
        assert!(!gives_low_ports(&status(900, low_ports, none)), "those of a file are not inherited");
        assert!(gives_low_ports(&status(0, all, none)));
        assert!(!gives_low_ports(&status(0, none, none)));
        assert!(!gives_low_ports(""));
    }
}
