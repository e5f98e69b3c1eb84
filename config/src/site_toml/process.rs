//! Process of a backend: name, kind, number of instances, and listening address.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::api::SOURCES;
use crate::text::text_form;

/// Process whose instances get requests.
pub const WEB: &str = "web";

/// Kind of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Gets requests, and is ready when answering.
    Web,
    /// Gets no requests, and is ready when running.
    Worker,
}

/// Kind of a backend's main process, as in `[server] kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MainKind {
    /// PHP-FPM, started by the edge; gets requests.
    Php,
    /// A command that gets requests.
    Web,
    /// A command without requests.
    Worker,
}

impl MainKind {
    /// Returns the kind of the process.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Php | Self::Web => Kind::Web,
            Self::Worker => Kind::Worker,
        }
    }
}

/// Listening address of a `web` instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenOn {
    /// The port of 127.0.0.1 in `PORT`.
    #[default]
    Port,
    /// The Unix socket in `SOCKET`.
    Socket,
}

/// Number of instances of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Instances {
    /// A number, spread over the nodes of a cluster.
    Count(u64),
    /// One instance on every node.
    All(All),
}

/// The word `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum All {
    /// `"all"`.
    All,
}

impl Instances {
    /// Returns the number on an edge without a cluster.
    #[must_use]
    pub fn alone(self) -> u64 {
        match self {
            Self::Count(count) => count,
            Self::All(All::All) => 1,
        }
    }
}

impl fmt::Display for Instances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::All(All::All) => f.write_str("all"),
        }
    }
}

/// Name of a process, as in a `Procfile`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProcessName(String);

/// Error for an invalid process name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the name of a process: 1 to 32 lower-case letters, digits, - and _, beginning with a letter, and none of requests, instances, all-instances, release"
)]
pub struct BadProcessName(pub String);

impl ProcessName {
    /// Returns the name of a backend's main process.
    pub(super) fn of_main(kind: Kind) -> Self {
        Self(if kind == Kind::Web { WEB } else { "worker" }.to_owned())
    }

    /// Returns the text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the kind of the process.
    #[must_use]
    pub fn kind(&self) -> Kind {
        if self.0 == WEB { Kind::Web } else { Kind::Worker }
    }
}

impl FromStr for ProcessName {
    type Err = BadProcessName;

    fn from_str(text: &str) -> Result<Self, BadProcessName> {
        let is_fine = (1..=32).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
            && !SOURCES.contains(&text);
        if is_fine { Ok(Self(text.to_owned())) } else { Err(BadProcessName(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_form!(ProcessName, BadProcessName);
