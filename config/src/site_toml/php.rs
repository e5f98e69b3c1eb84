//! `[server] kind = "php"`: the part of a bundle run by PHP-FPM, and the number of workers.

use serde::{Deserialize, Serialize};

use super::mistaken::EntryMistake;
use super::process::MainKind;
use super::scripts::{SCRIPT_INDEX, SCRIPT_SPLIT, Scripts, bad_index};
use super::server::ServerTable;
use crate::path::BundlePath;

/// Default folder of scripts open to requests, below the backend's folder.
pub const PHP_ROOT: &str = "public";
/// Default number of workers of an instance, and so of simultaneous requests.
pub const PHP_WORKERS: u64 = 8;
/// Maximum number of workers of an instance; `instance_processes_max` of the edge may allow fewer.
pub const PHP_WORKERS_MAX: u64 = 512;
/// Default persistent folder: the folder of sessions.
pub const PHP_PERSIST: &str = ".persist";
/// Command in lists of processes; the edge finds the actual program.
pub const PHP_COMMAND: &str = "php-fpm";

/// Backend run by PHP-FPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Php {
    /// Folder of the scripts, below the backend's folder; `.` is the backend's folder itself.
    pub root: String,
    /// Front controller, for paths without a script.
    pub index: String,
    /// Workers of one instance.
    pub workers: u64,
}

impl Php {
    /// Reads the settings of a table.
    pub(super) fn of(table: &ServerTable) -> Option<Self> {
        (table.kind == Some(MainKind::Php)).then(|| Self {
            root: table.root.clone().unwrap_or_else(|| PHP_ROOT.to_owned()),
            index: table.index.clone().unwrap_or_else(|| SCRIPT_INDEX.to_owned()),
            workers: table.workers.unwrap_or(PHP_WORKERS),
        })
    }

    /// Returns the scripts, for a backend's folder at `code`.
    #[must_use]
    pub fn scripts(&self, code: &str) -> Scripts {
        let root = if self.root == "." { code.to_owned() } else { format!("{code}/{}", self.root) };
        Scripts { index: self.index.clone(), ..Scripts::below(&root) }
    }
}

/// Message for PHP keys beside another kind.
pub(super) const FOR_PHP: &str = "is for kind = \"php\"";
/// Message for start keys beside PHP.
pub(super) const STARTS_ITSELF: &str = "has no place beside kind = \"php\": the edge starts php-fpm itself";

/// Iterates over the keys of a table reserved for PHP.
pub(super) fn own_keys(table: &ServerTable) -> impl Iterator<Item = &'static str> {
    let keys = [("index", table.index.is_some()), ("root", table.root.is_some()), ("workers", table.workers.is_some())];
    keys.into_iter().filter(|(_, is_there)| *is_there).map(|(key, _)| key)
}

/// Returns all mistakes of a table in keys about PHP.
pub(super) fn mistakes(table: &ServerTable) -> Vec<EntryMistake> {
    let mut found = Vec::new();
    let mut wrong = |key, message: String| found.push(EntryMistake { key, message });
    // An overlay may inherit the kind of the base.
    match table.kind {
        None => {}
        Some(MainKind::Php) => {
            for (key, is_there) in [("command", table.command.is_some()), ("listen", table.listen.is_some())] {
                if is_there {
                    wrong(key, STARTS_ITSELF.to_owned());
                }
            }
        }
        Some(MainKind::Web | MainKind::Worker) => own_keys(table).for_each(|key| wrong(key, FOR_PHP.to_owned())),
    }
    if table.root.as_ref().is_some_and(|root| root != "." && root.parse::<BundlePath>().is_err()) {
        wrong("root", "must be a folder below that of the backend, or \".\" for it itself".to_owned());
    }
    if let Some(message) = table.index.as_deref().and_then(|index| bad_index(index, SCRIPT_SPLIT)) {
        wrong("index", message);
    }
    if table.workers.is_some_and(|workers| !(1..=PHP_WORKERS_MAX).contains(&workers)) {
        wrong("workers", format!("must lie between 1 and {PHP_WORKERS_MAX}"));
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::site_toml::{Kind, ListenOn, SiteFile};

    #[test]
    fn php_is_run_without_a_command() {
        let text = "[server]\nkind = \"php\"\nroutes = [\"/*\"]\nworkers = 3\n[env.staging.server]\nworkers = 1\n";
        let file = SiteFile::parse("f", text).unwrap();
        let server = file.base.server.clone().unwrap().resolved();
        let php = server.php.clone().unwrap();
        assert_eq!((php.root.as_str(), php.index.as_str(), php.workers), ("public", "index.php", 3));
        assert_eq!((server.listen, server.processes[0].kind), (ListenOn::Socket, Kind::Web));
        assert_eq!(server.persist.unwrap().as_str(), ".persist");
        assert_eq!(php.scripts("/srv/code").root, "/srv/code/public");
        let over = file.env.values().next().unwrap();
        assert_eq!(file.base.overlaid_by(over).server.unwrap().resolved().php.unwrap().workers, 1);
        let whole = "[server]\nkind = \"php\"\nroot = \".\"\npersist = \"var\"\n";
        let server = SiteFile::parse("f", whole).unwrap().base.server.unwrap().resolved();
        assert_eq!(server.php.unwrap().scripts("/srv").root, "/srv");
        assert_eq!(server.persist.unwrap().as_str(), "var");
    }

    #[test]
    fn what_does_not_go_with_php_is_a_mistake() {
        for (bad, why) in [
            ("kind = \"php\"\ncommand = [\"a\"]", "starts php-fpm itself"),
            ("kind = \"php\"\nlisten = \"port\"", "starts php-fpm itself"),
            ("kind = \"php\"\nroot = \"../x\"", "below"),
            ("kind = \"php\"\nindex = \"app.js\"", "ends with"),
            ("kind = \"php\"\nworkers = 0", "between"),
            ("kind = \"web\"\ncommand = [\"a\"]\nworkers = 2", "is for kind"),
            ("command = [\"a\"]\nroot = \"x\"", "is for kind"),
        ] {
            let error = SiteFile::parse("f", &format!("[server]\n{bad}\n")).unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
