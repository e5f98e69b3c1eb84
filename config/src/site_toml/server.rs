//! `[server]`: the backend in a bundle, and its settings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::image::Image;
use super::mistaken::EntryMistake;
use super::overlap;
use super::owned_table::OwnedTable;
use super::php::{PHP_COMMAND, PHP_PERSIST, Php};
use super::process::{All, Instances, Kind, ListenOn, MainKind, ProcessName, WEB};
use super::route_path::RoutePath;
use super::routes::{Route, RouteTo};
use super::schedule::{self, Schedule, ScheduleTables};
use super::snapshot_time::{SNAPSHOT_TIMES, SnapshotTime};
use super::upstream_url::UpstreamName;
use crate::parsing::reader::Table;
use crate::path::BundlePath;

/// Name of the pool of a bundle's own instances: routes may use the name like a name of `[upstreams]`, and a table
/// `[upstreams.server]` without `to` has the pool's settings.
pub const SERVER_UPSTREAM: &str = "server";
/// Default folder.
pub const SERVER_DIR: &str = "dist/server";
/// Default time until an instance must be healthy, in milliseconds.
pub const START_MS: u64 = 60_000;
/// Default time between SIGTERM and SIGKILL, in milliseconds.
pub const STOP_MS: u64 = 10_000;
/// Default time for active requests before SIGTERM, in milliseconds.
pub const DRAIN_MS: u64 = 30_000;
/// Default time for which replaced instances stay for a rollback, in milliseconds.
pub const WARM_MS: u64 = 300_000;
/// Maximum time in a key of `[server]`, in milliseconds: a day.
pub(super) const SERVER_MS_MAX: u64 = 86_400_000;
/// Maximum number of instances of a process in a file; `instances_max` of the edge may be less.
pub const INSTANCES_MAX: u64 = 1_000;
/// Maximum number of processes of a backend.
pub const PROCESSES_MAX: usize = 32;
/// Maximum MiB of memory in a file.
pub(super) const MEMORY_MB_MAX: u64 = 1_048_576;
/// Maximum processor time in a file, in percent of one core.
pub(super) const CPU_PERCENT_MAX: u64 = 100_000;

const KINDS: &[(&str, MainKind)] = &[("php", MainKind::Php), ("web", MainKind::Web), ("worker", MainKind::Worker)];
const LISTENS: &[(&str, ListenOn)] = &[("port", ListenOn::Port), ("socket", ListenOn::Socket)];

/// `[server.processes.NAME]`: a process beside the main process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessTable {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Number of instances; one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<Instances>,
    /// Overlap, as for the backend, for this process alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<bool>,
}

/// Settings of a table about the backend; missing keys are `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTable {
    /// Program and arguments; a name without a slash is searched in the edge's `PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Processor time of one instance, in percent of one core; only with control groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u64>,
    /// Maximum time for active requests before SIGTERM, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_ms: Option<u64>,
    /// Path of health checks, expected to answer 2xx or 3xx. By default `/` must answer with a status below 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// Front controller, for paths without a script; for PHP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Container image, in place of a folder; the same in every environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// Number of instances of the main process; one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<Instances>,
    /// Kind of the main process: with requests, without requests, or PHP-FPM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<MainKind>,
    /// Listening address of `web` instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<ListenOn>,
    /// Memory of one instance, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u64>,
    /// Tables beside `[server]` in the backend's half of a bundle; other tables are the front's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owns: Option<Vec<OwnedTable>>,
    /// True if instances without traffic of the next version start before the end of the instances of this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<bool>,
    /// Persistent folder: a link of this name beside the code, and `DEVANTURE_DATA`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persist: Option<BundlePath>,
    /// Time of automatic snapshots of the persistent folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotTime>,
    /// Processes beside the main process, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<BTreeMap<ProcessName, ProcessTable>>,
    /// Command that runs once per deploy before the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Vec<String>>,
    /// Folder of scripts open to requests, below the backend's folder; for PHP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Paths served by the `web` instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<RoutePath>>,
    /// Scheduled commands, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleTables>,
    /// Maximum time until an instance is healthy, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<u64>,
    /// Time of an instance between SIGTERM and SIGKILL, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_ms: Option<u64>,
    /// Time for which replaced instances stay for a rollback, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_ms: Option<u64>,
    /// Workers of one instance; for PHP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<u64>,
}

/// Process of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Name.
    pub name: ProcessName,
    /// Kind.
    pub kind: Kind,
    /// Program and arguments; empty for the default command of an image.
    pub command: Vec<String>,
    /// Number of instances.
    pub instances: Instances,
    /// True if instances of the next version start before the end of the instances of this version.
    #[serde(default = "overlaps")]
    pub overlap: bool,
}

/// Default for processes described by an earlier release.
const fn overlaps() -> bool {
    true
}

/// Effective backend in one place, with a value for every key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Processes, by name.
    pub processes: Vec<Process>,
    /// Path of health checks of a `web` instance. By default `/` must answer with a status below 500.
    pub health: Option<String>,
    /// Container image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// Listening address of `web` instances.
    pub listen: ListenOn,
    /// Memory of one instance in bytes, if limited.
    pub memory_bytes: Option<u64>,
    /// Processor time of one instance in percent of one core, if limited.
    pub cpu_percent: Option<u64>,
    /// Persistent folder.
    pub persist: Option<BundlePath>,
    /// Settings of PHP-FPM, if the main process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub php: Option<Php>,
    /// Command that runs once before the switch.
    pub release: Option<Vec<String>>,
    /// Scheduled commands, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<Schedule>,
    /// Time of automatic snapshots of the persistent folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotTime>,
    /// Milliseconds until an instance must be healthy.
    pub start_ms: u64,
    /// Milliseconds between SIGTERM and SIGKILL.
    pub stop_ms: u64,
    /// Milliseconds for active requests, before SIGTERM.
    pub drain_ms: u64,
    /// Milliseconds for which replaced instances stay.
    pub warm_ms: u64,
}

impl ServerTable {
    /// Overlays this table with `over`, key by key.
    #[must_use]
    pub fn overlaid_by(self, over: &Self) -> Self {
        Self {
            command: over.command.clone().or(self.command),
            cpu_percent: over.cpu_percent.or(self.cpu_percent),
            drain_ms: over.drain_ms.or(self.drain_ms),
            health: over.health.clone().or(self.health),
            index: over.index.clone().or(self.index),
            image: over.image.clone().or(self.image),
            instances: over.instances.or(self.instances),
            kind: over.kind.or(self.kind),
            listen: over.listen.or(self.listen),
            memory_mb: over.memory_mb.or(self.memory_mb),
            owns: over.owns.clone().or(self.owns),
            overlap: over.overlap.or(self.overlap),
            persist: over.persist.clone().or(self.persist),
            processes: over.processes.clone().or(self.processes),
            release: over.release.clone().or(self.release),
            root: over.root.clone().or(self.root),
            routes: over.routes.clone().or(self.routes),
            schedule: over.schedule.clone().or(self.schedule),
            snapshot: over.snapshot.or(self.snapshot),
            start_ms: over.start_ms.or(self.start_ms),
            stop_ms: over.stop_ms.or(self.stop_ms),
            warm_ms: over.warm_ms.or(self.warm_ms),
            workers: over.workers.or(self.workers),
        }
    }

    /// Iterates over the routes, in the form of `[[routes]]`.
    pub(crate) fn as_routes(&self) -> impl Iterator<Item = Route> {
        // The constant is a valid name.
        let to: Option<UpstreamName> = SERVER_UPSTREAM.parse().ok();
        let paths = self.routes.iter().flatten();
        // A front controller takes every path without a file.
        let files_first = self.kind == Some(MainKind::Php);
        let route =
            move |path: &RoutePath, to| Route { files_first, ..Route::new(path.clone(), RouteTo::Upstream(to)) };
        paths.zip(std::iter::repeat(to)).filter_map(move |(path, to)| Some(route(path, to?)))
    }

    /// Returns the command of the main process; empty for the default command of an image.
    fn main_command(&self) -> Option<Vec<String>> {
        let main = ProcessName::of_main(self.kind.map_or(Kind::Web, MainKind::kind));
        let is_named = || self.processes.iter().flatten().any(|(name, _)| *name == main);
        self.command.clone().or_else(|| (self.image.is_some() && !is_named()).then(Vec::new))
    }

    /// Resolves every key, for a table merged with its layers.
    #[must_use]
    pub fn resolved(&self) -> Server {
        let mut processes = Vec::new();
        let php = Php::of(self);
        let of_php = php.as_ref().map(|_| vec![PHP_COMMAND.to_owned()]);
        if let Some(command) = of_php.or_else(|| self.main_command()) {
            let kind = self.kind.map_or(Kind::Web, MainKind::kind);
            let name = ProcessName::of_main(kind);
            let instances = self.instances.unwrap_or(Instances::Count(1));
            let overlap = overlap::overlaps(kind, None, self.overlap);
            processes.push(Process { name, kind, command, instances, overlap });
        }
        for (name, table) in self.processes.iter().flatten() {
            // `instances` of the table itself is the number of `web`, even with a command from a `Procfile`.
            let own =
                if self.command.is_none() && php.is_none() && name.as_str() == WEB { self.instances } else { None };
            let instances = own.or(table.instances).unwrap_or(Instances::Count(1));
            let (name, kind) = (name.clone(), name.kind());
            let overlap = overlap::overlaps(kind, table.overlap, self.overlap);
            processes.push(Process { name, kind, command: table.command.clone(), instances, overlap });
        }
        processes.sort_by(|a, b| a.name.cmp(&b.name));
        Server {
            processes,
            health: self.health.clone(),
            image: self.image.clone(),
            listen: if php.is_some() { ListenOn::Socket } else { self.listen.unwrap_or_default() },
            memory_bytes: self.memory_mb.map(|mb| mb.saturating_mul(1024 * 1024)),
            cpu_percent: self.cpu_percent,
            // Sessions have to outlast a switch.
            persist: self.persist.clone().or_else(|| php.as_ref().and_then(|_| PHP_PERSIST.parse().ok())),
            php,
            release: self.release.clone(),
            schedules: self.schedule.iter().flatten().map(|(name, table)| table.resolved(name)).collect(),
            snapshot: self.snapshot.filter(|_| self.persist.is_some()),
            start_ms: self.start_ms.unwrap_or(START_MS),
            stop_ms: self.stop_ms.unwrap_or(STOP_MS),
            drain_ms: self.drain_ms.unwrap_or(DRAIN_MS),
            warm_ms: self.warm_ms.unwrap_or(WARM_MS),
        }
    }
}

/// Reads `[server]` of a table, except for `dir`, see [`dir`].
pub(super) fn server(outer: &Table<'_, '_>) -> Option<ServerTable> {
    let table = outer.table("server")?;
    let is_of_environment = outer.full("server").rsplit('.').nth(2) == Some("env");
    let image = table.parsed("image");
    for (key, is_said) in [("dir", dir(&table).is_some()), ("image", image.is_some())] {
        if is_said && is_of_environment {
            let message = format!("`{}` is the same in every environment", table.full(key));
            table.mistake(key, message, Some("write it below [server]"));
        }
    }
    if image.is_some() && dir(&table).is_some() {
        let message = format!("`{}` stands beside `image`, and a backend is one of them", table.full("dir"));
        table.mistake("dir", message, Some("leave one of them out"));
    }
    if table.has("owns") && is_of_environment {
        let message = format!("`{}` is the same in every environment", table.full("owns"));
        table.mistake("owns", message, Some("write it below [server]"));
    }
    // Both keys are read together with `dir`.
    table.know(&["exclude", "include"]);
    for key in ["exclude", "include"].into_iter().filter(|key| is_of_environment && table.has(key)) {
        let message = format!("`{}` is the same in every environment", table.full(key));
        table.mistake(key, message, Some("write it below [server]"));
    }
    let processes = table.has("processes").then(|| {
        let tables = table.named_tables("processes");
        let read = |(name, inner): &(String, Table<'_, '_>)| {
            let process = ProcessTable {
                command: inner.list("command").unwrap_or_default(),
                instances: instances(inner),
                overlap: inner.boolean("overlap"),
            };
            inner.finish();
            match name.parse::<ProcessName>() {
                Ok(name) => Some((name, process)),
                Err(error) => {
                    table.mistake("processes", error.to_string(), None);
                    None
                }
            }
        };
        tables.iter().filter_map(read).collect()
    });
    let ms = 0..=SERVER_MS_MAX;
    let server = ServerTable {
        command: table.list("command"),
        cpu_percent: table.integer("cpu_percent", 0..=CPU_PERCENT_MAX),
        drain_ms: table.integer("drain_ms", ms.clone()),
        health: table.string("health"),
        index: table.string("index"),
        image,
        instances: instances(&table),
        kind: table.word("kind", KINDS),
        listen: table.word("listen", LISTENS),
        memory_mb: table.integer("memory_mb", 0..=MEMORY_MB_MAX),
        owns: table.list("owns"),
        overlap: table.boolean("overlap"),
        persist: table.parsed("persist"),
        processes,
        release: table.list("release"),
        root: table.string("root"),
        routes: table.list("routes"),
        schedule: schedule::schedules(&table),
        snapshot: table.word("snapshot", SNAPSHOT_TIMES),
        start_ms: table.integer("start_ms", ms.clone()),
        stop_ms: table.integer("stop_ms", ms.clone()),
        warm_ms: table.integer("warm_ms", ms),
        workers: table.integer("workers", 0..=u64::MAX),
    };
    table.finish();
    for EntryMistake { key, message } in server.mistakes().into_iter().chain(server.misplaced_addresses()) {
        table.mistake(key, format!("`{}` {message}", table.full(key)), None);
    }
    Some(server)
}

/// Reads the folder of the backend, relative to the file.
pub(super) fn dir(server: &Table<'_, '_>) -> Option<String> {
    server.string("dir")
}

fn instances(table: &Table<'_, '_>) -> Option<Instances> {
    if table.is_text("instances") {
        return table.word("instances", &[("all", Instances::All(All::All))]);
    }
    table.integer("instances", 0..=INSTANCES_MAX).map(Instances::Count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site_toml::SiteFile;

    const GAME: &str = "app = \"game\"\n[server]\ndir = \"out\"\ncommand = [\"node\", \"server.js\"]\ninstances = 3\n\
        health = \"/healthz\"\nroutes = [\"/api/*\"]\npersist = \"data\"\n[server.processes.mailer]\n\
        command = [\"node\", \"mailer.js\"]\n[env.staging.server]\ninstances = \"all\"\n";

    #[test]
    fn which_tables_the_backend_owns_is_the_same_in_every_environment() {
        let of = |place: &str| {
            let text = "app = \"game\"\n[server]\ncommand = [\"node\"]\n";
            SiteFile::parse("devanture.toml", &format!("{text}{place}owns = [\"routes\"]\n"))
        };
        of("").unwrap();
        let mistakes = of("[env.staging.server]\n").unwrap_err();
        assert!(mistakes.0[0].message.contains("the same in every environment"), "{mistakes:?}");
    }

    #[test]
    fn a_backend_is_read_with_what_an_environment_says_of_it() {
        let file = SiteFile::parse("devanture.toml", GAME).unwrap();
        assert_eq!(file.server_dir.as_deref(), Some("out"));
        let counts = |place: &str| -> Vec<(String, Kind, String)> {
            let over = file.env.get(&place.parse::<crate::PlaceName>().unwrap()).cloned().unwrap_or_default();
            let server = file.base.clone().overlaid_by(&over).server.unwrap().resolved();
            server.processes.iter().map(|p| (p.name.to_string(), p.kind, p.instances.to_string())).collect()
        };
        let is = |name: &str, kind, count: &str| (name.to_owned(), kind, count.to_owned());
        assert_eq!(counts("prod"), [is("mailer", Kind::Worker, "1"), is("web", Kind::Web, "3")]);
        assert_eq!(counts("staging"), [is("mailer", Kind::Worker, "1"), is("web", Kind::Web, "all")]);
        let written = serde_json::to_string(&file.base).unwrap();
        assert_eq!(serde_json::from_str::<crate::site_toml::Serving>(&written).unwrap(), file.base);
    }

    #[test]
    fn every_mistake_of_a_backend_has_its_line() {
        for (line, bad) in [
            (2, "command = []"),
            (2, "command = [\"\"]"),
            (2, "command = \"node server.js\""),
            (2, "comand = [\"node\"]"),
            (3, "command = [\"a\"]\ninstances = 1001"),
            (3, "command = [\"a\"]\ninstances = \"some\""),
            (3, "command = [\"a\"]\nhealth = \"healthz\""),
            (3, "command = [\"a\"]\nmemory_mb = 1"),
            (3, "command = [\"a\"]\npersist = \"../data\""),
            (3, "command = [\"a\"]\nroutes = [\"api\"]"),
            (3, "command = [\"a\"]\nkind = \"job\""),
            (3, "command = [\"a\"]\noverlap = 1"),
            (2, "processes = { web = { command = [\"b\"], overlap = false } }"),
            (2, "command = [\"a\", \"$PORT\"]\nkind = \"worker\""),
            (2, "command = [\"a\", \"$SOCKET\"]\nlisten = \"port\""),
            (2, "command = [\"a\", \"-b${PORT}\"]\nlisten = \"socket\""),
            (3, "command = [\"a\", \"$PORT\"]\nrelease = [\"b\", \"$PORT\"]"),
            (3, "command = [\"a\", \"$PORT\"]\nprocesses = { b = { command = [\"b\", \"$PORT\"] } }"),
            (3, "command = [\"a\"]\nprocesses = { \"A\" = { command = [\"b\"] } }"),
            // Mistakes of the merged table:
            (1, "health = \"/\""),
            (3, "command = [\"a\"]\nprocesses = { web = { command = [\"b\"] } }"),
            (4, "command = [\"a\"]\nkind = \"worker\"\nroutes = [\"/api/*\"]"),
        ] {
            let mistakes = SiteFile::parse("f", &format!("[server]\n{bad}\n")).unwrap_err().0;
            assert_eq!(mistakes[0].line, line, "{bad}: {mistakes:?}");
        }
        let both = "[server]\ncommand = [\"a\"]\n[upstreams]\nserver = \"http://h\"\n";
        assert!(SiteFile::parse("f", both).unwrap_err().to_string().contains("[server]"));
    }
}
