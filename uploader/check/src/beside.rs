//! Mistakes of files beside mistakes of an invalid `devanture.toml`: neither hides the other.

use std::collections::BTreeMap;
use std::path::PathBuf;

use devanture_config::parsing::{Mistake, Weight};
use devanture_config::problem::Code;
use devanture_config::text::counted;
use devanture_config::{Manifest, PlaceName};
use devanture_project::Project;
use devanture_project::ProjectError;
use devanture_project::bundle::rules::RuleFiles;
use devanture_project::bundle::scan::Reading;
use devanture_project::bundle::{self, Bundle};

use super::finding::{self, BUNDLE, CONFIG, Finding, RULES};

/// The files of a project with mistakes in the configuration.
#[derive(Debug)]
pub struct FilesBeside {
    /// The project.
    pub project: Project,
    /// The folder of the pages, if named on the command line.
    pub dir: Option<PathBuf>,
    /// The environments of the checked rules.
    pub places: Vec<PlaceName>,
    /// Set if files that would be left out are refused.
    pub is_strict: bool,
}

/// The findings, each with a code.
struct Found {
    mistakes: Vec<(&'static str, Mistake)>,
}

impl FilesBeside {
    /// Adds the mistakes of the files to an `error` of the configuration, and returns both as findings, too. Other
    /// errors stay unchanged.
    #[must_use]
    pub fn add_to(self, error: ProjectError) -> (ProjectError, Vec<Finding>) {
        let own_code = if error.is(Code::BadConfig) { CONFIG } else { BUNDLE };
        let own = error.mistakes.iter().map(|mistake| Finding::of_mistake(mistake, own_code));
        let mut findings: Vec<Finding> = own.collect();
        if !error.is(Code::BadConfig) || error.mistakes.is_empty() {
            return (error, findings);
        }
        let Some(found) = self.run() else { return (error, findings) };
        let mut mistakes = error.mistakes.to_vec();
        for (code, mistake) in found.mistakes {
            if !mistakes.contains(&mistake) {
                findings.push(Finding::of_mistake(&mistake, code));
                mistakes.push(mistake);
            }
        }
        if mistakes.len() == error.mistakes.len() {
            return (error, findings);
        }
        finding::sort(&mut findings);
        let message = format!("The project has {}.", counted(mistakes.len() as u64, "mistake"));
        (finding::sorted(ProjectError { message, ..error }.with_mistakes(mistakes)), findings)
    }

    /// Runs the checks; `None` if the files are not known.
    fn run(self) -> Option<Found> {
        let project = self.project.despite_mistakes()?;
        let (folders, misled) = project.sound_folders(self.dir.as_deref())?;
        let (scan, error) = folders.walk(self.is_strict, Reading::All);
        let www = folders.www.path().to_owned();
        let of_files = error.into_iter().flat_map(|error| error.mistakes);
        let mut mistakes: Vec<(&'static str, Mistake)> = misled.into_iter().map(|mistake| (CONFIG, mistake)).collect();
        mistakes.extend(of_files.map(|mistake| (BUNDLE, mistake)));
        let guessed = bundle::guess_rules(&scan, &project, &www);
        let manifest = Bundle::of(&scan, &project.site, guessed).map_or_else(
            // Rules in the file itself can be read without any page.
            |_no_bundle| {
                let base = project.site.base.clone();
                Manifest { base, env: project.site.env.clone(), ..Manifest::of_files(BTreeMap::new()) }
            },
            |bundle| bundle.manifest,
        );
        // An unreadable file was found by the walk.
        let files = RuleFiles::read(&scan, &www).unwrap_or_default();
        // The effect of a rule may depend on unreadable files.
        let found = files.findings_in(&manifest, &project, &self.places).into_iter();
        mistakes.extend(found.filter(|mistake| mistake.weight == Weight::Mistake).map(|mistake| (RULES, mistake)));
        Some(Found { mistakes })
    }
}
