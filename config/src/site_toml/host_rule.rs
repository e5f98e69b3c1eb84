//! `Host` of requests to a backend.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::text_form;

/// `Host` for a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostRule {
    /// The host of the client's request.
    Keep,
    /// The backend's own host, from its address.
    Target,
    /// This host.
    Name(String),
}

/// Error for an invalid host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither \"keep\" nor \"target\" nor a host")]
pub struct BadHostRule(pub String);

impl FromStr for HostRule {
    type Err = BadHostRule;

    fn from_str(text: &str) -> Result<Self, BadHostRule> {
        match text {
            "keep" => Ok(Self::Keep),
            // `upstream` is the earlier word.
            "target" | "upstream" => Ok(Self::Target),
            name if is_host(name) => Ok(Self::Name(name.to_owned())),
            _ => Err(BadHostRule(text.chars().take(80).collect())),
        }
    }
}

text_form!(HostRule, BadHostRule);

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keep => "keep",
            Self::Target => "target",
            Self::Name(name) => name,
        })
    }
}

/// Returns true if a text is a name or address of a host, with an optional port.
pub(super) fn is_host(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    (1..=260).contains(&text.len()) && text.bytes().all(is_part)
}
