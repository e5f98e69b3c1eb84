//! DNS records of type `HTTPS` (RFC 9460): browsers learn of HTTP/3 before the first request.

use devanture_config::HostPattern;

/// TTL of a record, in seconds.
const TTL_S: u32 = 3_600;
/// Default port of `https` URLs.
const DEFAULT_PORT: u16 = 443;

/// Public ports of an edge with HTTP/3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisitorPorts {
    /// TCP port.
    pub https: u16,
    /// UDP port.
    pub http3: u16,
}

/// Returns the records of a name as lines of a zone file. Empty for a wildcard outside the default port: the owner name
/// of a record for another port begins with the port (§9.1).
#[must_use]
pub fn https_records(name: &HostPattern, ports: VisitorPorts) -> Vec<String> {
    let VisitorPorts { https, http3 } = ports;
    let (owner, target) = match (https, name.is_wildcard()) {
        (DEFAULT_PORT, _) => (format!("{name}."), ".".to_owned()),
        (_, false) => (format!("_{https}._https.{name}."), format!("{name}.")),
        (_, true) => return Vec::new(),
    };
    let line = |rest: String| format!("{owner} {TTL_S} IN HTTPS {rest}");
    match http3 == https {
        true => vec![line(format!("1 {target} alpn=\"h3,h2\""))],
        // A port applies to all protocols of a record, so HTTP/2 has a separate record.
        false => vec![
            line(format!("1 {target} alpn=\"h3\" no-default-alpn port={http3}")),
            line(format!("2 {target} alpn=\"h2\"")),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_names_the_protocols_and_ports_that_differ() {
        for (name, https, http3, expected) in [
            ("shop.example", 443, 443, &["shop.example. 3600 IN HTTPS 1 . alpn=\"h3,h2\""][..]),
            ("*.shop.example", 443, 443, &["*.shop.example. 3600 IN HTTPS 1 . alpn=\"h3,h2\""]),
            ("shop.example", 8443, 8443, &["_8443._https.shop.example. 3600 IN HTTPS 1 shop.example. alpn=\"h3,h2\""]),
            ("*.shop.example", 8443, 8443, &[]),
            (
                "shop.example",
                443,
                444,
                &[
                    "shop.example. 3600 IN HTTPS 1 . alpn=\"h3\" no-default-alpn port=444",
                    "shop.example. 3600 IN HTTPS 2 . alpn=\"h2\"",
                ],
            ),
        ] {
            let found = https_records(&name.parse().unwrap(), VisitorPorts { https, http3 });
            assert_eq!(found, expected, "{name} {https} {http3}");
        }
    }
}
