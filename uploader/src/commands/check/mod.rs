//! `check`: prints the findings of `devanture-check` in `devanture.toml`, in the rules and in the files of a folder.
//!
//! `against_live` compares with an edge if one is set, `explain` is `--explain`, and `findings` prints the findings.

mod against_live;
mod explain;
mod findings;

use std::path::Path;

use devanture_check::{CheckOptions, CheckReport, CheckRequest, FILE_BYTES_MAX, FilesBeside, Finding, Looked, Verdict};
use devanture_config::PlaceName;
use devanture_config::manifest::halves::Half;
use devanture_config::manifest::parts::LOST_HINT;
use devanture_config::problem::Code;
use devanture_project::ProjectError;
use devanture_project::folders::Folders;

use self::explain::Explanation;
use super::bundle_notes;
use crate::args::{CheckArgs, Format};
use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::report::{byte_text, counted};
use crate::settings::Source;

/// Upper bound of named files among those too large for an analysis.
const NAMED_MAX: usize = 5;

/// `check`; `read` contains the mistakes of `devanture.toml`.
///
/// # Errors
/// `missing_folder`, `empty_bundle`, `bad_bundle`, `unreadable_file`, `bad_config`, `bad_rules`, `check_failed` or
/// `warnings`.
pub(crate) async fn run(context: &Context, args: &CheckArgs, read: Result<(), ProjectError>) -> Result<(), Failure> {
    let folders = context.project.folders(args.dir.as_deref());
    let folders = folders.map(|folders| folders.only(args.half.only, args.dir.is_some()));
    // Mistakes of the file itself come first.
    let examined = match read.and(folders) {
        Ok(folders) => examine(context, args, folders).await.map_err(|failure| reported(context, failure, &[]))?,
        Err(error) => Err(error),
    };
    match examined {
        Ok(report) => {
            // A push of one half removes no part of the other.
            let lost = match args.half.only {
                None => against_live::lost_parts(context, &report.manifest).await,
                Some(_) => None,
            };
            conclude(context, args, &report, lost)
        }
        Err(error) if is_unbuilt(args, &error) => {
            pass_unbuilt(context, &error);
            Ok(())
        }
        // Mistakes in the form of the file, or files that no bundle can contain.
        Err(error) => {
            let (error, findings) = with_files(context, args, error).await?;
            if args.format == Format::Github {
                annotate(context, &findings);
            }
            Err(reported(context, error.into(), &findings))
        }
    }
}

/// Returns true if the only mistake is a missing or empty folder, and that is allowed: before the first build.
fn is_unbuilt(args: &CheckArgs, error: &ProjectError) -> bool {
    let lacks_files = error.is(Code::MissingFolder) || error.is(Code::EmptyBundle);
    args.if_built && error.mistakes.is_empty() && lacks_files
}

fn pass_unbuilt(context: &Context, error: &ProjectError) {
    context.progress.note(&error.message);
    let value = serde_json::json!({ "ok": true, "built": false });
    context.output.write(&value, || vec!["Nothing was checked: the project is not built.".to_owned()]);
}

/// Runs the checks.
///
/// # Errors
/// `usage` if a setting has an invalid name, `internal` if the check itself fails.
async fn examine(
    context: &Context,
    args: &CheckArgs,
    folders: Folders,
) -> Result<Result<CheckReport, ProjectError>, Failure> {
    context.settings.explicit_app()?;
    let _working = context.progress.working("check", &folders.www.path().display().to_string());
    let (project, places) = (context.project.clone(), places(context)?);
    let request = CheckRequest { project, folders, places, options: options(args) };
    beside_signals(move || request.run()).await
}

/// Adds the mistakes of the files to an `error` of the configuration, and returns both as findings, too.
///
/// # Errors
/// `internal` if the files could not be checked.
async fn with_files(
    context: &Context,
    args: &CheckArgs,
    error: ProjectError,
) -> Result<(ProjectError, Vec<Finding>), Failure> {
    let files = FilesBeside {
        project: context.project.clone(),
        dir: args.dir.clone(),
        places: places(context).unwrap_or_default(),
        is_strict: args.strict,
    };
    beside_signals(move || files.add_to(error)).await
}

/// Calls `check` off the thread that receives Ctrl-C.
async fn beside_signals<T: Send + 'static>(check: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let checked = tokio::task::spawn_blocking(check).await;
    checked.map_err(|error| Failure::new(Code::Internal, format!("The check failed: {error}.")))
}

const fn options(args: &CheckArgs) -> CheckOptions {
    CheckOptions { is_strict: args.strict, allows_doubts: args.allow_warnings }
}

/// Returns the environments to check: that of the settings; by default `prod` and all that `devanture.toml` names.
fn places(context: &Context) -> Result<Vec<PlaceName>, Failure> {
    let environment = context.settings.environment()?;
    let is_explicit = environment.source != Source::Default;
    let mut places = vec![environment.value];
    if !is_explicit {
        let named = context.project.site.env.keys().filter(|name| !name.is_prod());
        places.extend(named.cloned());
    }
    Ok(places)
}

/// Prints the findings, and fails if necessary; `lost` is the sentence about parts of the live version that a push
/// would remove.
fn conclude(context: &Context, args: &CheckArgs, report: &CheckReport, lost: Option<String>) -> Result<(), Failure> {
    let CheckReport { scan, guessed, looked, .. } = report;
    bundle_notes::print(context, scan, *guessed);
    print_rest(context, looked);
    let findings = report.findings();
    let is_listed = !looked.findings.is_empty();
    let Verdict { error, allowed } = report.judge(options(args));
    // One list of all findings, in the order of files, if the reasons are of several kinds.
    let is_mixed = is_listed && error.as_ref().is_some_and(|error| !error.mistakes.is_empty());
    match args.format {
        Format::Github => annotate(context, &findings),
        Format::Text | Format::Json if context.output.is_json || !is_listed => {}
        Format::Text | Format::Json if is_mixed => context.output.lines(&findings::lines(&findings)),
        Format::Text | Format::Json => context.output.lines(&findings::lines(&looked.findings)),
    }
    let error = match lost {
        Some(lost) if error.is_none() && !args.allow_warnings => {
            Some(ProjectError::new(Code::Warnings, lost).hint(LOST_HINT))
        }
        Some(lost) => {
            context.progress.note(&lost);
            error
        }
        None => error,
    };
    match error {
        Some(error) if is_mixed && args.format == Format::Text && !context.output.is_json => {
            Err(error.with_mistakes(Vec::new()).into())
        }
        Some(error) if findings.is_empty() && is_unbuilt(args, &error) => {
            pass_unbuilt(context, &error);
            Ok(())
        }
        Some(error) => Err(reported(context, error.into(), &findings)),
        None => {
            allowed.iter().for_each(|doubt| context.progress.note(&doubt.to_string()));
            let explained = explain::explained(context, *guessed)?;
            print_success(context, args, report, &Notes { findings: &findings, explained });
            Ok(())
        }
    }
}

/// Writes the line of `--json` for a failure, which has more members than that of other commands.
fn reported(context: &Context, failure: Failure, findings: &[Finding]) -> Failure {
    if !context.output.is_json {
        return failure;
    }
    let mut value = failure.json();
    if let Some(members) = value.as_object_mut() {
        members.insert("findings".to_owned(), serde_json::json!(findings));
    }
    context.output.json(&value);
    Failure { is_printed: true, ..failure }
}

fn count(number: usize, thing: &str) -> String {
    counted(number as u64, thing)
}

/// Prints the parts that were not analyzed.
fn print_rest(context: &Context, looked: &Looked) {
    if let Some(more) = looked.too_large.len().checked_sub(1) {
        let named: Vec<&str> = looked.too_large.iter().take(NAMED_MAX).map(String::as_str).collect();
        let and = if more >= NAMED_MAX { format!(" and {} more", more + 1 - NAMED_MAX) } else { String::new() };
        let most = byte_text(FILE_BYTES_MAX);
        context.progress.note(&format!("not looked into, since larger than {most}: {}{and}", named.join(", ")));
    }
    if looked.has_unknown_fragments {
        context.progress.note("there are too many places in pages and links to them; some were not looked at");
    }
    if looked.more > 0 {
        context.progress.note(&format!("{} are not listed", count(looked.more, "more finding")));
    }
}

fn annotate(context: &Context, findings: &[Finding]) {
    if findings.is_empty() || context.output.is_json {
        return;
    }
    let folder = std::env::current_dir().unwrap_or_default();
    let workspace = context.environment.get("GITHUB_WORKSPACE").map(Path::new);
    context.output.lines(&findings::annotations(findings, &folder, workspace));
}

/// Notes printed beside the findings.
struct Notes<'t> {
    findings: &'t [Finding],
    explained: Option<Explanation>,
}

fn print_success(context: &Context, args: &CheckArgs, report: &CheckReport, notes: &Notes<'_>) {
    let Notes { findings, explained } = notes;
    let CheckReport { www, scan, manifest, guessed, of_rules, looked, .. } = report;
    let doubts = report.doubts();
    let project = &context.project;
    if !project.exists {
        context.progress.note(&format!("there is no {}; `devanture init` writes one", project.file_name));
    }
    // Only a push resolves a tag; and the id of one half depends on the other.
    let tag = manifest.image().filter(|image| !image.is_fixed());
    let id = (args.half.only.is_none() && tag.is_none()).then(|| manifest.id());
    let mut value = serde_json::json!({
        "ok": true,
        "www": www,
        "version": id,
        "files": { "total": scan.count() },
        "bytes": { "total": scan.total_bytes() },
        "left_out": scan.left_out,
        "guessed_rules": guessed,
        "doubts": of_rules,
        "findings": findings,
        "not_looked_into": looked.too_large,
    });
    if let (Some(server), Some(members)) = (&scan.server, value.as_object_mut()) {
        members.insert("server".to_owned(), server.json());
    }
    if let (Some(explained), Some(members)) = (explained, value.as_object_mut()) {
        members.insert("explained".to_owned(), explained.json());
    }
    if args.format == Format::Github && !context.output.is_json {
        return;
    }
    context.output.write(&value, || {
        let (folder, files) = match &scan.server {
            Some(server) if scan.files.is_empty() => (server.folder.display(), server.text()),
            Some(_) | None => (www.display(), scan.text()),
        };
        let and = if doubts > 0 { format!(", and {}", count(doubts, "doubt")) } else { String::new() };
        let mut lines = explained.as_ref().map(|all| all.lines(context.output.style)).unwrap_or_default();
        if let (Some(image), None) = (tag, args.half.only) {
            let text = format!("a push finds what the tag of {image} leads to, so the version's id is not known yet");
            lines.push(context.output.style.line("note", &text));
        }
        lines.push(match (id, args.half.only) {
            (Some(id), _) => format!("No mistakes{and}. {folder} holds {files}: version {}.", id.short()),
            (None, Some(Half::Backend)) => format!("No mistakes{and}. The backend has {files}."),
            (None, _) => format!("No mistakes{and}. {folder} holds {files}."),
        });
        lines
    });
}
