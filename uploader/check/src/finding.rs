//! Findings: each with a place, a code and a JSON form.

use devanture_config::parsing::{Mistake, Weight};
use devanture_project::ProjectError;
use serde::Serialize;

/// The code of mistakes in `devanture.toml`.
pub(crate) const CONFIG: &str = "config";
/// The code of mistakes in rules.
pub(crate) const RULES: &str = "rules";
/// The code of files that no bundle can contain.
pub(crate) const BUNDLE: &str = "bundle";

/// A mistake or a warning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file, as the user knows it.
    pub file: String,
    /// The line, from 1; 0 for the whole file.
    pub line: usize,
    /// The column, from 1; 0 if unknown.
    pub column: usize,
    /// The stable code.
    pub code: &'static str,
    /// Set for a warning.
    #[serde(rename = "severity", serialize_with = "severity")]
    pub is_doubt: bool,
    /// The message, as a sentence without its full stop.
    pub message: String,
    /// The hint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The address or the name that the finding concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

fn severity<S: serde::Serializer>(is_doubt: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *is_doubt { "doubt" } else { "mistake" })
}

impl Finding {
    /// A mistake in a file of settings or rules.
    pub(crate) fn of_mistake(mistake: &Mistake, code: &'static str) -> Self {
        Self {
            file: mistake.file.clone(),
            line: mistake.line,
            column: 0,
            code,
            is_doubt: mistake.weight == Weight::Doubt,
            message: mistake.message.clone(),
            hint: mistake.hint.clone(),
            target: None,
        }
    }
}

/// Sorts by file, line and column.
pub(crate) fn sort(findings: &mut [Finding]) {
    findings.sort_by(|one, two| (&one.file, one.line, one.column).cmp(&(&two.file, two.line, two.column)));
}

/// Sorts the mistakes of an error by file and line.
pub(crate) fn sorted(mut error: ProjectError) -> ProjectError {
    error.mistakes.sort_by(|one, two| (&one.file, one.line).cmp(&(&two.file, two.line)));
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_says_its_severity_as_a_word() {
        let message = "nothing answers /x".to_owned();
        let mistake = Mistake { file: "a.html".to_owned(), line: 1, weight: Weight::Doubt, message, hint: None };
        let finding = Finding { column: 2, ..Finding::of_mistake(&mistake, "broken-link") };
        let value = serde_json::to_value(finding).unwrap();
        assert_eq!((&value["severity"], &value["column"]), (&"doubt".into(), &2.into()));
    }
}
