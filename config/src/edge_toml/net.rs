//! Addresses: blocks of them, as `[upstreams] allow` names them, and those of DNS servers.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::text_form;

/// A block of addresses such as `10.0.0.0/8`; a bare address is a block of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressBlock {
    address: IpAddr,
    bits: u8,
}

/// Says that a text is not a block of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a block of addresses such as 10.0.0.0/8 or ::1")]
pub struct BadBlock(pub String);

impl AddressBlock {
    /// Whether `address` lies in the block; an IPv4 address written in IPv6 form is taken as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        fn same(a: u128, b: u128, width: u32, bits: u8) -> bool {
            let shift = width - u32::from(bits);
            // A shift by the full width is not defined for integers; a block of 0 bits holds everything.
            a.checked_shr(shift).unwrap_or(0) == b.checked_shr(shift).unwrap_or(0)
        }
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32, self.bits),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128, self.bits),
            _ => false,
        }
    }
}

impl FromStr for AddressBlock {
    type Err = BadBlock;

    fn from_str(text: &str) -> Result<Self, BadBlock> {
        let bad = || BadBlock(text.chars().take(80).collect());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_reason| bad())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits: u8 = match bits {
            None => width,
            Some(bits) => bits.parse().ok().filter(|b| *b <= width).ok_or_else(bad)?,
        };
        // A block of IPv4 addresses that are written in IPv6 form holds these addresses, however they are written.
        match (address.to_canonical(), bits.checked_sub(96)) {
            (canonical @ IpAddr::V4(_), Some(bits)) if address.is_ipv6() => Ok(Self { address: canonical, bits }),
            _ => Ok(Self { address, bits }),
        }
    }
}

impl fmt::Display for AddressBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

text_form!(AddressBlock, BadBlock);

/// The default port of DNS (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;

/// The address of a DNS server, as `[dns] servers` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DnsServer(pub SocketAddr);

/// Says that a text is not the address of a DNS server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the address of a DNS server such as 192.0.2.53 or 127.0.0.1:5353")]
pub struct BadDnsServer(pub String);

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
        for bad in ["", "a", "10.0.0.0/33", "10.0.0.0/-1", "::/129", "10.0.0/8"] {
            assert!(bad.parse::<AddressBlock>().is_err(), "{bad}");
        }
    }
}
