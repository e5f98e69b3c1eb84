//! `[server.schedule.NAME]`: a command of a backend that runs at the times of a cron expression.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::command::address_in;
use super::mistaken::EntryMistake;
use crate::cron::{Cron, Zone};
use crate::parsing::reader::Table;
use crate::text::text_form;

/// Maximum number of schedules of a backend.
pub const SCHEDULES_MAX: usize = 50;
/// Maximum time limit of a command in a file, in milliseconds: a day. `schedule_ms_max` of the edge may be less.
const TIMEOUT_MS_MAX: u64 = 86_400_000;
const MISSED: &[(&str, Missed)] = &[("once", Missed::Once), ("skip", Missed::Skip)];

/// Name of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScheduleName(String);

/// Error for an invalid schedule name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a schedule: 1 to 32 lower-case letters, digits, - and _, beginning with a letter")]
pub struct BadScheduleName(pub String);

impl ScheduleName {
    /// Returns the text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ScheduleName {
    type Err = BadScheduleName;

    fn from_str(text: &str) -> Result<Self, BadScheduleName> {
        let is_fine = (1..=32).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if is_fine { Ok(Self(text.to_owned())) } else { Err(BadScheduleName(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_form!(ScheduleName, BadScheduleName);

/// Handling of times at which the edge was down or the environment paused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// A single run for all missed times.
    #[default]
    Once,
    /// No run.
    Skip,
}

/// Table `[server.schedule.NAME]`; missing keys are `None`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleTable {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Times of the runs.
    pub cron: Cron,
    /// Handling of missed times; `once` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<Missed>,
    /// True if a run may begin before the end of the previous run; `false` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<bool>,
    /// Time limit of a run, in milliseconds; by default, and at most, `schedule_ms_max` of the edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Time zone of `cron`; UTC by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
}

/// Schedules of a table `[server]`, by name.
pub type ScheduleTables = BTreeMap<ScheduleName, ScheduleTable>;

/// Effective schedule, with a value for every key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Name.
    pub name: ScheduleName,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Times of the runs.
    pub cron: Cron,
    /// Time zone of `cron`.
    pub zone: Zone,
    /// Handling of missed times.
    pub missed: Missed,
    /// True if a run may begin before the end of the previous run.
    pub overlap: bool,
    /// Time limit of a run, in milliseconds, if set in the file.
    pub timeout_ms: Option<u64>,
}

impl ScheduleTable {
    pub(super) fn resolved(&self, name: &ScheduleName) -> Schedule {
        Schedule {
            name: name.clone(),
            command: self.command.clone(),
            cron: self.cron.clone(),
            zone: self.zone.clone().unwrap_or_default(),
            missed: self.missed.unwrap_or_default(),
            overlap: self.overlap.unwrap_or(false),
            timeout_ms: self.timeout_ms,
        }
    }
}

/// Returns the mistakes of schedules; `bad_command` checks a command.
pub(super) fn mistakes(
    schedules: &ScheduleTables,
    bad_command: impl Fn(&[String]) -> Option<&'static str>,
) -> Vec<EntryMistake> {
    let mut found = Vec::new();
    let mut wrong = |message: String| found.push(EntryMistake { key: "schedule", message });
    for (name, schedule) in schedules {
        if let Some(why) = bad_command(&schedule.command) {
            wrong(format!("`{name}`: `command` {why}"));
        }
        if schedule.timeout_ms.is_some_and(|timeout| !(100..=TIMEOUT_MS_MAX).contains(&timeout)) {
            wrong(format!("`{name}`: `timeout_ms` must lie between 100 and {TIMEOUT_MS_MAX}"));
        }
        if let Some(variable) = address_in(&schedule.command) {
            wrong(format!("`{name}`: `command` names `${variable}`, which only instances of `web` have"));
        }
    }
    if schedules.len() > SCHEDULES_MAX {
        wrong(format!("holds more than {SCHEDULES_MAX} schedules"));
    }
    found
}

/// Reads `[server.schedule.*]`, if present.
pub(super) fn schedules(server: &Table<'_, '_>) -> Option<ScheduleTables> {
    if !server.has("schedule") {
        return None;
    }
    let mut schedules = ScheduleTables::new();
    for (name, table) in server.named_tables("schedule") {
        let cron = table.parsed("cron");
        if cron.is_none() && !table.has("cron") {
            table
                .mistaken(format!("`{}` is missing: when the command runs, such as \"0 8 * * *\"", table.full("cron")));
        }
        let schedule = cron.map(|cron| ScheduleTable {
            command: table.list("command").unwrap_or_default(),
            cron,
            missed: table.word("missed", MISSED),
            overlap: table.boolean("overlap"),
            timeout_ms: table.integer("timeout_ms", 100..=TIMEOUT_MS_MAX),
            zone: table.parsed("zone"),
        });
        table.know(&["command", "cron", "missed", "overlap", "timeout_ms", "zone"]);
        table.finish();
        match name.parse() {
            Ok(name) => schedules.extend(schedule.map(|schedule| (name, schedule))),
            Err(error) => table.mistaken(error.to_string()),
        }
    }
    Some(schedules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site_toml::SiteFile;

    const SHOP: &str = "app = \"shop\"\n[server]\ncommand = [\"node\", \"server.js\"]\n[server.schedule.digest]\n\
        cron = \"0 8 * * *\"\nzone = \"Europe/Paris\"\ncommand = [\"node\", \"digest.js\"]\n\
        [env.staging.server]\nschedule = {}\n";

    #[test]
    fn a_schedule_is_read_with_its_defaults_and_an_environment_may_have_none() {
        let file = SiteFile::parse("devanture.toml", SHOP).unwrap();
        let schedules = |serving: &crate::site_toml::Serving| serving.server.clone().unwrap().resolved().schedules;
        let found = schedules(&file.base);
        let [digest] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((digest.name.as_str(), digest.zone.as_str()), ("digest", "Europe/Paris"));
        assert_eq!((digest.missed, digest.overlap, digest.timeout_ms), (Missed::Once, false, None));
        let over = &file.env[&"staging".parse::<crate::PlaceName>().unwrap()];
        assert!(schedules(&file.base.clone().overlaid_by(over)).is_empty());
        let written = serde_json::to_string(&file.base).unwrap();
        assert_eq!(serde_json::from_str::<crate::site_toml::Serving>(&written).unwrap(), file.base);
    }

    #[test]
    fn every_mistake_of_a_schedule_has_its_line() {
        let head = "[server]\ncommand = [\"a\"]\n[server.schedule.a]\n";
        for (line, rest, part) in [
            (3, "command = [\"b\"]", "`server.schedule.a.cron` is missing"),
            (4, "cron = \"* * * *\"\ncommand = [\"b\"]", "five fields"),
            (4, "cron = \"* * * * * *\"\ncommand = [\"b\"]", "five fields"),
            (3, "cron = \"@daily\"", "`a`: `command` must name a program"),
            (3, "cron = \"@daily\"\ncommand = [\"b\", \"$PORT\"]", "which only instances of `web` have"),
            (5, "cron = \"@daily\"\nzone = \"Paris\"\ncommand = [\"b\"]", "no time zone"),
            (5, "cron = \"@daily\"\nmissed = \"all\"\ncommand = [\"b\"]", "missed"),
            (5, "cron = \"@daily\"\ntimeout_ms = 1\ncommand = [\"b\"]", "timeout_ms"),
            (5, "cron = \"@daily\"\nevery = 1\ncommand = [\"b\"]", "every"),
            (
                4,
                "cron = \"@daily\"\ncommand = [\"b\"]\n[server.schedule.B]\ncron = \"@daily\"\ncommand = [\"b\"]",
                "not the name",
            ),
        ] {
            let mistakes = SiteFile::parse("f", &format!("{head}{rest}\n")).unwrap_err().0;
            let found = mistakes.iter().find(|mistake| mistake.message.contains(part));
            assert!(found.is_some_and(|mistake| mistake.line >= line), "{rest}: {mistakes:?}");
        }
    }

    #[test]
    fn ten_thousand_schedules_are_refused() {
        let all: String = (0..10_000)
            .map(|number| format!("[server.schedule.a{number}]\ncron = \"* * * * *\"\ncommand = [\"b\"]\n"))
            .collect();
        let mistakes = SiteFile::parse("f", &format!("[server]\ncommand = [\"a\"]\n{all}")).unwrap_err();
        assert!(mistakes.to_string().contains("more than 50 schedules"));
    }
}
