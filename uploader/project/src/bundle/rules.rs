//! Checks the rules of a bundle before an upload, with the code of the edge.

use std::io::Read;
use std::path::{Path, PathBuf};

use devanture_config::limits::TABLE;
use devanture_config::parsing::{Mistake, Weight};
use devanture_config::problem::Code;
use devanture_config::text::counted;
use devanture_config::{Manifest, PlaceName};
use devanture_site::rules::restricted::RestrictedPaths;
use devanture_site::rules::{self, FILE_BYTES_MAX, HEADERS_FILE, REDIRECTS_FILE, RuleSet};

use super::RULE_FILES;
use super::scan::Scan;
use crate::ProjectError;
use crate::{Project, without_dot};

/// The rule files of a folder.
#[derive(Debug, Default)]
pub struct RuleFiles {
    /// The folder of the files, for messages.
    www: PathBuf,
    redirects: Option<Vec<u8>>,
    headers: Option<Vec<u8>>,
}

impl RuleFiles {
    /// Reads the rule files in the folder, if any.
    ///
    /// # Errors
    /// `unreadable_file`.
    pub fn read(scan: &Scan, www: &Path) -> Result<Self, ProjectError> {
        let (redirects, headers) = (bytes_of(scan, REDIRECTS_FILE)?, bytes_of(scan, HEADERS_FILE)?);
        Ok(Self { www: www.to_owned(), redirects, headers })
    }

    /// Returns all mistakes of rules that must be fixed before a version goes live in `place`.
    pub fn findings(&self, manifest: &Manifest, project: &Project, place: &PlaceName) -> Vec<Mistake> {
        let mut all: Vec<Mistake> = Vec::new();
        for table in rules::tables_checked(manifest, place.as_str()) {
            let found = table.parse().map(|table| self.rules_in(manifest, project, &table).1).unwrap_or_default();
            all.extend(found.into_iter().filter(|finding| !all.contains(finding)).collect::<Vec<_>>());
        }
        all
    }

    /// Returns the rules for `place`, and all their mistakes.
    pub fn rules_in(&self, manifest: &Manifest, project: &Project, place: &PlaceName) -> (RuleSet, Vec<Mistake>) {
        let lines = project.site.lines_in(Some(place));
        let (redirects, headers) = (self.redirects.as_deref(), self.headers.as_deref());
        let at = |table, index| lines.at(table, index);
        let name = place.as_str();
        let (rules, mut found) =
            rules::of_manifest(manifest, name, redirects, headers, rules_max(), &project.file_name, &at);
        // The path for the user is relative to the working folder.
        for finding in found.iter_mut().filter(|finding| RULE_FILES.contains(&finding.file.as_str())) {
            finding.file = without_dot(self.www.join(&finding.file)).display().to_string();
        }
        (rules, found)
    }

    /// Returns the paths that the manifest and these files hide from visitors; `None` if there are too many for a
    /// comparison with paths.
    pub fn restricted(&self, manifest: &Manifest) -> Option<RestrictedPaths> {
        RestrictedPaths::of(manifest, self.redirects.as_deref(), self.headers.as_deref(), rules_max())
    }

    /// Returns all mistakes in any of `places`; a mistake that is missing in the first names its place.
    pub fn findings_in(&self, manifest: &Manifest, project: &Project, places: &[PlaceName]) -> Vec<Mistake> {
        let mut all: Vec<Mistake> = Vec::new();
        let mut common = None;
        for place in places {
            let found = self.findings(manifest, project, place);
            let common: &Vec<Mistake> = common.get_or_insert_with(|| found.clone());
            let is_first = places.first() == Some(place);
            for mut finding in found {
                if is_first {
                    all.push(finding);
                } else if !common.contains(&finding) {
                    finding.message = format!("in {place}: {}", finding.message);
                    all.push(finding);
                }
            }
        }
        all
    }
}

/// Returns the bytes of a bundle file, at most one byte beyond the limit.
fn bytes_of(scan: &Scan, name: &str) -> Result<Option<Vec<u8>>, ProjectError> {
    let Some(file) = scan.files.get(name) else { return Ok(None) };
    let mut bytes = Vec::new();
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let read = file.path.open().and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(|error| ProjectError::new(Code::UnreadableFile, format!("{name} cannot be read: {error}.")))?;
    Ok(Some(bytes))
}

/// Returns the largest possible limit: the edge's own may be lower, and is not known here.
fn rules_max() -> usize {
    let limit = TABLE.iter().find(|limit| limit.name == "rules_max");
    limit.and_then(|limit| usize::try_from(limit.range.1).ok()).unwrap_or(usize::MAX)
}

/// Refuses a bundle that cannot go live: mistakes with `code`, and warnings unless they are allowed; returns allowed
/// warnings.
///
/// # Errors
/// `code` or `warnings`, with all findings.
pub fn judge(mut findings: Vec<Mistake>, code: Code, allows_doubts: bool) -> Result<Vec<Mistake>, ProjectError> {
    // Errors come first.
    findings.sort_by_key(|finding| finding.weight == Weight::Doubt);
    let mistakes = findings.iter().filter(|finding| finding.weight == Weight::Mistake).count();
    let doubts = findings.len() - mistakes;
    let count = |number: usize, thing: &str| counted(number as u64, thing);
    if mistakes > 0 {
        let and = if doubts > 0 { format!(", and {}", count(doubts, "doubt")) } else { String::new() };
        let message = format!("The rules have {}{and}.", count(mistakes, "mistake"));
        return Err(ProjectError::new(code, message).with_mistakes(findings));
    }
    if doubts > 0 && !allows_doubts {
        let message = format!("The rules may not mean what they say: {}.", count(doubts, "doubt"));
        let failure = ProjectError::new(Code::Warnings, message).with_mistakes(findings);
        return Err(failure.hint("change them, or let them pass with --allow-warnings"));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::problem::Exit;

    fn finding(weight: Weight) -> Mistake {
        Mistake { file: REDIRECTS_FILE.to_owned(), line: 1, weight, message: "it is so".to_owned(), hint: None }
    }

    #[test]
    fn mistakes_are_refused_and_doubts_may_pass() {
        let (mistake, doubt) = (finding(Weight::Mistake), finding(Weight::Doubt));
        assert_eq!(judge(Vec::new(), Code::BadRules, false), Ok(Vec::new()));
        assert_eq!(judge(vec![doubt.clone()], Code::BadRules, true), Ok(vec![doubt.clone()]));
        let failure = judge(vec![doubt.clone()], Code::BadRules, false).unwrap_err();
        assert!(failure.is(Code::Warnings) && failure.code.exit() == Exit::Refused);
        let failure = judge(vec![doubt.clone(), mistake.clone()], Code::BadRules, true).unwrap_err();
        assert!(failure.is(Code::BadRules));
        assert_eq!(failure.message, "The rules have 1 mistake, and 1 doubt.");
        assert_eq!(*failure.mistakes, [mistake, doubt]);
    }
}
