//! `[access_log]`: format, target and privacy of request logs.

use std::path::PathBuf;

use crate::parsing::reader::Table;

/// Format of logged requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// The combined format of nginx and Apache.
    Combined,
    /// One JSON object a line.
    Json,
    /// No log.
    Off,
}

/// Target of log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// A file, opened to append; relative to `edge.toml`.
    File(PathBuf),
    /// Standard error, like the edge's own log.
    Stderr,
}

/// Logged part of a visitor's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogAddresses {
    /// The whole address.
    Full,
    /// No part.
    None,
    /// The network: 24 bits of IPv4, 48 of IPv6.
    Short,
}

/// Access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Logged part of a visitor's address.
    pub addresses: LogAddresses,
    /// Format of a line.
    pub format: LogFormat,
    /// True if queries of addresses are logged.
    pub queries: bool,
    /// Target of lines.
    pub to: LogTarget,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { addresses: LogAddresses::Full, format: LogFormat::Json, queries: true, to: LogTarget::Stderr }
    }
}

const ADDRESSES: &[(&str, LogAddresses)] =
    &[("full", LogAddresses::Full), ("none", LogAddresses::None), ("short", LogAddresses::Short)];
const FORMATS: &[(&str, LogFormat)] =
    &[("combined", LogFormat::Combined), ("json", LogFormat::Json), ("off", LogFormat::Off)];
const QUERIES: &[(&str, bool)] = &[("cut", false), ("kept", true)];

/// Reads `[access_log]`, or the single word of `[log]`.
pub(super) fn access_log(root: &Table<'_, '_>) -> AccessLog {
    let short = root.table("log").map(|table| short(&table));
    let long = root.table("access_log").map(|table| long(&table));
    if short.is_some() && long.is_some() {
        let message = "`[log]` and `[access_log]` both say how requests are logged";
        root.mistake("log", message, Some("leave `[log]` out: `to` and `format` of `[access_log]` say the same"));
    }
    long.or(short).unwrap_or_default()
}

fn long(table: &Table<'_, '_>) -> AccessLog {
    let default = AccessLog::default();
    let addresses = table.word("addresses", ADDRESSES).unwrap_or(default.addresses);
    let format = table.word("format", FORMATS).unwrap_or(default.format);
    let queries = table.word("queries", QUERIES).unwrap_or(default.queries);
    let to = match table.string("to").as_deref() {
        None | Some("stderr") => LogTarget::Stderr,
        Some("") => {
            table.mistake("to", "`access_log.to` is empty", Some("\"stderr\" or the path of a file"));
            LogTarget::Stderr
        }
        Some(path) => LogTarget::File(path.into()),
    };
    table.finish();
    AccessLog { addresses, format, queries, to }
}

fn short(table: &Table<'_, '_>) -> AccessLog {
    let access = table.string("access");
    table.finish();
    let default = AccessLog::default();
    match access.as_deref() {
        None | Some("stderr") => default,
        Some("off") => AccessLog { format: LogFormat::Off, ..default },
        Some("") => {
            table.mistake("access", "`log.access` is empty", Some("\"stderr\", \"off\" or the path of a file"));
            default
        }
        Some(path) => AccessLog { to: LogTarget::File(path.into()), ..default },
    }
}
