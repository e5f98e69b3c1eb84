//! Findings of `check`, and how they are printed: for people, for CI, and as JSON.

use std::path::Path;

use devanture_config::parsing::{Mistake, Weight};
use serde::Serialize;

use crate::output::exit::Failure;
use crate::output::report::counted;

/// The code of what is wrong with `devanture.toml`.
pub(crate) const CONFIG: &str = "config";
/// The code of what is wrong with rules.
pub(crate) const RULES: &str = "rules";
/// The code of what no bundle can hold.
pub(crate) const BUNDLE: &str = "bundle";
/// Findings of one code and target that are printed with their places.
const PLACES_MAX: usize = 5;

/// Something that is wrong, or may be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Finding {
    /// The file, as the person knows it.
    pub(crate) file: String,
    /// The line, from 1; 0 where the whole file is meant.
    pub(crate) line: usize,
    /// The column, from 1; 0 where it is not known.
    pub(crate) column: usize,
    /// The stable code.
    pub(crate) code: &'static str,
    /// Whether it is a doubt.
    #[serde(rename = "severity", serialize_with = "severity")]
    pub(crate) is_doubt: bool,
    /// The message, as a sentence without its full stop.
    pub(crate) message: String,
    /// The hint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// The address or the name that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
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

    fn place(&self) -> String {
        match (self.line, self.column) {
            (0, _) => self.file.clone(),
            (line, 0) => format!("{}:{line}", self.file),
            (line, column) => format!("{}:{line}:{column}", self.file),
        }
    }

    fn text(&self) -> String {
        let weight = if self.is_doubt { "doubt: " } else { "" };
        let hint = self.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
        format!("{}: {weight}{}: {}{hint}", self.place(), self.code, self.message)
    }

    /// A workflow command of GitHub Actions.
    fn annotation(&self, file: &str) -> String {
        let kind = if self.is_doubt { "warning" } else { "error" };
        let mut properties = vec![format!("file={}", property(file))];
        if self.line > 0 {
            properties.push(format!("line={}", self.line));
        }
        if self.column > 0 {
            properties.push(format!("col={}", self.column));
        }
        properties.push(format!("title={}", property(&format!("devanture check: {}", self.code))));
        let hint = self.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
        format!("::{kind} {}::{}", properties.join(","), data(&format!("{}{hint}", self.message)))
    }
}

/// As the runner's own toolkit escapes the text of a command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// As the runner's own toolkit escapes a property of a command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Sorts by file, line and column.
pub(crate) fn sort(findings: &mut [Finding]) {
    findings.sort_by(|one, two| (&one.file, one.line, one.column).cmp(&(&two.file, two.line, two.column)));
}

/// Sorts the mistakes of a failure by file and line.
pub(crate) fn sorted(mut failure: Failure) -> Failure {
    failure.mistakes.sort_by(|one, two| (&one.file, one.line).cmp(&(&two.file, two.line)));
    failure
}

/// A line for each, for a person; of many places with one fault, such as a link of every page, the first ones.
pub(crate) fn lines(findings: &[Finding]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut counts: std::collections::HashMap<(&str, bool, &str), usize> = std::collections::HashMap::new();
    for finding in findings {
        let about = finding.target.as_deref().unwrap_or(&finding.message);
        let count = counts.entry((finding.code, finding.is_doubt, about)).or_default();
        *count += 1;
        if *count <= PLACES_MAX {
            lines.push(finding.text());
        }
    }
    let mut more: Vec<_> = counts.into_iter().filter(|(_, count)| *count > PLACES_MAX).collect();
    more.sort_unstable();
    lines.extend(more.into_iter().map(|((code, _, about), count)| {
        let rest = count - PLACES_MAX;
        format!("… and {code} in {}: {about}", counted(rest, "more place"))
    }));
    lines
}

/// The commands that make annotations of GitHub Actions. `folder` is where the paths begin, and `workspace` the clone,
/// from which GitHub counts.
pub(crate) fn annotations(findings: &[Finding], folder: &Path, workspace: Option<&Path>) -> Vec<String> {
    let from_clone = |file: &str| {
        let whole = folder.join(file);
        let inside = workspace.and_then(|workspace| whole.strip_prefix(workspace).ok());
        inside.map_or_else(|| file.to_owned(), |inside| inside.display().to_string())
    };
    findings.iter().map(|finding| finding.annotation(&from_clone(&finding.file))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(line: usize, column: usize, is_doubt: bool) -> Finding {
        Finding {
            file: "dist/a,b.html".to_owned(),
            line,
            column,
            code: "broken-link",
            is_doubt,
            message: "nothing answers /100%\nx".to_owned(),
            hint: Some("fix it".to_owned()),
            target: Some("/x".to_owned()),
        }
    }

    #[test]
    fn a_finding_is_reported_with_its_place() {
        let texts = lines(&[finding(3, 7, false), finding(3, 0, true), finding(0, 0, true)]);
        assert_eq!(texts[0], "dist/a,b.html:3:7: broken-link: nothing answers /100%\nx (fix it)");
        assert!(texts[1].starts_with("dist/a,b.html:3: doubt: broken-link: "));
        assert!(texts[2].starts_with("dist/a,b.html: doubt: "));
    }

    #[test]
    fn one_fault_in_many_places_is_listed_a_few_times() {
        let many: Vec<Finding> = (1..=20).map(|line| finding(line, 1, false)).collect();
        let texts = lines(&many);
        assert_eq!(texts.len(), PLACES_MAX + 1);
        assert_eq!(texts[PLACES_MAX], "… and broken-link in 15 more places: /x");
    }

    #[test]
    fn annotations_are_escaped_as_the_runner_does_it() {
        let workspace = Path::new("/clone");
        let counts =
            annotations(&[finding(3, 7, false), finding(0, 0, true)], Path::new("/clone/web"), Some(workspace));
        assert_eq!(
            counts,
            [
                "::error file=web/dist/a%2Cb.html,line=3,col=7,title=devanture check%3A broken-link\
                 ::nothing answers /100%25%0Ax (fix it)",
                "::warning file=web/dist/a%2Cb.html,title=devanture check%3A broken-link\
                 ::nothing answers /100%25%0Ax (fix it)",
            ]
        );
        let outside = annotations(&[finding(1, 0, false)], Path::new("/else"), Some(workspace));
        assert!(outside[0].starts_with("::error file=dist/a%2Cb.html,line=1,"), "{outside:?}");
    }

    #[test]
    fn the_json_says_its_severity_as_a_word() {
        let value = serde_json::to_value(finding(1, 2, true)).unwrap();
        assert_eq!((&value["severity"], &value["column"]), (&"doubt".into(), &2.into()));
    }
}
