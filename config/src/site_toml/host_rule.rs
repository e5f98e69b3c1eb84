//! The `Host` that requests to a backend have.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::text_form;

/// The `Host` for a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostRule {
    /// The one that the client asked for.
    Keep,
    /// The backend's own, as its address says it.
    Target,
    /// This one.
    Name(String),
}

/// Says why a text names no host.
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

/// Whether a text can be the name or the address of a host, perhaps with a port.
pub(super) fn is_host(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    (1..=260).contains(&text.len()) && text.bytes().all(is_part)
}
