//! Addresses: blocks, as in `[upstreams] allow`, and DNS servers.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::text::text_form;

/// Block of addresses, for example `10.0.0.0/8`; a bare address is a block of a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressBlock(IpNet);

/// Error for an invalid block of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a block of addresses such as 10.0.0.0/8 or ::1")]
pub struct BadBlock(pub String);

impl AddressBlock {
    /// Returns true if the block contains `address`; an IPv4 address in IPv6 form counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for AddressBlock {
    type Err = BadBlock;

    fn from_str(text: &str) -> Result<Self, BadBlock> {
        let bad = || BadBlock(text.chars().take(80).collect());
        // The parser of `ipnet` is avoided: `ipnet` reads 010.0.0.1 as 10.0.0.1, and other parsers read the first
        // number as octal.
        let address = |text: &str| text.parse::<IpAddr>().map_err(|_reason| bad());
        let block = match text.split_once('/') {
            None => address(text)?.into(),
            Some((start, bits)) => {
                let bits = bits.parse().map_err(|_reason| bad())?;
                IpNet::new(address(start)?, bits).map_err(|_too_long| bad())?
            }
        };
        // A block of IPv4 addresses in IPv6 form contains the addresses in both forms.
        let as_v4 = |six: Ipv6Net| {
            let bits = six.prefix_len().checked_sub(96)?;
            Ipv4Net::new(six.addr().to_ipv4_mapped()?, bits).ok()
        };
        Ok(Self(match block {
            IpNet::V4(_) => block,
            IpNet::V6(six) => as_v4(six).map_or(block, IpNet::V4),
        }))
    }
}

impl fmt::Display for AddressBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_form!(AddressBlock, BadBlock);

/// Default port of DNS (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;

/// Address of a DNS server, as in `[dns] servers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DnsServer(pub SocketAddr);

/// Error for an invalid address of a DNS server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the address of a DNS server such as 192.0.2.53 or 127.0.0.1:5353")]
pub struct BadDnsServer(pub String);

/// Listening address.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListenAddress(pub(super) SocketAddr);

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = |_| "expected an IP address and a port, such as `0.0.0.0:443` or `[::]:443`".to_owned();
        text.parse().map(Self).map_err(wanted)
    }
}

impl FromStr for DnsServer {
    type Err = BadDnsServer;

    fn from_str(text: &str) -> Result<Self, BadDnsServer> {
        let alone = || text.parse().map(|address: IpAddr| SocketAddr::from((address, DNS_PORT)));
        match text.parse::<SocketAddr>().or_else(|_reason| alone()) {
            Ok(address) if address.port() != 0 => Ok(Self(address)),
            _ => Err(BadDnsServer(text.chars().take(80).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_the_addresses_of_its_prefix() {
        let holds =
            |block: &str, address: &str| block.parse::<AddressBlock>().unwrap().contains(address.parse().unwrap());
        assert!(holds("127.0.0.0/8", "127.3.2.1"));
        assert!(holds("127.0.0.0/8", "::ffff:127.0.0.1"));
        assert!(!holds("127.0.0.0/8", "128.0.0.1"));
        assert!(holds("0.0.0.0/0", "9.9.9.9"));
        assert!(!holds("0.0.0.0/0", "::1"));
        assert!(holds("::1", "::1"));
        assert!(holds("fd00::/8", "fd12::1"));
        assert!(holds("::ffff:10.0.0.0/104", "10.3.2.1"));
        assert!(holds("::ffff:10.0.0.1", "::ffff:10.0.0.1"));
        assert!(!holds("::ffff:10.0.0.0/104", "11.0.0.1"));
        for bad in ["", "a", "10.0.0.0/33", "10.0.0.0/-1", "::/129", "10.0.0/8", "010.0.0.0/8", "10.0.0.0/"] {
            assert!(bad.parse::<AddressBlock>().is_err(), "{bad}");
        }
    }
}
