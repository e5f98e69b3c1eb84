//! `check`: looks for mistakes in `devanture.toml`, in the rules and in the files of a folder, without an edge.
//!
//! `html` and `css` find what pages and styles are made with, `links` asks whether it is answered, `secrets`,
//! `server_code` and `names` look at files by themselves; `analyze` goes through the folder of pages, `server` through
//! that of the backend, `hashes` at what has no hash, `beside` at files where `devanture.toml` has mistakes,
//! `against_live` compares with an edge where one is set, and `finding` prints the results.

mod against_live;
mod analyze;
mod beside;
mod css;
mod explain;
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

use std::io::Read as _;
use std::path::{Path, PathBuf};

use devanture_config::manifest::halves::Half;
use devanture_config::manifest::parts::LOST_HINT;
use devanture_config::parsing::{Mistake, Weight};
use devanture_config::path::BundlePath;
use devanture_config::problem::Code;
use devanture_config::site_toml::Rules;
use devanture_config::site_toml::check::{CheckTable, SECRET};
use devanture_config::{Manifest, PlaceName};

pub(crate) use self::analyze::FILE_BYTES_MAX;
use self::analyze::Looked;
use self::explain::Explanation;
use self::finding::{BUNDLE, Finding, RULES};
use super::bundle_notes;
use crate::args::{CheckArgs, Format};
use crate::bundle::rules::{self, RuleFiles};
use crate::bundle::scan::{Reading, Scan};
use crate::bundle::{self, Bundle};
use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::report::{byte_text, counted};
use crate::project::Project;
use crate::project::beneath::FilePath;
use crate::project::folders::Folders;
use crate::project::settings::Source;

/// Files that are named where they were too large to be looked into.
const NAMED_MAX: usize = 5;

/// `check`; `read` is what went wrong with `devanture.toml`.
///
/// # Errors
/// `missing_folder`, `empty_bundle`, `bad_bundle`, `unreadable_file`, `bad_config`, `bad_rules`, `check_failed` or
/// `warnings`.
pub(crate) async fn run(context: &Context, args: &CheckArgs, read: Result<(), Failure>) -> Result<(), Failure> {
    let folders = context.project.folders(args.dir.as_deref());
    let folders = folders.map(|folders| folders.only(args.half.only, args.dir.is_some()));
    // What is wrong with the file itself comes first.
    let examined = match read.and(folders) {
        Ok(folders) => examine(context, args, folders).await,
        Err(failure) => Err(failure),
    };
    match examined {
        Ok(mut examined) => {
            // One half takes nothing of the other away.
            if args.half.only.is_none() {
                examined.lost = against_live::lost_parts(context, &examined.manifest).await;
            }
            conclude(context, args, examined)
        }
        Err(failure) if is_unbuilt(args, &failure) => {
            pass_unbuilt(context, &failure);
            Ok(())
        }
        // What is wrong with the form of the file, or with what no bundle can hold.
        Err(failure) => {
            let (failure, findings) = beside::with_files(context, args, failure).await?;
            if args.format == Format::Github {
                annotate(context, &findings);
            }
            Err(reported(context, failure, &findings))
        }
    }
}

/// Whether nothing is wrong but that a folder is not there, or empty, which is meant to pass: before the first build.
fn is_unbuilt(args: &CheckArgs, failure: &Failure) -> bool {
    let lacks_files = failure.is(Code::MissingFolder) || failure.is(Code::EmptyBundle);
    args.if_built && failure.mistakes.is_empty() && lacks_files
}

fn pass_unbuilt(context: &Context, failure: &Failure) {
    context.progress.note(&failure.message);
    let value = serde_json::json!({ "ok": true, "built": false });
    context.output.write(&value, || vec!["Nothing was checked: the project is not built.".to_owned()]);
}

/// The result of all checks.
struct Examined {
    www: PathBuf,
    scan: Scan,
    manifest: Manifest,
    guessed: Option<Rules>,
    of_rules: Vec<Mistake>,
    looked: Looked,
    /// The sentence about parts of the live version that a push would remove.
    lost: Option<String>,
    /// Files that no bundle can hold.
    of_bundle: Option<Failure>,
}

/// Runs the checks on a thread of their own.
struct Task {
    folders: Folders,
    project: Project,
    places: Vec<PlaceName>,
    is_strict: bool,
    allows_doubts: bool,
}

impl Task {
    fn run(self) -> Result<Examined, Failure> {
        let Self { folders, project, places, is_strict, allows_doubts } = self;
        let (scan, of_bundle) = folders.walk(is_strict, Reading::All);
        let www = folders.www.path().to_owned();
        let guessed = bundle::guess_rules(&scan, &project, &www);
        let bundle = match folders.only {
            Some(_) => Ok(Bundle::unchecked(&scan, &project.site, guessed)),
            None => Bundle::of(&scan, &project.site, guessed),
        };
        let made = bundle.and_then(|bundle| Ok((bundle, RuleFiles::read(&scan, &www)?)));
        let (Bundle { manifest, .. }, files) = match (made, of_bundle.clone()) {
            (Ok(made), _) => made,
            (Err(failure), None) => return Err(failure),
            // That the bundle lacks what the folder would hold says less.
            (Err(_), Some(of_bundle)) if of_bundle.is(Code::MissingFolder) || of_bundle.is(Code::EmptyBundle) => {
                return Err(of_bundle);
            }
            (Err(failure), Some(of_bundle)) => return Err(of_bundle.and(failure)),
        };
        let mut of_rules = files.findings_in(&manifest, &project, &places);
        if of_bundle.is_some() || folders.only == Some(Half::Backend) {
            // Whether a rule has an effect depends on files that may be missing from what was read.
            of_rules.retain(|mistake| mistake.weight == Weight::Mistake);
        }
        let mut known = Vec::new();
        let mut rules = Vec::new();
        for place in &places {
            let serving = manifest.serving_for(place.as_str());
            // Environments that say the same answer the same.
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
            allows_doubts,
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
        Ok(Examined { www, scan, manifest, guessed, of_rules, looked, lost: None, of_bundle })
    }
}

async fn examine(context: &Context, args: &CheckArgs, folders: Folders) -> Result<Examined, Failure> {
    context.settings.explicit_app()?;
    let _working = context.progress.working("check", &folders.www.path().display().to_string());
    let (project, places) = (context.project.clone(), places(context)?);
    let (is_strict, allows_doubts) = (args.strict, args.allow_warnings);
    let task = Task { folders, project, places, is_strict, allows_doubts };
    // Off the thread that hears of Ctrl-C.
    let examined = tokio::task::spawn_blocking(|| task.run()).await;
    examined.map_err(|error| Failure::new(Code::Internal, format!("The check failed: {error}.")))?
}

/// The environments to check: the one of the settings; by default `prod` and every one that `devanture.toml` names.
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

/// Tells what was found, and whether that is a failure.
fn conclude(context: &Context, args: &CheckArgs, mut examined: Examined) -> Result<(), Failure> {
    let of_bundle = examined.of_bundle.take();
    let Examined { scan, guessed, of_rules, looked, lost, .. } = &examined;
    bundle_notes::print(context, scan, *guessed);
    print_rest(context, looked);
    let of_files = of_bundle.iter().flat_map(|failure| &failure.mistakes);
    let mut findings: Vec<Finding> = of_files.map(|mistake| Finding::of_mistake(mistake, BUNDLE)).collect();
    findings.extend(of_rules.iter().map(|mistake| Finding::of_mistake(mistake, RULES)));
    findings.extend(looked.findings.iter().cloned());
    finding::sort(&mut findings);
    let doubts = looked.findings.iter().filter(|finding| finding.is_doubt).count();
    let is_listed = !looked.findings.is_empty();
    let (failure, allowed) = judge(args, &examined, of_bundle, doubts);
    // One list of all, in the order of files, where the reasons are of several kinds.
    let is_mixed = is_listed && failure.as_ref().is_some_and(|failure| !failure.mistakes.is_empty());
    match args.format {
        Format::Github => annotate(context, &findings),
        Format::Text | Format::Json if context.output.is_json || !is_listed => {}
        Format::Text | Format::Json if is_mixed => context.output.lines(&finding::lines(&findings)),
        Format::Text | Format::Json => context.output.lines(&finding::lines(&looked.findings)),
    }
    let failure = match lost {
        Some(lost) if failure.is_none() && !args.allow_warnings => {
            Some(Failure::new(Code::Warnings, lost.clone()).hint(LOST_HINT))
        }
        Some(lost) => {
            context.progress.note(lost);
            failure
        }
        None => failure,
    };
    match failure {
        Some(failure) if is_mixed && args.format == Format::Text && !context.output.is_json => {
            Err(failure.with_mistakes(Vec::new()))
        }
        Some(failure) if findings.is_empty() && is_unbuilt(args, &failure) => {
            pass_unbuilt(context, &failure);
            Ok(())
        }
        Some(failure) => Err(reported(context, failure, &findings)),
        None => {
            allowed.iter().for_each(|doubt| context.progress.note(&doubt.to_string()));
            let explained = explain::explained(context, *guessed)?;
            print_success(context, args, &examined, &Notes { findings: &findings, doubts, explained });
            Ok(())
        }
    }
}

/// Why the check fails, if it does, and the doubts about rules that are allowed. No reason hides another.
fn judge(
    args: &CheckArgs,
    examined: &Examined,
    of_bundle: Option<Failure>,
    doubts: usize,
) -> (Option<Failure>, Vec<Mistake>) {
    let Examined { of_rules, looked, .. } = examined;
    let mistakes = looked.findings.len() - doubts + looked.more;
    let of_site = (mistakes > 0).then(|| {
        let and = if doubts > 0 { format!(", and {}", count(doubts, "doubt")) } else { String::new() };
        Failure::new(Code::CheckFailed, format!("The site has {}{and}.", count(mistakes, "mistake")))
            .hint("fix them, or name those that are meant in `ignore` below [check] of devanture.toml")
    });
    let judged = rules::judge(of_rules.clone(), Code::BadRules, args.allow_warnings);
    let (of_rules, of_doubts, allowed) = match judged {
        Err(failure) if failure.is(Code::BadRules) => (Some(failure), None, Vec::new()),
        Err(failure) => (None, Some(failure), Vec::new()),
        Ok(allowed) => (None, None, allowed),
    };
    let is_in_files = of_bundle.is_some() && (of_rules.is_some() || of_site.is_some());
    let failure = [of_bundle, of_site, of_rules].into_iter().flatten().reduce(Failure::and).or(of_doubts);
    let failure = failure.or_else(|| {
        (doubts > 0 && args.strict).then(|| {
            Failure::new(Code::Warnings, format!("The site has {}.", count(doubts, "doubt")))
                .hint("change that, or name those that are meant in `ignore` below [check] of devanture.toml")
        })
    });
    let failure = failure.map(|failure| if is_in_files { finding::sorted(failure) } else { failure });
    (failure, allowed)
}

/// Writes the line of `--json` for a failure, which has more in it than other commands' has.
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

/// Says what was not looked at.
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
    context.output.lines(&finding::annotations(findings, &folder, workspace));
}

/// Notes printed beside the findings.
struct Notes<'t> {
    findings: &'t [Finding],
    doubts: usize,
    explained: Option<Explanation>,
}

fn print_success(context: &Context, args: &CheckArgs, examined: &Examined, reported: &Notes<'_>) {
    let Notes { findings, doubts, explained } = reported;
    let Examined { www, scan, manifest, guessed, of_rules, looked, .. } = examined;
    let project = &context.project;
    if !project.exists {
        context.progress.note(&format!("there is no {}; `devanture init` writes one", project.file_name));
    }
    // A push alone finds what a tag leads to; and the id of one half is not known without the other.
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
        let and = if *doubts > 0 { format!(", and {}", count(*doubts, "doubt")) } else { String::new() };
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

/// Whether a file of a backend is one of settings, by its path.
pub(crate) fn is_settings_of_a_backend(path: &BundlePath) -> bool {
    server::is_settings(path) && !server::is_of_a_package(path)
}

/// One line about secrets in files that are about to be sent; `None` if there are none.
pub(crate) fn secrets_among<'f>(
    files: impl Iterator<Item = (&'f BundlePath, &'f FilePath, u64)>,
    table: &CheckTable,
) -> Option<String> {
    let mut found = SecretFiles::new(table);
    for (path, real, bytes) in files {
        if !found.is_looked_at(path.as_str(), bytes) {
            continue;
        }
        // What cannot be read will be said by who sends it.
        let mut read = Vec::new();
        if real.open().and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut read)).is_ok() {
            found.look(path.as_str(), &read);
        }
    }
    found.line()
}

/// Files with secrets among those that are about to be sent, one file after the other.
pub(crate) struct SecretFiles<'t> {
    table: &'t CheckTable,
    first: Option<String>,
    count: u64,
}

impl<'t> SecretFiles<'t> {
    /// No file yet; what `table` ignores is passed over.
    pub(crate) fn new(table: &'t CheckTable) -> Self {
        Self { table, first: None, count: 0 }
    }

    /// Whether secrets are looked for in a file of so many bytes.
    pub(crate) fn is_looked_at(&self, path: &str, bytes: u64) -> bool {
        bytes <= FILE_BYTES_MAX && !self.table.ignores(SECRET, path, None)
    }

    /// Looks at a file.
    pub(crate) fn look(&mut self, path: &str, bytes: &[u8]) {
        let found = secrets::scan(path, bytes);
        if let Some(secret) = found.into_iter().find(|s| s.code == SECRET && s.weight == Weight::Mistake) {
            self.count += 1;
            self.first.get_or_insert_with(|| format!("{path} holds {}", secret.what));
        }
    }

    /// The line about them; `None` if there are none.
    pub(crate) fn line(self) -> Option<String> {
        let and = match self.count.checked_sub(1)? {
            0 => String::new(),
            more => format!(", and {} hold{} such", counted(more, "more file"), if more == 1 { "s" } else { "" }),
        };
        Some(format!("{}{and}: `devanture check` lists what nobody should read", self.first?))
    }
}
