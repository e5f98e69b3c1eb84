//! Mistakes of a `[server]` table, alone and merged with the layers below.

use std::collections::BTreeMap;

use super::command::address_in;
use super::image::is_system_folder;
use super::mistaken::EntryMistake;
use super::php;
use super::process::{Instances, Kind, ListenOn, MainKind, WEB};
use super::routes::ROUTES_MAX;
use super::schedule;
use super::server::{CPU_PERCENT_MAX, INSTANCES_MAX, MEMORY_MB_MAX, PROCESSES_MAX, SERVER_MS_MAX, ServerTable};

/// Maximum number of words of a command.
const COMMAND_WORDS_MAX: usize = 256;
/// Maximum bytes of a word.
const COMMAND_WORD_BYTES_MAX: usize = 32_768;
/// Maximum length of a health check's path, in bytes.
const HEALTH_PATH_BYTES_MAX: usize = 4_096;

impl ServerTable {
    /// Returns all mistakes of the table alone.
    #[must_use]
    pub fn mistakes(&self) -> Vec<EntryMistake> {
        let mut found = php::mistakes(self);
        let mut wrong = |key, message: String| found.push(EntryMistake { key, message });
        for (key, command) in [("command", &self.command), ("release", &self.release)] {
            if let Some(why) = command.as_deref().and_then(bad_command) {
                wrong(key, why.to_owned());
            }
        }
        for (name, process) in self.processes.iter().flatten() {
            if let Some(why) = bad_command(&process.command) {
                wrong("processes", format!("`{name}`: `command` {why}"));
            }
            if process.instances.is_some_and(|instances| instances.alone() > INSTANCES_MAX) {
                wrong("processes", format!("`{name}`: `instances` must lie between 0 and {INSTANCES_MAX}"));
            }
            if name.kind() == Kind::Web && process.overlap == Some(false) {
                wrong("processes", format!("`{name}`: `overlap` is true: requests would find nobody during a switch"));
            }
        }
        if self.processes.as_ref().is_some_and(|processes| processes.len() > PROCESSES_MAX) {
            wrong("processes", format!("holds more than {PROCESSES_MAX} processes"));
        }
        let ranges = [
            ("cpu_percent", self.cpu_percent, 1..=CPU_PERCENT_MAX),
            ("drain_ms", self.drain_ms, 0..=SERVER_MS_MAX),
            ("instances", self.instances.map(Instances::alone), 0..=INSTANCES_MAX),
            ("memory_mb", self.memory_mb, 16..=MEMORY_MB_MAX),
            ("start_ms", self.start_ms, 100..=SERVER_MS_MAX),
            ("stop_ms", self.stop_ms, 0..=SERVER_MS_MAX),
            ("warm_ms", self.warm_ms, 0..=SERVER_MS_MAX),
        ];
        for (key, value, range) in ranges {
            if value.is_some_and(|value| !range.contains(&value)) {
                wrong(key, format!("must lie between {} and {}", range.start(), range.end()));
            }
        }
        if self.routes.as_ref().is_some_and(|routes| routes.len() > ROUTES_MAX) {
            wrong("routes", format!("holds more than {ROUTES_MAX} paths"));
        }
        let is_path = |path: &str| {
            path.starts_with('/')
                && path.len() <= HEALTH_PATH_BYTES_MAX
                && path.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
        };
        if self.health.as_deref().is_some_and(|path| !is_path(path)) {
            wrong("health", format!("must be a path from / on, of at most {HEALTH_PATH_BYTES_MAX} bytes"));
        }
        found.extend(self.schedule.iter().flat_map(|schedules| schedule::mistakes(schedules, bad_command)));
        found
    }

    /// Returns the commands with an address variable that the command does not get. Stored manifests may have such
    /// commands.
    pub(super) fn misplaced_addresses(&self) -> Vec<EntryMistake> {
        let mut found = Vec::new();
        let mut check = |key, which: &str, command: &[String], why: &str| {
            if let Some(name) = address_in(command) {
                let message = format!("{which}names `${name}`, which {why}");
                found.push(EntryMistake { key, message });
            }
        };
        let no_web = "only instances of `web` have";
        if let Some(release) = &self.release {
            check("release", "", release, no_web);
        }
        if let (Some(command), Some(MainKind::Worker)) = (&self.command, self.kind) {
            check("command", "", command, no_web);
        }
        for (name, process) in self.processes.iter().flatten().filter(|(name, _)| name.kind() == Kind::Worker) {
            check("processes", &format!("`{name}`: `command` "), &process.command, no_web);
        }
        if let (Some(command), Some(listen)) = (&self.command, self.listen)
            && self.kind != Some(MainKind::Worker)
        {
            let (other, why) = match listen {
                ListenOn::Port => ("SOCKET", "instances have with `listen = \"socket\"` alone"),
                ListenOn::Socket => ("PORT", "instances with `listen = \"socket\"` do not have: they have `$SOCKET`"),
            };
            if address_in(command) == Some(other) {
                check("command", "", command, why);
            }
        }
        found
    }

    /// Returns the mistake of the table merged with all layers below, if any.
    #[must_use]
    pub fn incomplete(&self) -> Option<EntryMistake> {
        let wrong = |key, message: &str| Some(EntryMistake { key, message: message.to_owned() });
        let is_php = self.kind == Some(MainKind::Php);
        if let Some(key) = php::own_keys(self).next().filter(|_| !is_php) {
            return wrong(key, php::FOR_PHP);
        }
        if is_php && self.command.is_some() {
            return wrong("command", php::STARTS_ITSELF);
        }
        if is_php && self.image.is_some() {
            return wrong("image", "has no place beside kind = \"php\": the edge starts php-fpm over a folder");
        }
        if let (Some(_), Some(persist)) = (&self.image, &self.persist)
            && is_system_folder(persist)
        {
            return wrong("persist", &format!("is `/{persist}` in the container, which is a folder of its system"));
        }
        let has_command = self.command.is_some() || self.image.is_some() || is_php;
        if !has_command && self.processes.as_ref().is_none_or(BTreeMap::is_empty) {
            return wrong("command", "is missing: say how the backend is started, such as [\"node\", \"server.js\"]");
        }
        let server = self.resolved();
        let main = if self.kind == Some(MainKind::Worker) { "worker" } else { WEB };
        if (is_php || self.command.is_some()) && self.processes.iter().flatten().any(|(name, _)| name.as_str() == main)
        {
            return wrong("processes", &format!("says `{main}` again, which is what `command` starts"));
        }
        let has_web = server.processes.iter().any(|process| process.kind == Kind::Web);
        if !has_web && self.routes.as_ref().is_some_and(|routes| !routes.is_empty()) {
            return wrong("routes", "leads to processes of the kind `web`, and there is none");
        }
        None
    }
}

/// Returns the mistake of a command, if any.
fn bad_command(words: &[String]) -> Option<&'static str> {
    match words.first() {
        None => Some("must name a program"),
        Some(program) if program.is_empty() => Some("must name a program"),
        _ if words.len() > COMMAND_WORDS_MAX => Some("has more than 256 words"),
        _ if words.iter().any(|word| word.len() > COMMAND_WORD_BYTES_MAX || word.contains('\0')) => {
            Some("has a word that is too long, or holds a NUL")
        }
        _ => None,
    }
}
