//! Parser of webhook addresses.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use devanture_config::site_toml::is_dns_name;
use http::Uri;
use http::uri::Scheme;

/// Maximum length of an address, in bytes.
const URL_BYTES_MAX: usize = 2_048;
const HTTPS_PORT: u16 = 443;
const HTTP_PORT: u16 = 80;

/// Target of messages.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) is_tls: bool,
    pub(super) host: Host,
    pub(super) port: u16,
    /// Value of the field `Host`.
    pub(super) authority: String,
    /// Path and query, possibly secret.
    pub(super) path: String,
}

/// Host of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    Address(IpAddr),
    Name(String),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Target {
    /// Parses an address.
    ///
    /// # Errors
    /// Mistake in the text, as a clause that does not repeat the text.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > URL_BYTES_MAX {
            return Err("it is longer than 2,048 bytes");
        }
        if text.contains('#') {
            return Err("it has a fragment (`#`), which is never sent");
        }
        let uri: Uri =
            text.parse().map_err(|_reason| "it is no URL; names that are not ASCII are written as `xn--…`")?;
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err("it does not begin with https://"),
        };
        let authority = uri.authority().ok_or("it has no host")?;
        if authority.as_str().contains('@') {
            return Err("it has a user or a password, which no webhook sends");
        }
        let host = authority.host();
        let plain = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let host = match plain.parse() {
            Ok(address) => Host::Address(address),
            Err(_) if plain.is_empty() || plain.contains(['[', ']', ':', '%']) => return Err("its host is none"),
            Err(_) if !is_dns_name(plain) => {
                return Err(
                    "its host is neither an address nor a name, with labels of 1 to 63 letters, digits, `-` or \
                            `_`, of which the last is no number",
                );
            }
            Err(_) => Host::Name(plain.to_ascii_lowercase()),
        };
        let has_port = authority.as_str().rsplit(']').next().is_some_and(|rest| rest.contains(':'));
        let port = match authority.port_u16() {
            Some(0) => return Err("its port is none"),
            Some(port) => port,
            None if has_port => return Err("its port is none"),
            None if is_tls => HTTPS_PORT,
            None => HTTP_PORT,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self { is_tls, host, port, authority: authority.as_str().to_ascii_lowercase(), path: path.to_owned() })
    }

    /// Returns the part of the address that may be shown: the rest may be sufficient to write to a chat.
    pub(super) fn shown(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.authority)
    }

    /// Returns the socket address, if the host is an address literal.
    pub(super) fn literal(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Address(address) => Some(SocketAddr::new(address, self.port)),
            Host::Name(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_host_and_what_is_never_shown() {
        let target = Target::parse("https://Hooks.example.org/services/T0/B0/secret?x=1").unwrap();
        assert_eq!((target.is_tls, target.port, target.path.as_str()), (true, 443, "/services/T0/B0/secret?x=1"));
        assert_eq!((target.shown().as_str(), target.literal()), ("https://hooks.example.org", None));
        assert_eq!(format!("{target:?}"), "https://hooks.example.org");
        let target = Target::parse("http://[::1]:8080").unwrap();
        assert_eq!((target.literal(), target.path.as_str()), (Some("[::1]:8080".parse().unwrap()), "/"));
        for name in ["my_api", "project_api_1", "_a.b-", "hooks.example.org."] {
            assert_eq!(Target::parse(&format!("http://{name}:8080/a")).unwrap().host, Host::Name(name.to_owned()));
        }
        let target = Target::parse("http://127.0.0.1/a").unwrap();
        assert_eq!(target.literal(), Some("127.0.0.1:80".parse().unwrap()));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            "/a",
            "example.org",
            "ftp://example.org/",
            "https:///a",
            "https://user:word@example.org/",
            "https://example.org:0/",
            "https://example.org:99999/",
            "https://example.org:/",
            "https://example.org/#a",
            "https://bücher.example/",
            "https://example.org/a b",
            "https://[::1/",
            "https://[fe80::1%25eth0]/",
            "https://a..b/",
            "https://.a/",
            "https://$HOOKS/",
            "https://a,b/",
            "https://*.example.org/",
            "https://256.1.1.1/x",
            "https://1.2.3.4.5/x",
            "https://foo.123/x",
            "https://foo.123./x",
            "https://foo.0x7f/x",
            "https://2130706433/x",
            "https://127.1/x",
            &format!("https://{}/", "a".repeat(64)),
            &format!("https://example.org/{}", "a".repeat(URL_BYTES_MAX)),
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }
}
