//! `cors`: foreign origins, for example a development server, whose pages may use an environment's backends.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::parsing::reader::Table;
use crate::text::text_form;

/// Maximum number of origins of a table.
pub const CORS_ORIGINS_MAX: usize = 20;

/// Origin in the format of the header `Origin` (RFC 6454, section 6.2): scheme, host, and any non-default port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CorsOrigin(String);

/// Error for an invalid origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct BadCorsOrigin {
    text: String,
    /// Likely intended origin, if recognisable.
    meant: Option<String>,
}

impl fmt::Display for BadCorsOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no origin as a browser sends it, such as http://localhost:5173", self.text)?;
        match &self.meant {
            Some(meant) => write!(f, "; write `{meant}`"),
            None if self.text.contains('*') => f.write_str(": each has to be named, and none is left open by `*`"),
            None => f.write_str(": `http` or `https`, `://`, a host, and its port"),
        }
    }
}

impl CorsOrigin {
    /// Returns the text as sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true for an origin on the visitor's own machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let url = Url::parse(&self.0).ok();
        match url.as_ref().and_then(Url::host) {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(four)) => four.is_loopback() || four.is_unspecified(),
            Some(Host::Ipv6(six)) => six.is_loopback() || six.is_unspecified(),
            None => false,
        }
    }
}

impl FromStr for CorsOrigin {
    type Err = BadCorsOrigin;

    fn from_str(text: &str) -> Result<Self, BadCorsOrigin> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let origin = url.map(|url| url.origin().ascii_serialization()).filter(|origin| !origin.contains('*'));
        match origin {
            Some(origin) if origin == text => Ok(Self(origin)),
            meant => Err(BadCorsOrigin { text: text.chars().take(200).collect(), meant }),
        }
    }
}

impl fmt::Display for CorsOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_form!(CorsOrigin, BadCorsOrigin);

/// Reports an excess of origins.
pub(super) fn check(table: &Table<'_, '_>, origins: Option<&[CorsOrigin]>) {
    if origins.is_some_and(|origins| origins.len() > CORS_ORIGINS_MAX) {
        table.mistake("cors", format!("`{}` names more than {CORS_ORIGINS_MAX} origins", table.full("cors")), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_a_browser_sends_it() {
        for text in ["http://localhost:5173", "https://app.example.org", "http://[::1]:3000", "https://a.example:8443"]
        {
            assert_eq!(text.parse::<CorsOrigin>().unwrap().as_str(), text);
        }
        for (text, expected) in [
            ("http://localhost:5173/", "write `http://localhost:5173`"),
            ("https://App.Example.org", "write `https://app.example.org`"),
            ("https://app.example.org:443", "write `https://app.example.org`"),
            ("https://b\u{fc}cher.example", "write `https://xn--bcher-kva.example`"),
            ("http://me:secret@localhost", "write `http://localhost`"),
            ("*", "none is left open by `*`"),
            ("https://*.example.org", "none is left open by `*`"),
            ("null", "`http` or `https`"),
            ("localhost:5173", "`http` or `https`"),
            ("file:///tmp", "`http` or `https`"),
            ("", "`http` or `https`"),
        ] {
            let error = text.parse::<CorsOrigin>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn an_origin_of_this_machine_is_local() {
        let is_local = |text: &str| text.parse::<CorsOrigin>().unwrap().is_local();
        for text in
            ["http://localhost:5173", "http://a.localhost", "http://127.0.0.2:1", "http://[::1]", "http://0.0.0.0:1"]
        {
            assert!(is_local(text), "{text}");
        }
        for text in ["https://example.org", "http://notlocalhost", "http://10.0.0.1:80"] {
            assert!(text.parse::<CorsOrigin>().map_or(true, |origin| !origin.is_local()), "{text}");
        }
    }
}
