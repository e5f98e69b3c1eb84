//! Printed findings: for people, and as annotations of GitHub Actions.

use std::path::Path;

use devanture_check::Finding;

use crate::output::report::counted;

/// Upper bound of findings of one code and target that are printed with their places.
const PLACES_MAX: usize = 5;

fn place(finding: &Finding) -> String {
    match (finding.line, finding.column) {
        (0, _) => finding.file.clone(),
        (line, 0) => format!("{}:{line}", finding.file),
        (line, column) => format!("{}:{line}:{column}", finding.file),
    }
}

fn text(finding: &Finding) -> String {
    let weight = if finding.is_doubt { "doubt: " } else { "" };
    let hint = finding.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
    format!("{}: {weight}{}: {}{hint}", place(finding), finding.code, finding.message)
}

/// A workflow command of GitHub Actions.
fn annotation(finding: &Finding, file: &str) -> String {
    let kind = if finding.is_doubt { "warning" } else { "error" };
    let mut properties = vec![format!("file={}", property(file))];
    if finding.line > 0 {
        properties.push(format!("line={}", finding.line));
    }
    if finding.column > 0 {
        properties.push(format!("col={}", finding.column));
    }
    properties.push(format!("title={}", property(&format!("devanture check: {}", finding.code))));
    let hint = finding.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
    format!("::{kind} {}::{}", properties.join(","), data(&format!("{}{hint}", finding.message)))
}

/// Escapes the text of a command, like the runner's own toolkit.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property of a command, like the runner's own toolkit.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Returns a line for each finding, for a person; of many places with one fault, such as a link on every page, the
/// first ones.
pub(crate) fn lines(findings: &[Finding]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut counts: std::collections::HashMap<(&str, bool, &str), usize> = std::collections::HashMap::new();
    for finding in findings {
        let about = finding.target.as_deref().unwrap_or(&finding.message);
        let count = counts.entry((finding.code, finding.is_doubt, about)).or_default();
        *count += 1;
        if *count <= PLACES_MAX {
            lines.push(text(finding));
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

/// Returns the commands that make annotations of GitHub Actions. `folder` is the base of the paths, and `workspace` the
/// clone, to which GitHub's paths are relative.
pub(crate) fn annotations(findings: &[Finding], folder: &Path, workspace: Option<&Path>) -> Vec<String> {
    let from_clone = |file: &str| {
        let whole = folder.join(file);
        let inside = workspace.and_then(|workspace| whole.strip_prefix(workspace).ok());
        inside.map_or_else(|| file.to_owned(), |inside| inside.display().to_string())
    };
    findings.iter().map(|finding| annotation(finding, &from_clone(&finding.file))).collect()
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
}
