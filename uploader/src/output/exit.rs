//! Failures: the message of a stopped command, and its exit code.

use std::fmt;
use std::time::Duration;

use devanture_config::parsing::Mistake;
use devanture_config::problem::{Code, Exit, Problem, ReachedLimit};
use devanture_config::text::counted;
use devanture_project::ProjectError;
use serde::Serialize;

use super::terminal;

/// The exit code after Ctrl-C: 128 and the number of SIGINT, as in shells.
pub(crate) const INTERRUPTED: u8 = 130;
/// The exit code after SIGTERM, which CI sends to a cancelled job.
pub(crate) const TERMINATED: u8 = 143;

/// The reason why a command stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The stable code; a text, since a newer edge may have codes of its own.
    pub(crate) code: String,
    /// The message, as a sentence.
    pub(crate) message: String,
    /// The hint.
    pub(crate) hint: Option<Box<str>>,
    /// Mistakes of files, if they are the reason.
    pub(crate) mistakes: Box<[Mistake]>,
    /// Further reasons named by the edge; boxed, as most failures have none.
    pub(crate) details: Option<Box<Details>>,
    /// Set if the line of `--json` has been written already.
    pub(crate) is_printed: bool,
    /// Set if no message is printed, since the exit code is the whole result.
    pub(crate) is_silent: bool,
    /// The exit code.
    pub(crate) exit: u8,
}

/// The reasons beside mistakes that an edge may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Details {
    /// The reached limit.
    pub(crate) limit: Option<ReachedLimit>,
    /// The last lines of the log of the instance.
    pub(crate) lines: Vec<String>,
}

impl Failure {
    /// Makes a failure with `code` and the sentence `message`.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code: code.as_str().to_owned(),
            message: message.into(),
            hint: None,
            mistakes: Box::default(),
            details: None,
            is_printed: false,
            is_silent: false,
            exit: number(code.exit()),
        }
    }

    /// Creates the failure of a command ended by a signal, with the exit code of the signal: Ctrl-C's is
    /// [`INTERRUPTED`].
    pub(crate) fn interrupted(exit: u8) -> Self {
        let message =
            if exit == INTERRUPTED { "The command was interrupted." } else { "The command was stopped by a signal." };
        Self { code: "interrupted".to_owned(), exit, ..Self::new(Code::Internal, message) }
    }

    /// Creates the end of a command that ran and has printed its own message.
    pub(crate) fn silent(exit: u8) -> Self {
        Self { is_silent: true, exit, ..Self::new(Code::Internal, "The command ended.") }
    }

    /// Adds the remedy.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into().into());
        self
    }

    /// Adds the wait requested by the edge, unless its own hint states the wait.
    pub(crate) fn asked_to_wait(self, wait: Duration) -> Self {
        let text = format!("the edge asks to come again in {}", counted(wait.as_secs(), "second"));
        match self.hint.as_deref() {
            Some(hint) if hint.contains(" again in ") => self,
            Some(hint) => {
                let both = format!("{hint}; {text}");
                self.hint(both)
            }
            None => self.hint(text),
        }
    }

    /// The text for a person: the sentence, the mistakes and the lines of an instance.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mistakes = self.mistakes.iter().map(ToString::to_string);
        let lines = self.details.iter().flat_map(|details| &details.lines).map(|line| format!("    | {line}"));
        std::iter::once(self.message.clone()).chain(mistakes).chain(lines).collect()
    }

    /// Returns the sentence and the mistakes, each on a separate line.
    fn without_lines(&self) -> String {
        let mistakes = self.mistakes.iter().map(|mistake| format!("\n{mistake}"));
        std::iter::once(self.message.clone()).chain(mistakes).collect()
    }

    /// Returns true if the failure has the code `code`.
    pub(crate) fn is(&self, code: Code) -> bool {
        self.code == code.as_str()
    }

    /// The line of `--json`.
    pub(crate) fn json(&self) -> serde_json::Value {
        #[derive(Serialize)]
        struct Error<'f> {
            code: &'f str,
            message: String,
            hint: Option<&'f str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            limit: Option<&'f ReachedLimit>,
            #[serde(skip_serializing_if = "<[Mistake]>::is_empty")]
            mistakes: &'f [Mistake],
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            lines: &'f [String],
        }
        let Self { code, hint, mistakes, .. } = self;
        let (limit, lines) = match self.details.as_deref() {
            Some(Details { limit, lines }) => (limit.as_ref(), lines.as_slice()),
            None => (None, [].as_slice()),
        };
        let message = self.without_lines();
        let error = Error { code, message, hint: hint.as_deref(), limit, mistakes, lines };
        serde_json::json!({ "error": error })
    }
}

/// The text for a person, escaped for a terminal.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&terminal::lines(self.lines().iter().map(String::as_str)))
    }
}

impl From<ProjectError> for Failure {
    fn from(error: ProjectError) -> Self {
        let ProjectError { code, message, hint, mistakes } = error;
        Self { hint, mistakes, ..Self::new(code, message) }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let has_details = problem.limit.is_some() || !problem.lines.is_empty();
        let message = if problem.detail.is_empty() { problem.title } else { problem.detail };
        Self {
            hint: problem.hint.map(Into::into),
            mistakes: problem.mistakes.into(),
            details: has_details.then(|| Box::new(Details { limit: problem.limit, lines: problem.lines })),
            ..Self::new(problem.code, message)
        }
    }
}

/// Returns the exit code of the shell.
const fn number(exit: Exit) -> u8 {
    match exit {
        Exit::Done => 0,
        Exit::Refused => 1,
        Exit::Usage => 2,
        Exit::Unreachable => 3,
        Exit::Forbidden => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_line_has_code_message_and_hint_even_where_there_is_none() {
        let line = Failure::new(Code::NotFound, "No app `x`.").json().to_string();
        assert_eq!(line, r#"{"error":{"code":"not_found","hint":null,"message":"No app `x`."}}"#);
    }

    #[test]
    fn a_limit_keeps_its_name_in_the_hint_and_in_the_json_line() {
        let problem = Problem::new(Code::TooManyPushes, "Too many.").hint("try again in 12 minutes");
        let failure = Failure::from(problem.limit("pushes_per_hour_per_app_max", 60, 60));
        let failure = failure.asked_to_wait(Duration::from_secs(700));
        let hint = "try again in 12 minutes; `pushes_per_hour_per_app_max` in edge.toml is the limit";
        assert_eq!(failure.hint.as_deref(), Some(hint));
        let limit = serde_json::json!({ "name": "pushes_per_hour_per_app_max", "max": 60, "used": 60 });
        assert_eq!(failure.json()["error"]["limit"], limit);
        for (hint, expected) in [
            (Some("make room"), "make room; the edge asks to come again in 61 seconds"),
            (None, "the edge asks to come again in 61 seconds"),
        ] {
            let failure = Failure::new(Code::Busy, "It is busy.");
            let failure = hint.map_or_else(|| failure.clone(), |hint| failure.clone().hint(hint));
            assert_eq!(failure.asked_to_wait(Duration::from_secs(61)).hint.as_deref(), Some(expected));
        }
    }

    #[test]
    fn the_last_lines_of_an_instance_are_printed_below_the_reason_and_speak_to_no_terminal() {
        let problem = Problem::new(Code::ReleaseFailed, "It ended with 1.");
        let failure = Failure::from(problem.with_lines(vec!["Error: \u{1b}[2Jno".to_owned(), "at x".to_owned()]));
        assert_eq!(failure.to_string(), "It ended with 1.\n    | Error: \\u{1b}[2Jno\n    | at x");
        let json = failure.json();
        assert_eq!(json["error"]["message"], "It ended with 1.");
        assert_eq!(json["error"]["lines"], serde_json::json!(["Error: \u{1b}[2Jno", "at x"]));
    }

    #[test]
    fn a_problem_keeps_its_code_and_gets_the_exit_of_the_table() {
        for code in Code::ALL {
            let failure = Failure::from(Problem::new(*code, "").hint("h"));
            assert!(failure.is(*code));
            assert_eq!(failure.message, code.title());
            assert_eq!(failure.exit, code.exit() as u8);
        }
    }
}
