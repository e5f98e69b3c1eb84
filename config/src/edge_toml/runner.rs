//! `[runner]`: settings for running the backends of bundles.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use super::images::{Images, images};
use crate::manifest::InterpreterName;
use crate::parsing::reader::Table;

/// Default search path for programs.
pub const RUNNER_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Settings of backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner {
    /// True if backends are run.
    pub enabled: bool,
    /// Location of instances' control groups; without control groups, limits are enforced by measuring.
    pub cgroup: ControlGroups,
    /// Folder for the code and the persistent data of backends, relative to `edge.toml`; by default beside the data
    /// folder, see [`super::EdgeFile::runner_folder`].
    pub folder: Option<PathBuf>,
    /// Settings of backends in container images; if absent, such backends are rejected.
    pub images: Option<Images>,
    /// Search path of instances for programs.
    pub path: String,
    /// Program of PHP-FPM; if absent, searched in `path`.
    pub php_fpm: Option<PathBuf>,
    /// Socket of a spawner running as root, for an edge without root.
    pub spawner: Option<PathBuf>,
    /// User ids of backends; if absent, a range unused on the machine.
    pub uids: Option<Uids>,
    /// Locations of interpreters for links in bundles, for example `python3.11` of a virtual environment.
    pub interpreters: BTreeMap<InterpreterName, PathBuf>,
}

impl Default for Runner {
    fn default() -> Self {
        Self {
            enabled: false,
            cgroup: ControlGroups::Auto,
            folder: None,
            images: None,
            path: RUNNER_PATH.to_owned(),
            php_fpm: None,
            spawner: None,
            uids: None,
            interpreters: BTreeMap::new(),
        }
    }
}

/// Range of user ids, written `300000-365535`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uids(pub RangeInclusive<u32>);

/// Error for an invalid range of user ids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no range of user ids, such as \"300000-365535\", from 1000 on")]
pub struct BadUids(pub String);

impl FromStr for Uids {
    type Err = BadUids;

    fn from_str(text: &str) -> Result<Self, BadUids> {
        let bounds = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        match bounds {
            // The last user id means "no user" in system calls.
            Some((first, last)) if (1_000..=last).contains(&first) && last < u32::MAX => Ok(Self(first..=last)),
            _ => Err(BadUids(text.chars().take(80).collect())),
        }
    }
}

/// Location of instances' version 2 control groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ControlGroups {
    /// Below the group delegated to this process by the service manager, if any.
    #[default]
    Auto,
    /// No control groups.
    Off,
    /// Below this group.
    Folder(PathBuf),
}

/// Error for an invalid location of control groups.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither \"auto\" nor \"off\" nor a path from / on, such as \"/sys/fs/cgroup/devanture\"")]
pub struct BadControlGroups(pub String);

impl FromStr for ControlGroups {
    type Err = BadControlGroups;

    fn from_str(text: &str) -> Result<Self, BadControlGroups> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            path if path.starts_with('/') => Ok(Self::Folder(PathBuf::from(path))),
            other => Err(BadControlGroups(other.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for ControlGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::Folder(path) => path.display().fmt(f),
        }
    }
}

/// Reads `[runner]`.
pub(super) fn runner(root: &Table<'_, '_>) -> Runner {
    let default = Runner::default();
    let Some(table) = root.table("runner") else { return default };
    let runner = Runner {
        enabled: table.boolean("enabled").unwrap_or(default.enabled),
        cgroup: table.parsed("cgroup").unwrap_or(default.cgroup),
        folder: table.string("folder").map(PathBuf::from),
        images: images(&table),
        path: table.string("path").unwrap_or(default.path),
        php_fpm: table.string("php_fpm").map(PathBuf::from),
        spawner: table.string("spawner").map(PathBuf::from),
        uids: table.parsed("uids"),
        interpreters: interpreters(&table),
    };
    table.misplaced("node", "`runner.node` is `node` now", "move it to the top of the file: node = \"…\"");
    table.finish();
    if runner.path.split(':').any(|folder| !folder.starts_with('/')) {
        table.mistake("path", "`runner.path` must be folders from / on, joined by :", None);
    }
    for (key, path) in [("php_fpm", &runner.php_fpm), ("spawner", &runner.spawner)] {
        if path.as_ref().is_some_and(|path| !path.is_absolute()) {
            table.mistake(key, format!("`runner.{key}` must be a path from / on"), None);
        }
    }
    runner
}

/// Reads `[runner.interpreters]`.
fn interpreters(table: &Table<'_, '_>) -> BTreeMap<InterpreterName, PathBuf> {
    let mut interpreters = BTreeMap::new();
    for (name, path) in table.named_strings("interpreters") {
        let path = PathBuf::from(path);
        match name.parse::<InterpreterName>() {
            Err(error) => table.mistake("interpreters", format!("`{name}` of `runner.interpreters`: {error}"), None),
            Ok(name) if !path.is_absolute() => {
                let message = format!("`{name}` of `runner.interpreters` must be a path from / on");
                table.mistake("interpreters", message, Some("such as \"/usr/bin/python3.11\""));
            }
            Ok(name) => drop(interpreters.insert(name, path)),
        }
    }
    interpreters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_user_ids_keeps_off_those_of_the_system() {
        assert_eq!("200000-265535".parse(), Ok(Uids(200_000..=265_535)));
        for bad in ["", "0-10", "999-2000", "3000-2000", "2000", "2000-4294967295", "a-b"] {
            assert!(bad.parse::<Uids>().is_err(), "{bad}");
        }
    }

    #[test]
    fn control_groups_are_written_as_they_are_read() {
        for text in ["auto", "off", "/sys/fs/cgroup/devanture"] {
            assert_eq!(text.parse::<ControlGroups>().unwrap().to_string(), text);
        }
        for bad in ["", "on", "sys/fs/cgroup", "Auto"] {
            assert!(bad.parse::<ControlGroups>().unwrap_err().to_string().contains("path from / on"), "{bad}");
        }
    }
}
