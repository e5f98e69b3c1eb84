//! Mistakes of files beside those of a `devanture.toml` that cannot be taken as it is: neither hides the other.

use std::collections::BTreeMap;
use std::path::PathBuf;

use devanture_config::parsing::{Mistake, Weight};
use devanture_config::problem::Code;
use devanture_config::{Manifest, PlaceName};

use super::finding::{self, BUNDLE, CONFIG, Finding, RULES};
use crate::args::CheckArgs;
use crate::bundle::rules::RuleFiles;
use crate::bundle::scan::Reading;
use crate::bundle::{self, Bundle};
use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::report::counted;
use crate::project::Project;

/// Adds what is wrong with the files to a `failure` of the configuration, and returns both as findings, too. Another
/// failure stays as it is.
///
/// # Errors
/// `internal` where the files could not be looked at.
pub(super) async fn with_files(
    context: &Context,
    args: &CheckArgs,
    failure: Failure,
) -> Result<(Failure, Vec<Finding>), Failure> {
    let own_code = if failure.is(Code::BadConfig) { CONFIG } else { BUNDLE };
    let own = failure.mistakes.iter().map(|mistake| Finding::of_mistake(mistake, own_code));
    let mut findings: Vec<Finding> = own.collect();
    if !failure.is(Code::BadConfig) || failure.mistakes.is_empty() {
        return Ok((failure, findings));
    }
    let task = Task {
        project: context.project.clone(),
        dir: args.dir.clone(),
        places: super::places(context).unwrap_or_default(),
        is_strict: args.strict,
    };
    // Off the thread that hears of Ctrl-C.
    let found = tokio::task::spawn_blocking(|| task.run()).await;
    let found = found.map_err(|error| Failure::new(Code::Internal, format!("The check failed: {error}.")))?;
    let Some(found) = found else { return Ok((failure, findings)) };
    let mut mistakes = failure.mistakes.to_vec();
    for (code, mistake) in found.mistakes {
        if !mistakes.contains(&mistake) {
            findings.push(Finding::of_mistake(&mistake, code));
            mistakes.push(mistake);
        }
    }
    if mistakes.len() == failure.mistakes.len() {
        return Ok((failure, findings));
    }
    finding::sort(&mut findings);
    let message = format!("The project has {}.", counted(mistakes.len() as u64, "mistake"));
    Ok((finding::sorted(Failure { message, ..failure }.with_mistakes(mistakes)), findings))
}

struct Task {
    project: Project,
    dir: Option<PathBuf>,
    places: Vec<PlaceName>,
    is_strict: bool,
}

/// The findings, each with its code.
struct Found {
    mistakes: Vec<(&'static str, Mistake)>,
}

impl Task {
    /// `None` if it is not known which files are meant.
    fn run(self) -> Option<Found> {
        let project = self.project.despite_mistakes()?;
        let (folders, misled) = project.sound_folders(self.dir.as_deref())?;
        let (scan, failure) = folders.walk(self.is_strict, Reading::All);
        let www = folders.www.path().to_owned();
        let of_files = failure.into_iter().flat_map(|failure| failure.mistakes);
        let mut mistakes: Vec<(&'static str, Mistake)> = misled.into_iter().map(|mistake| (CONFIG, mistake)).collect();
        mistakes.extend(of_files.map(|mistake| (BUNDLE, mistake)));
        let guessed = bundle::guess_rules(&scan, &project, &www);
        let manifest = Bundle::of(&scan, &project.site, guessed).map_or_else(
            // Rules of the file itself can be read without any page.
            |_no_bundle| {
                let base = project.site.base.clone();
                Manifest { base, env: project.site.env.clone(), ..Manifest::of_files(BTreeMap::new()) }
            },
            |bundle| bundle.manifest,
        );
        // An unreadable one was found by the walk.
        let files = RuleFiles::read(&scan, &www).unwrap_or_default();
        // Whether a rule has an effect depends on what could not be read.
        let found = files.findings_in(&manifest, &project, &self.places).into_iter();
        mistakes.extend(found.filter(|mistake| mistake.weight == Weight::Mistake).map(|mistake| (RULES, mistake)));
        Some(Found { mistakes })
    }
}
