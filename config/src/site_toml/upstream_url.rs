//! Addresses of backends, and names of pools.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::text::text_form;

/// Maximum length of a socket's path, in bytes: `sockaddr_un` has 107 and a zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Address of a backend: an `http` or `https` URL without a path, a query, a fragment or a user, or the path of a
/// socket, `unix:/run/shop.sock`. FastCGI backends are `fastcgi://HOST:PORT` or `fastcgi+unix:/run/php.sock`.
///
/// In user input, the host is a name or an address ([`FromStr`]). Stored addresses may come from an earlier release
/// with laxer rules: `serde` reads these, [`UpstreamUrl::check`] rejects them, and requests to them fail.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UpstreamUrl(Url);

/// Error for an invalid backend address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the address of a backend: http://HOST[:PORT], https://HOST[:PORT], unix:/PATH, fastcgi://HOST:PORT or fastcgi+unix:/PATH is wanted, with nothing after it, and a HOST with labels of 1 to 63 letters, digits, - or _"
)]
pub struct BadUpstreamUrl(pub String);

/// Returns true if a name can be looked up in DNS: labels of 1 to 63 letters, digits, `-` or `_`, with dots in between,
/// 253 in total (RFC 1035 §2.3.4). RFC 2181 §11 allows labels of any bytes, and `_` is common in service names of
/// Compose; other characters are mistakes, for example an unexpanded variable. A name with a number as its last label
/// is an invalid address (URL Standard, "ends in a number checker"): no top-level domain is a number.
#[must_use]
pub fn is_dns_name(text: &str) -> bool {
    let plain = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    plain.len() <= 253 && plain.split('.').all(is_label) && !plain.rsplit('.').next().is_some_and(is_number)
}

/// Returns true if a label is a number, in decimal, octal or hexadecimal digits, as in the parser of IPv4 addresses.
fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

impl UpstreamUrl {
    /// Returns the URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Returns the path of the socket, for a socket.
    #[must_use]
    pub fn socket(&self) -> Option<String> {
        matches!(self.0.scheme(), "unix" | "fastcgi+unix")
            .then(|| percent_decode_str(self.0.path()).decode_utf8_lossy().into_owned())
    }

    /// Returns true for a FastCGI backend.
    #[must_use]
    pub fn is_fastcgi(&self) -> bool {
        matches!(self.0.scheme(), "fastcgi" | "fastcgi+unix")
    }

    /// Returns true for `https` to a name of the public DNS: an independent site that answers to its own name. Names of
    /// one label and names reserved for private networks by RFC 6762, RFC 8375 and others are excluded.
    #[must_use]
    pub fn is_public_name(&self) -> bool {
        const PRIVATE: [&str; 8] = ["arpa", "corp", "home", "internal", "lan", "local", "localhost", "test"];
        let Some(name) = self.0.domain().filter(|_| self.0.scheme() == "https") else { return false };
        name.trim_end_matches('.').rsplit_once('.').is_some_and(|(_, top)| !PRIVATE.contains(&top))
    }

    /// Returns the origin as in rules; `None` for a socket or a FastCGI backend.
    #[must_use]
    pub fn origin(&self) -> Option<String> {
        matches!(self.0.scheme(), "http" | "https").then(|| self.0.origin().ascii_serialization())
    }
}

impl FromStr for UpstreamUrl {
    type Err = BadUpstreamUrl;

    fn from_str(text: &str) -> Result<Self, BadUpstreamUrl> {
        let read = Self::read(text)?;
        // The error shows the text as written.
        read.check().map_err(|_bad| BadUpstreamUrl(text.chars().take(200).collect()))?;
        Ok(read)
    }
}

impl UpstreamUrl {
    /// Checks that the host is a name valid in DNS, or an address.
    ///
    /// # Errors
    /// [`BadUpstreamUrl`].
    pub fn check(&self) -> Result<(), BadUpstreamUrl> {
        let is_host = match self.0.scheme() {
            // FastCGI has no registered default port, and the URL parser does not check the host of an unknown scheme.
            "fastcgi" => self
                .0
                .host_str()
                .is_some_and(|host| host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok() || is_dns_name(host)),
            "http" | "https" => !matches!(self.0.host(), Some(Host::Domain(name)) if !is_dns_name(name)),
            _ => true,
        };
        if is_host { Ok(()) } else { Err(BadUpstreamUrl(self.to_string().chars().take(200).collect())) }
    }

    /// Parses addresses accepted by any release.
    pub(super) fn read(text: &str) -> Result<Self, BadUpstreamUrl> {
        let bad = || BadUpstreamUrl(text.chars().take(200).collect());
        let url: Url = text.parse().map_err(|_reason| bad())?;
        let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        let plain = plain && url.password().is_none() && url.port() != Some(0);
        let is_fine = match url.scheme() {
            "http" | "https" => url.path() == "/" && url.host().is_some(),
            "fastcgi" => {
                url.path().is_empty() && url.port().is_some() && url.host_str().is_some_and(|host| !host.is_empty())
            }
            "unix" | "fastcgi+unix" => {
                let decoded = percent_decode_str(url.path()).decode_utf8().map_err(|_reason| bad())?;
                let is_path = decoded.len() > 1 && decoded.starts_with('/') && !decoded.ends_with('/');
                let is_path = is_path && decoded.len() <= SOCKET_PATH_BYTES_MAX && !decoded.contains('\0');
                // `unix://host/path` would look like a remote address.
                is_path && !url.has_authority()
            }
            _ => false,
        };
        if plain && is_fine { Ok(Self(url)) } else { Err(bad()) }
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl TryFrom<String> for UpstreamUrl {
    type Error = BadUpstreamUrl;

    fn try_from(text: String) -> Result<Self, BadUpstreamUrl> {
        Self::read(&text)
    }
}

impl From<UpstreamUrl> for String {
    fn from(url: UpstreamUrl) -> Self {
        url.to_string()
    }
}

/// Name of a pool: 1 to 64 letters, digits, `-`, `_` or `.`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UpstreamName(String);

/// Error for an invalid pool name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of an upstream: 1 to 64 letters, digits, -, _ or . are")]
pub struct BadUpstreamName(pub String);

impl UpstreamName {
    /// Returns the text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UpstreamName {
    type Err = BadUpstreamName;

    fn from_str(text: &str) -> Result<Self, BadUpstreamName> {
        let is_fine = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if is_fine { Ok(Self(text.to_owned())) } else { Err(BadUpstreamName(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for UpstreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_form!(UpstreamName, BadUpstreamName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_an_origin_or_a_socket() {
        for good in [
            "http://127.0.0.1:3000",
            "https://api.example.org/",
            "http://[::1]:8",
            "unix:/run/shop.sock",
            "unix:/run/a%20b/s",
            "fastcgi://127.0.0.1:9000",
            "fastcgi://[::1]:9000",
            "fastcgi://php.internal:9000",
            "fastcgi+unix:/run/php/php-fpm.sock",
            "http://my_api:3000",
            "http://project_api_1:3000",
            "http://_api_:3000",
            "https://api._tcp.example.org",
            "http://-a.b-:80",
            "http://api.example.org.:80",
            "http://b\u{fc}cher.example",
            "http://1.example",
            "http://example.1a",
            "http://0xapi:80",
            "fastcgi://my_php:9000",
            &format!("http://{}", "a".repeat(63)),
            &format!("http://{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61)),
        ] {
            assert!(good.parse::<UpstreamUrl>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:3000",
            "ftp://x",
            "http://x/a",
            "http://x?y",
            "http://u@x",
            "http://x:0",
            "file:///etc",
            "unix:",
            "unix:/",
            "unix:run/x",
            "unix://run/x",
            "unix:/run/x/",
            "unix:/a%00b",
            "fastcgi:/run/x",
            "fastcgi://127.0.0.1",
            "fastcgi://127.0.0.1:9000/",
            "fastcgi://a%2fb:9000",
            "fastcgi://:9000",
            "fastcgi://u@127.0.0.1:9000",
            "fastcgi+unix:run/x",
            "fastcgi+unix://run/x",
            // Invalid in DNS.
            "http://a..b",
            "http://.a",
            "http://a..",
            "http://$API:3000",
            "http://${API}:3000",
            "http://{{api}}:3000",
            "http://*.example.org",
            "http://a,b:3000",
            "http://a+b",
            "http://a~b",
            "http://256.1.1.1",
            "http://1.2.3.4.5",
            "http://foo.123",
            "http://foo.0x1f.",
            "fastcgi://256.1.1.1:9000",
            "fastcgi://foo.123:9000",
            "fastcgi://a..b:9000",
            "fastcgi://$PHP:9000",
            &format!("http://{}", "a".repeat(64)),
            &format!("http://{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(62)),
        ] {
            assert!(bad.parse::<UpstreamUrl>().is_err(), "{bad}");
        }
        // Addresses accepted by an earlier release are read from storage, as written, and reported as mistakes.
        for stored in ["http://a,b", "http://a..b:81", "https://$api:3000", "fastcgi://256.1.1.1:9000"] {
            let read: UpstreamUrl = serde_json::from_value(stored.into()).unwrap();
            assert_eq!((read.to_string().as_str(), read.check().is_err()), (stored, true));
        }
        for never in ["", "http://x/a", "http://x:0", "unix:run/x", "fastcgi://:9000", "ftp://x"] {
            assert!(serde_json::from_value::<UpstreamUrl>(never.into()).is_err(), "{never}");
        }
        let socket: UpstreamUrl = "unix:/run/a%20b".parse().unwrap();
        assert_eq!((socket.socket().as_deref(), socket.origin()), (Some("/run/a b"), None));
        assert_eq!(socket.to_string(), "unix:/run/a%20b");
        let fastcgi: UpstreamUrl = "fastcgi+unix:/run/a%20b".parse().unwrap();
        assert_eq!((fastcgi.socket().as_deref(), fastcgi.origin()), (Some("/run/a b"), None));
        assert!(fastcgi.is_fastcgi() && !socket.is_fastcgi());
        let fastcgi: UpstreamUrl = "fastcgi://127.0.0.1:9000".parse().unwrap();
        assert_eq!((fastcgi.to_string().as_str(), fastcgi.origin()), ("fastcgi://127.0.0.1:9000", None));
    }
}
