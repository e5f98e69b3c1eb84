//! A process of a backend: its name, what kind it is, how many instances it has and where they listen.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::api::SOURCES;
use crate::text::text_form;

/// The process whose instances get requests.
pub const WEB: &str = "web";

/// Whether a process gets requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It does, and is ready when it answers.
    Web,
    /// It does not, and is ready when it runs.
    Worker,
}

/// The kind of a backend's main process, as `[server] kind` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MainKind {
    /// PHP-FPM, which the edge starts itself; it gets requests.
    Php,
    /// A command that gets requests.
    Web,
    /// A command that does not.
    Worker,
}

impl MainKind {
    /// The kind of the process.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Php | Self::Web => Kind::Web,
            Self::Worker => Kind::Worker,
        }
    }
}

/// Where a `web` instance listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenOn {
    /// On the port of 127.0.0.1 that `PORT` names.
    #[default]
    Port,
    /// On the Unix socket that `SOCKET` names.
    Socket,
}

/// The number of instances of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Instances {
    /// So many, spread over the nodes of a cluster.
    Count(u64),
    /// One on every node.
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
    /// The number that an edge alone runs.
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

/// The name of a process, as in a `Procfile`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProcessName(String);

/// Says why a text is not the name of a process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the name of a process: 1 to 32 lower-case letters, digits, - and _, beginning with a letter, and none of requests, instances, all-instances, release"
)]
pub struct BadProcessName(pub String);

impl ProcessName {
    /// The kind of a backend's main process.
    pub(super) fn of_main(kind: Kind) -> Self {
        Self(if kind == Kind::Web { WEB } else { "worker" }.to_owned())
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether its instances get requests.
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
