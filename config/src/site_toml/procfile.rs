//! `Procfile`: the processes of a backend, one per line, as `name: command of a shell`.

use std::collections::BTreeMap;

use super::process::ProcessName;
use super::route_path::RoutePath;
use super::server::{PROCESSES_MAX, ProcessTable};
use super::shell_line::in_shell;
use crate::api::SOURCE_RELEASE;
use crate::parsing::{Mistake, Mistakes, Weight};

/// Name of the file.
pub const PROCFILE: &str = "Procfile";

/// Content of a `Procfile`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Procfile {
    /// Processes, by name.
    pub processes: BTreeMap<ProcessName, ProcessTable>,
    /// Command that runs once before a switch.
    pub release: Option<Vec<String>>,
}

/// `Procfile` used in place of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromProcfile {
    /// Name of the file, for display.
    pub file: String,
    /// Default path to the backend, if no route is set.
    pub route: Option<RoutePath>,
}

/// Finder of a `Procfile` for a backend's folder, relative to `devanture.toml`: returns the name for display and the
/// content.
pub type FindProcfile<'f> = dyn FnMut(&str) -> Option<(String, String)> + 'f;

/// Parses `text`, with or without a byte order mark; `file` is the name in errors. Every command is a shell's; a single
/// command replaces the shell.
///
/// # Errors
/// All mistakes of the file.
pub fn parse(file: &str, text: &str) -> Result<Procfile, Mistakes> {
    let mut found = Procfile::default();
    let mut mistakes = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut wrong = |message: String, hint: &str| {
            let (file, hint) = (file.to_owned(), Some(hint.to_owned()));
            mistakes.push(Mistake { file, line: number + 1, weight: Weight::Mistake, message, hint });
        };
        let Some((name, command)) = line.split_once(':').map(|(name, command)| (name.trim(), command.trim())) else {
            wrong("this is no `name: command`".to_owned(), "web: node server.js");
            continue;
        };
        if command.is_empty() {
            wrong(format!("`{name}` has no command"), "web: node server.js");
            continue;
        }
        let command = in_shell(command);
        if name == SOURCE_RELEASE {
            found.release = Some(command);
            continue;
        }
        match name.parse::<ProcessName>() {
            Err(error) => wrong(error.to_string(), "web: node server.js"),
            Ok(name) if found.processes.contains_key(&name) => {
                wrong(format!("`{name}` is there twice"), "name each process once");
            }
            Ok(name) => drop(found.processes.insert(name, ProcessTable { command, instances: None, overlap: None })),
        }
    }
    if mistakes.is_empty() && (found.processes.is_empty() || found.processes.len() > PROCESSES_MAX) {
        let message = format!("it names {} processes, and must name 1 to {PROCESSES_MAX}", found.processes.len());
        mistakes.push(Mistake { file: file.to_owned(), line: 0, weight: Weight::Mistake, message, hint: None });
    }
    if mistakes.is_empty() { Ok(found) } else { Err(Mistakes(mistakes)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_procfile_names_processes_and_what_runs_before_a_switch() {
        let text = "# ours\nweb: node server.js --port $PORT\n\nmailer:  node mail.js; now\nrelease: npm run migrate\n";
        let found = parse("Procfile", text).unwrap();
        let shell = |command: &str| ["/bin/sh", "-c", command].map(str::to_owned).to_vec();
        let names: Vec<&str> = found.processes.keys().map(ProcessName::as_str).collect();
        assert_eq!(names, ["mailer", "web"]);
        let web = &found.processes[&"web".parse::<ProcessName>().unwrap()];
        assert_eq!((&web.command, web.instances), (&shell("exec node server.js --port $PORT"), None));
        assert_eq!(found.processes[&"mailer".parse::<ProcessName>().unwrap()].command, shell("node mail.js; now"));
        assert_eq!(found.release, Some(shell("exec npm run migrate")));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        for text in
            ["web: a\nmailer: b\n", "web: a\r\nmailer: b\r\n", "# ours\nweb: a\nmailer: b", "\nweb: a\nmailer: b"]
        {
            assert_eq!(parse("Procfile", &format!("\u{feff}{text}")), parse("Procfile", text), "{text:?}");
        }
        // A byte order mark is special at the beginning alone.
        assert_eq!(parse("Procfile", "web: a\n\u{feff}mailer: b\n").unwrap_err().0.len(), 1);
    }

    #[test]
    fn every_mistake_has_its_line() {
        let mistakes = parse("Procfile", "web: a\nweb: b\nWeb: c\nx:\nnothing\n").unwrap_err().0;
        assert_eq!(mistakes.iter().map(|mistake| mistake.line).collect::<Vec<_>>(), [2, 3, 4, 5]);
        assert!(parse("Procfile", "").is_err() && parse("Procfile", "release: a\n").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_processes_or_mistakes_whose_lines_are_there(text in "(web|a|A|): ?(b|\n|#|:){0,6}|.{0,40}") {
            if let Err(mistakes) = parse("Procfile", &text) {
                prop_assert!(!mistakes.0.is_empty());
                prop_assert!(mistakes.0.iter().all(|mistake| mistake.line <= text.lines().count()));
            }
        }
    }
}
