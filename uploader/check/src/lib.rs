//! The mistakes and warnings that a push would report about a folder, found without an edge.
//!
//! `html` and `css` find the references of pages and styles, `links` checks that they are answered, `secrets`,
//! `server_code` and `names` look at single files; `analyze` goes through the folder of pages, `server` through that of
//! the backend, `hashes` finds assets without a hash, and `beside` checks files when `devanture.toml` has mistakes. The
//! results are data: [`CheckReport`], its [`Finding`]s and its [`Verdict`].

mod analyze;
mod beside;
mod css;
mod finding;
mod guards;
mod hashes;
mod html;
mod links;
mod names;
mod origins;
mod pins;
mod secrets;
mod server;
mod server_code;

use std::path::PathBuf;

use devanture_config::manifest::halves::Half;
use devanture_config::parsing::{Mistake, Weight};
use devanture_config::problem::Code;
use devanture_config::site_toml::Rules;
use devanture_config::text::counted;
use devanture_config::{Manifest, PlaceName};
use devanture_project::bundle::rules::{self, RuleFiles};
use devanture_project::bundle::scan::{Reading, Scan};
use devanture_project::bundle::{self, Bundle};
use devanture_project::folders::Folders;
use devanture_project::{Project, ProjectError};

pub use self::analyze::{FILE_BYTES_MAX, Looked};
pub use self::beside::FilesBeside;
pub use self::finding::Finding;
use self::finding::{BUNDLE, RULES};
pub use self::secrets::{SecretFiles, secrets_among};
pub use self::server::is_settings_of_a_backend;

/// The strictness of a check.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckOptions {
    /// Set if left-out files, and warnings, are refused.
    pub is_strict: bool,
    /// Set if warnings are allowed.
    pub allows_doubts: bool,
}

/// The input of a check.
#[derive(Debug)]
pub struct CheckRequest {
    /// The project.
    pub project: Project,
    /// The folders.
    pub folders: Folders,
    /// The environments of the checked rules.
    pub places: Vec<PlaceName>,
    /// The strictness.
    pub options: CheckOptions,
}

/// The result of all checks.
#[derive(Debug)]
pub struct CheckReport {
    /// The folder of the pages.
    pub www: PathBuf,
    /// The files.
    pub scan: Scan,
    /// The manifest that a push would send.
    pub manifest: Manifest,
    /// The guessed provider of the rule files, if no provider is configured.
    pub guessed: Option<Rules>,
    /// Mistakes and warnings about rules.
    pub of_rules: Vec<Mistake>,
    /// The findings in the files.
    pub looked: Looked,
    /// Files that no bundle can contain.
    pub of_bundle: Option<ProjectError>,
}

/// The verdict of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The reason of a failure, if any. No reason hides another.
    pub error: Option<ProjectError>,
    /// The allowed warnings about rules.
    pub allowed: Vec<Mistake>,
}

impl CheckRequest {
    /// Runs the checks, on several threads.
    ///
    /// # Errors
    /// `missing_folder`, `empty_bundle`, `bad_bundle` or `unreadable_file`, if no manifest can be made.
    pub fn run(self) -> Result<CheckReport, ProjectError> {
        let Self { project, folders, places, options } = self;
        let (scan, of_bundle) = folders.walk(options.is_strict, Reading::All);
        let www = folders.www.path().to_owned();
        let guessed = bundle::guess_rules(&scan, &project, &www);
        let bundle = match folders.only {
            Some(_) => Ok(Bundle::unchecked(&scan, &project.site, guessed)),
            None => Bundle::of(&scan, &project.site, guessed),
        };
        let made = bundle.and_then(|bundle| Ok((bundle, RuleFiles::read(&scan, &www)?)));
        let (Bundle { manifest, .. }, files) = match (made, of_bundle.clone()) {
            (Ok(made), _) => made,
            (Err(error), None) => return Err(error),
            // The error of the bundle is a mere consequence of the missing folder.
            (Err(_), Some(of_bundle)) if of_bundle.is(Code::MissingFolder) || of_bundle.is(Code::EmptyBundle) => {
                return Err(of_bundle);
            }
            (Err(error), Some(of_bundle)) => return Err(of_bundle.and(error)),
        };
        let mut of_rules = files.findings_in(&manifest, &project, &places);
        if of_bundle.is_some() || folders.only == Some(Half::Backend) {
            // The effect of a rule may depend on files missing from the scan.
            of_rules.retain(|mistake| mistake.weight == Weight::Mistake);
        }
        let mut known = Vec::new();
        let mut rules = Vec::new();
        for place in &places {
            let serving = manifest.serving_for(place.as_str());
            // Environments with equal settings answer alike.
            if !known.contains(&serving) {
                rules.push((place.to_string(), files.rules_in(&manifest, &project, place).0));
                known.push(serving);
            }
        }
        let mut looked = analyze::look(
            &scan,
            &manifest,
            (rules, files.restricted(&manifest).as_ref()),
            &project.site.check,
            &www,
            options.allows_doubts,
        )?;
        if let Some(server) = &scan.server {
            looked.findings.extend(server::secrets(server, &project.site.check));
        }
        if places.iter().any(PlaceName::is_prod) {
            looked.findings.extend(origins::local(&project.site));
        }
        looked.findings.extend(guards::open_in_previews(&project.site, &places));
        looked.findings.extend(pins::of_previews(&project.site));
        if let Some(of_bundle) = &of_bundle {
            looked.forget_missing(of_bundle, &www);
        }
        Ok(CheckReport { www, scan, manifest, guessed, of_rules, looked, of_bundle })
    }
}

impl CheckReport {
    /// Returns all findings, by file, line and column.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let of_files = self.of_bundle.iter().flat_map(|error| &error.mistakes);
        let mut findings: Vec<Finding> = of_files.map(|mistake| Finding::of_mistake(mistake, BUNDLE)).collect();
        findings.extend(self.of_rules.iter().map(|mistake| Finding::of_mistake(mistake, RULES)));
        findings.extend(self.looked.findings.iter().cloned());
        finding::sort(&mut findings);
        findings
    }

    /// Returns the number of warnings about files.
    #[must_use]
    pub fn doubts(&self) -> usize {
        self.looked.findings.iter().filter(|finding| finding.is_doubt).count()
    }

    /// Decides whether the check fails.
    #[must_use]
    pub fn judge(&self, options: CheckOptions) -> Verdict {
        let Self { of_rules, looked, .. } = self;
        let (of_bundle, doubts) = (self.of_bundle.clone(), self.doubts());
        let mistakes = looked.findings.len() - doubts + looked.more;
        let of_site = (mistakes > 0).then(|| {
            let and = if doubts > 0 { format!(", and {}", count(doubts, "doubt")) } else { String::new() };
            ProjectError::new(Code::CheckFailed, format!("The site has {}{and}.", count(mistakes, "mistake")))
                .hint("fix them, or name those that are meant in `ignore` below [check] of devanture.toml")
        });
        let judged = rules::judge(of_rules.clone(), Code::BadRules, options.allows_doubts);
        let (of_rules, of_doubts, allowed) = match judged {
            Err(error) if error.is(Code::BadRules) => (Some(error), None, Vec::new()),
            Err(error) => (None, Some(error), Vec::new()),
            Ok(allowed) => (None, None, allowed),
        };
        let is_in_files = of_bundle.is_some() && (of_rules.is_some() || of_site.is_some());
        let error = [of_bundle, of_site, of_rules].into_iter().flatten().reduce(ProjectError::and).or(of_doubts);
        let error = error.or_else(|| {
            (doubts > 0 && options.is_strict).then(|| {
                ProjectError::new(Code::Warnings, format!("The site has {}.", count(doubts, "doubt")))
                    .hint("change that, or name those that are meant in `ignore` below [check] of devanture.toml")
            })
        });
        let error = error.map(|error| if is_in_files { finding::sorted(error) } else { error });
        Verdict { error, allowed }
    }
}

fn count(number: usize, thing: &str) -> String {
    counted(number as u64, thing)
}
