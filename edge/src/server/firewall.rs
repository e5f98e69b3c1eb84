//! The ports of an edge for a firewall, with the clients of each port; and the receive buffer of UDP.

use std::net::SocketAddr;

use devanture_config::edge_toml::{ChallengeKind, EdgeFile, Tls};

use super::kernel;
use devanture_serve::listen::UDP_RECEIVE_BUFFER_BYTES;

/// The kernel's limit of a socket's receive buffer, in bytes.
pub(crate) const RECEIVE_BUFFER_BOUND: &str = "net.core.rmem_max";

/// Lists the ports of `file`, one per line, with their clients. Loopback ports, and ports chosen by the system, are
/// left out.
#[must_use]
pub fn ports(file: &EdgeFile) -> Vec<String> {
    let listen = &file.listen;
    let proofs = match &file.tls {
        Tls::Acme { authority, .. } if authority.challenges.contains(&ChallengeKind::Http) => {
            "plain HTTP: visitors, who are sent to HTTPS, and the certificates' authority"
        }
        _ => "plain HTTP: visitors, who are sent to HTTPS",
    };
    let all = [
        Some((listen.https, "tcp", "HTTPS: visitors")),
        listen.tries_http3().then_some((listen.https, "udp", "HTTP/3: visitors")),
        listen.http.map(|address| (address, "tcp", proofs)),
        Some((listen.admin, "tcp", "the API: those who deploy, and nobody else")),
        file.cluster.as_ref().map(|cluster| (cluster.listen, "tcp", "other nodes of the cluster, and nobody else")),
    ];
    let is_seen = |address: &SocketAddr| address.port() != 0 && !address.ip().is_loopback();
    let seen = all.into_iter().flatten().filter(|(address, ..)| is_seen(address));
    seen.map(|(address, transport, who)| {
        let port = format!("{}/{transport}", address.port());
        format!("{port:<10} {who}")
    })
    .collect()
}

/// Returns a warning if the system limits UDP sockets to a smaller buffer than HTTP/3 needs.
pub(super) fn receive_buffer_warning(file: &EdgeFile) -> Option<String> {
    if !file.listen.tries_http3() {
        return None;
    }
    small_receive_buffer(kernel::number_of(RECEIVE_BUFFER_BOUND)?)
}

fn small_receive_buffer(bytes: u64) -> Option<String> {
    let wanted = UDP_RECEIVE_BUFFER_BYTES;
    (bytes < wanted).then(|| {
        format!(
            "{RECEIVE_BUFFER_BOUND} is {bytes}: in a rush, packets of HTTP/3 beyond so many bytes are lost and sent again; \
             `sysctl -w {RECEIVE_BUFFER_BOUND}={wanted}`, and a line in /etc/sysctl.d, give it what it asks for"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(listen: &str) -> Vec<String> {
        let text = format!(
            "data_dir = \"data\"\ndomain = \"localhost\"\npreview_domain = \"localhost\"\n[listen]\n{listen}\n\
             [tls]\nmode = \"self-signed\"\n"
        );
        ports(&EdgeFile::parse("edge.toml", &text).unwrap())
    }

    #[test]
    fn ports_that_others_reach_come_with_who_they_are_for() {
        let all = "https = \"0.0.0.0:443\"\nhttp = \"0.0.0.0:80\"\nadmin = \"10.0.0.1:8444\"";
        assert_eq!(
            listed(all),
            [
                "443/tcp    HTTPS: visitors",
                "443/udp    HTTP/3: visitors",
                "80/tcp     plain HTTP: visitors, who are sent to HTTPS",
                "8444/tcp   the API: those who deploy, and nobody else",
            ]
        );
        let few = "https = \"[::]:8443\"\nadmin = \"127.0.0.1:8444\"\nhttp3 = false";
        assert_eq!(listed(few), ["8443/tcp   HTTPS: visitors"]);
        assert!(listed("https = \"127.0.0.1:0\"\nadmin = \"0.0.0.0:0\"").is_empty());
    }

    #[test]
    fn a_receive_buffer_that_is_too_small_comes_with_the_command() {
        assert_eq!(small_receive_buffer(UDP_RECEIVE_BUFFER_BYTES), None);
        let warning = small_receive_buffer(212_992).unwrap();
        assert!(warning.contains("`sysctl -w net.core.rmem_max=4194304`"), "{warning}");
    }
}
