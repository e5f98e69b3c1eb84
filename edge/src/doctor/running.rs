//! The running edge of the data folder, queried over its local socket.

use std::io;
use std::path::{Path, PathBuf};

use devanture_config::api::{AppList, HostnameList, HostnameStatus};
use devanture_config::text::counted;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use super::caller::Caller;
use super::finding::{Finding, Names};
use super::scrape;
use crate::server::local::{ANSWER_MAX, LocalError, SOCKET_NAME, ask_beside, ask_text, read};
use crate::server::{data_socket, is_in_use};
use devanture_control::admin::{
    BACKEND_LINE, CATALOG_DAMAGED_LINE, MISTAKE_LINE, OPEN_LINE, REACH_LINE, UNWRITABLE_LINE,
};
use devanture_control::runner::{LISTEN_ON_HOST, TURN_ON};
use devanture_control::upstreams::ALLOW_OR_PUSH;
use devanture_control::webhooks::KEPT_WEBHOOK;

const CHECK: &str = "edge";
/// Advice about a live version that an earlier release accepted, and the current checks reject.
const PUSH_MENDED: &str = "what is bad answers 502, and the rest is served: push the bundle again, mended";
/// The health of an edge that accepts no requests.
const NOT_READY: &str = "not ready";
/// Advice about a missing local socket.
const OPENS_IT_AGAIN: &str = "start no other one: it opens the socket within seconds once it can write to the folder: \
                              docs/runbooks/disk-unwritable.md";
/// Advice about a data folder without access for the edge.
const GIVE_RIGHTS_BACK: &str = "give the folder and its socket their rights back, as by `chmod u+rwx` of the folder: \
                                docs/runbooks/disk-unwritable.md";
/// Maximum number of examined apps.
const APPS_MAX: usize = 100;
/// Maximum number of examined hostnames, of all apps together.
const HOSTNAMES_MAX: usize = 50;

/// State of the edge of the data folder.
pub(super) enum Edge {
    /// Running and responding.
    Runs(Running),
    /// Unknown, for lack of rights.
    Hidden,
    /// Not running, or not responding.
    Silent,
}

/// The running edge.
pub(super) struct Running {
    socket: PathBuf,
    /// The metrics.
    pub(super) metrics: String,
    /// The lines of the readiness report.
    pub(super) health: String,
}

impl Edge {
    /// Returns the edge, if running and responding.
    pub(super) const fn running(&self) -> Option<&Running> {
        match self {
            Self::Runs(running) => Some(running),
            Self::Hidden | Self::Silent => None,
        }
    }

    /// Finds the running edge of `data_dir`; the finding reports its state, or its absence.
    pub(super) async fn find(data_dir: &Path) -> (Self, Finding) {
        let socket = data_dir.join(SOCKET_NAME);
        let reached = timeout(ANSWER_MAX, data_socket::connect(&socket)).await.unwrap_or_else(|late| Err(late.into()));
        if let Err(error) = reached {
            return Self::without_socket(data_dir, socket, &error).await;
        }
        let silent = |what: &str, error: LocalError| {
            let advice = "keep its log and restart it, if that stays so";
            (Self::Silent, Finding::fail(CHECK, format!("{what}: {error}"), advice))
        };
        let health = match ask_text(&socket, "/health/ready").await {
            Ok(health) => health,
            // A response of "not ready" is a response.
            Err(LocalError::Refused(_)) => NOT_READY.to_owned(),
            Err(error) => return silent("/health/ready", error),
        };
        let metrics = match ask_text(&socket, "/metrics").await {
            Ok(metrics) => metrics,
            Err(error) => return silent("/metrics", error),
        };
        let running = Running { socket, metrics, health };
        let found = running.version_finding();
        (Self::Runs(running), found)
    }

    /// Examines an edge without a reachable local socket, as far as other signs exist.
    async fn without_socket(data_dir: &Path, socket: PathBuf, error: &io::Error) -> (Self, Finding) {
        let (folder, path, caller) = (data_dir.display(), socket.display(), Caller::of(data_dir));
        let health = match ask_beside(data_dir, "/health/ready").await {
            Some(Ok(health)) => Some(health),
            Some(Err(LocalError::Refused(_))) => Some(NOT_READY.to_owned()),
            Some(Err(_)) | None => None,
        };
        if let Some(health) = health {
            let found = format!("an edge runs over {folder}, and its local socket {path} cannot be reached: {error}");
            let running = Running { socket, metrics: String::new(), health };
            return (Self::Runs(running), Finding::warn(CHECK, found, OPENS_IT_AGAIN));
        }
        match error.kind() {
            io::ErrorKind::PermissionDenied if caller.is_other() => {
                (Self::Hidden, Finding::warn(CHECK, format!("{path} may not be opened"), caller.advice()))
            }
            io::ErrorKind::PermissionDenied => {
                let found = format!("{path} may not be opened, not even by the user of the edge");
                (Self::Hidden, Finding::fail(CHECK, found, GIVE_RIGHTS_BACK))
            }
            _ if is_in_use(data_dir) => {
                let found = format!("an edge has the catalog of {folder} open, and {path} cannot be reached: {error}");
                (Self::Hidden, Finding::warn(CHECK, found, OPENS_IT_AGAIN))
            }
            _ => {
                let advice = "start it, if it should run; its log says why it ended";
                (Self::Silent, Finding::warn(CHECK, format!("no edge runs over {folder}"), advice))
            }
        }
    }
}

impl Running {
    /// Returns the version of the running program.
    pub(super) fn version(&self) -> Option<&str> {
        let (labels, _) = scrape::series(&self.metrics, "devanture_build_info").next()?;
        scrape::label(labels, "version")
    }

    fn version_finding(&self) -> Finding {
        let own = env!("CARGO_PKG_VERSION");
        match self.version() {
            Some(version) if version != own => {
                let found = format!("version {version} runs, and this program is {own}");
                Finding::warn(CHECK, found, "send SIGUSR2 to the running edge, and this program takes over")
            }
            Some(version) => Finding::ok(CHECK, format!("version {version} runs and answers")),
            None => Finding::warn(CHECK, "a version runs that does not say which", "upgrade it"),
        }
    }

    /// Returns findings for readiness lines other than `ready`. The check of the stored state reports lost secrets.
    pub(super) fn health_findings(&self, names: Names) -> Vec<Finding> {
        let mut found = Vec::new();
        let damaged: Vec<&str> = self.health.lines().filter_map(|line| line.strip_prefix("damaged: ")).collect();
        let advice = "`devanture-edge verify` names the files; docs/runbooks/damaged-files.md says what to do";
        let replaced = "move the file back, or restore it and start the edge again: docs/runbooks/catalog-replaced.md";
        let of_pages = "do not restart it yet, and restore a backup, or repair it while it is stopped: \
                        docs/runbooks/catalog-damaged.md";
        let is_replaced = scrape::value(&self.metrics, "devanture_catalog_replaced", "") == Some(1.0);
        match names {
            Names::Shown => found.extend(damaged.iter().map(|what| {
                let advice = match *what {
                    what if CATALOG_DAMAGED_LINE.trim_end().ends_with(what) => of_pages,
                    what if is_replaced && what.contains("catalog") => replaced,
                    _ => advice,
                };
                Finding::fail("health", *what, advice)
            })),
            Names::Counted if damaged.is_empty() => {}
            Names::Counted => {
                found.push(Finding::fail("health", format!("{} about damage", counted(damaged.len(), "line")), advice));
            }
        }
        let idle: Vec<&str> = self.health.lines().filter_map(|line| line.strip_prefix(BACKEND_LINE)).collect();
        match names {
            Names::Shown => found.extend(idle.iter().map(|what| Finding::fail("backends", *what, TURN_ON))),
            Names::Counted if idle.is_empty() => {}
            Names::Counted => {
                let what =
                    format!("{} whose backend does not run: there is no [runner]", counted(idle.len(), "version"));
                found.push(Finding::fail("backends", what, TURN_ON));
            }
        }
        found.extend(self.health.lines().filter_map(|line| line.strip_prefix(UNWRITABLE_LINE)).map(|what| {
            let advice = "do not restart it; see how the disk is mounted: docs/runbooks/disk-unwritable.md";
            Finding::fail("disk", what, advice)
        }));
        found.extend(self.warnings((REACH_LINE, "upstreams"), names, |kept| (reach_counted(kept), ALLOW_OR_PUSH)));
        found.extend(self.warnings((MISTAKE_LINE, "versions"), names, |mistaken| {
            let together = format!("{} with what today's checks refuse", counted(mistaken.len(), "live version"));
            (together, PUSH_MENDED)
        }));
        found.extend(self.warnings((OPEN_LINE, "backends"), names, |open| {
            (format!("{} listening on all addresses of the machine", counted(open.len(), "instance")), LISTEN_ON_HOST)
        }));
        if self.health == NOT_READY {
            let advice = "it starts or ends; if that stays so, its log says why";
            found.push(Finding::fail("health", NOT_READY, advice));
        }
        if let Some(line) = self.health.lines().find(|line| line.starts_with("loading: ")) {
            found.push(Finding::warn("health", line, "it serves; wait until all versions are loaded"));
        }
        let quarantined =
            scrape::value(&self.metrics, "devanture_stored_files", "kind=\"quarantine\"").unwrap_or_default();
        if quarantined > 0.0 {
            let advice =
                "`devanture-edge verify` says which versions lack them, and docs/runbooks/quarantine.md what to do";
            found.push(Finding::warn("health", format!("files that were set aside as damaged: {quarantined}"), advice));
        }
        if found.is_empty() {
            found.push(Finding::ok("health", "ready"));
        }
        found
    }

    /// Returns a warning of the check `check` for each readiness line that begins with `line`, or a single warning if
    /// names are not shown: `of` returns a summary and advice.
    fn warnings(
        &self,
        (line, check): (&str, &'static str),
        names: Names,
        of: impl Fn(&[&str]) -> (String, &'static str),
    ) -> Vec<Finding> {
        let lines: Vec<&str> = self.health.lines().filter_map(|found| found.strip_prefix(line)).collect();
        let (together, advice) = of(&lines);
        match names {
            Names::Shown => lines.iter().map(|what| Finding::warn(check, *what, advice)).collect(),
            Names::Counted if lines.is_empty() => Vec::new(),
            Names::Counted => vec![Finding::warn(check, together, advice)],
        }
    }

    /// Returns hostnames of environments except names below the edge's own domains: at most [`HOSTNAMES_MAX`], as
    /// received within the time limit.
    pub(super) async fn hostnames(&self) -> Vec<String> {
        // A limit for each response alone would not bound hundreds of responses.
        let (mut names, until) = (Vec::new(), Instant::now() + ANSWER_MAX);
        let Ok(AppList { apps, .. }) = self.apps().await else { return names };
        for (app, environment) in
            apps.iter().flat_map(|app| app.environments.iter().map(move |of| (&app.app, &of.name)))
        {
            if names.len() >= HOSTNAMES_MAX || Instant::now() >= until {
                break;
            }
            let path = format!("/v1/apps/{app}/environments/{environment}/hostnames");
            let Ok(found) = self.get::<HostnameList>(&path).await else { continue };
            names.extend(found.hostnames.iter().map(|HostnameStatus { name, .. }| name.to_string()));
        }
        names.truncate(HOSTNAMES_MAX);
        names
    }

    /// Returns the first page of the list of apps.
    pub(super) async fn apps(&self) -> Result<AppList, LocalError> {
        self.get(&format!("/v1/apps?limit={APPS_MAX}")).await
    }

    /// Returns the unparsed body of a response.
    pub(super) async fn body(&self, path: &str) -> Result<String, LocalError> {
        ask_text(&self.socket, path).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, LocalError> {
        read(self.body(path).await?.as_bytes())
    }
}

/// Counts live versions and webhooks that reach private addresses no longer allowed.
fn reach_counted(kept: &[&str]) -> String {
    let webhooks = kept.iter().filter(|what| what.starts_with(KEPT_WEBHOOK)).count();
    let of_each = [(kept.len().saturating_sub(webhooks), "environment"), (webhooks, "webhook")];
    let some = of_each.into_iter().filter(|(count, _)| *count > 0);
    let names: Vec<String> = some.map(|(count, what)| counted(count, what)).collect();
    format!("{} that reach private addresses of before", names.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn an_edge_that_is_not_ready_has_answered_and_fails() {
        let of = |health: &str| {
            let running = Running { socket: PathBuf::new(), metrics: String::new(), health: health.to_owned() };
            running.health_findings(Names::Shown).iter().map(|finding| finding.level).collect::<Vec<_>>()
        };
        assert_eq!(of(NOT_READY), [Level::Fail]);
        assert_eq!(of("ready\n"), [Level::Ok]);
        assert_eq!(of("ready\nloading: 1 of 2 live versions\n"), [Level::Warn]);
    }

    #[test]
    fn what_is_live_and_reaches_private_addresses_of_before_is_a_warning_with_the_line_to_add() {
        let line = r#"version 12 of shop in prod reaches 10.0.0.5: allow = ["10.0.0.5"]"#;
        let health = format!("ready\nreach: {line}\n");
        let running = Running { socket: PathBuf::new(), metrics: String::new(), health };
        let found = running.health_findings(Names::Shown).remove(0);
        assert_eq!((found.level, found.found.as_str()), (Level::Warn, line));
        assert!(found.advice.unwrap().contains("below [upstreams] in edge.toml"));
        let counted = running.health_findings(Names::Counted).remove(0);
        assert!(counted.found.starts_with("1 environment") && !counted.found.contains("shop"), "{counted:?}");
        let of_webhook = r#"the webhook chat of shop reaches 10.0.0.5: allow = ["10.0.0.5"]"#;
        let health = format!("ready\nreach: {line}\nreach: {of_webhook}\n");
        let running = Running { health, ..running };
        let counted = running.health_findings(Names::Counted).remove(0);
        assert!(counted.found.starts_with("1 environment and 1 webhook that reach"), "{counted:?}");
    }

    #[test]
    fn an_instance_that_listens_on_all_addresses_is_a_warning_with_what_to_do() {
        let line = "edge-1/web.1 of shop in prod listens on all addresses of the machine, past the edge";
        let health = format!("ready\nopen: {line}\nopen: {line}\n");
        let running = Running { socket: PathBuf::new(), metrics: String::new(), health };
        let found = running.health_findings(Names::Shown);
        assert_eq!((found.len(), found[0].level, found[0].found.as_str()), (2, Level::Warn, line));
        assert!(found[0].advice.as_ref().unwrap().contains("127.0.0.1"), "{found:?}");
        let counted = running.health_findings(Names::Counted);
        assert_eq!(counted.len(), 1);
        assert!(counted[0].found.starts_with("2 instances") && !counted[0].found.contains("shop"), "{counted:?}");
    }

    #[test]
    fn what_todays_checks_refuse_of_a_live_version_is_a_warning_with_what_to_do() {
        let line = "version 12 of shop in prod: the upstream `api`: `ca` is no PEM of certificates";
        let health = format!("ready\nmistake: {line}\n");
        let running = Running { socket: PathBuf::new(), metrics: String::new(), health };
        let found = running.health_findings(Names::Shown).remove(0);
        assert_eq!((found.level, found.found.as_str()), (Level::Warn, line));
        assert!(found.advice.unwrap().contains("push the bundle again"));
        let counted = running.health_findings(Names::Counted).remove(0);
        assert!(counted.found.starts_with("1 live version") && !counted.found.contains("shop"), "{counted:?}");
    }

    #[test]
    fn damage_is_found_with_what_to_do_about_it() {
        let (of_catalog, of_files) = ("damaged: data/catalog.redb was moved", "damaged: version 12 of shop in prod");
        let of = |metrics: &str, health: &str| {
            let health = format!("ready\n{health}\n");
            let running = Running { socket: PathBuf::new(), metrics: metrics.to_owned(), health };
            let found = running.health_findings(Names::Shown).remove(0);
            (found.level, found.advice.unwrap_or_default())
        };
        let (level, advice) = of("devanture_catalog_replaced 1\n", of_catalog);
        assert!(level == Level::Fail && advice.contains("catalog-replaced.md"), "{advice}");
        let (level, advice) = of("devanture_catalog_damaged 1\n", CATALOG_DAMAGED_LINE);
        assert!(level == Level::Fail && advice.contains("catalog-damaged.md"), "{advice}");
        let (level, advice) = of("devanture_catalog_replaced 0\n", of_files);
        assert!(level == Level::Fail && advice.contains("damaged-files.md"), "{advice}");
        let (level, advice) = of("devanture_stored_files{kind=\"quarantine\"} 3\n", "");
        assert!(level == Level::Warn && advice.contains("quarantine.md"), "{advice}");
        assert_eq!(of("devanture_stored_files{kind=\"quarantine\"} 0\n", "").0, Level::Ok);
        let (level, advice) = of("", "unwritable: the disk of data_dir: Read-only file system");
        assert!(level == Level::Fail && advice.contains("disk-unwritable.md"), "{advice}");
        let (level, advice) =
            of("", "backend: version 12 of shop in prod has a backend, and this edge has no [runner]");
        assert!(level == Level::Fail && advice.contains("enabled = true below [runner]"), "{advice}");
    }
}
