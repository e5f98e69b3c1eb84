//! The commands about retention: `delete`, `undelete`, `gc`.

use std::io::{self, IsTerminal};

use devanture_config::api::{
    CollectReport, DeletedThing, PlaceDeleteReport, PurgeReport, UndeleteReport, UndeleteRequest, WhyCollected,
};
use devanture_config::problem::Code;
use devanture_config::{AppName, IdPrefix, PlaceName, VersionId};
use reqwest::Method;
use serde_json::json;

use super::dry_run;
use super::maintenance;
use crate::args::{Deletable, DeleteArgs, GcArgs, Undeletable, UndeleteArgs};
use crate::context::Context;
use crate::edge::client::Edge;
use crate::output::exit::Failure;
use crate::output::prompt::confirm;
use crate::output::report::{byte_text, counted, time_text};

/// Upper bound of versions named by `gc`; the rest is counted, and all are in `--json`.
const TOLD_MAX: usize = 50;
/// The flags that confirm a deletion.
const MEANT: &str = "--yes (or --now)";
/// The flag that confirms the deletion of an environment or app: a restore is possible, so that there is no separate
/// `--now`.
const PLACE_MEANT: &str = "--yes";
/// The sentence about a purge, in place of the command that restores.
const NO_WAY_BACK: &str = "with --purge it cannot be restored";

/// The thing to delete or restore.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    App(Option<AppName>),
    Environment(PlaceName),
    Path(String),
    Version(IdPrefix),
}

impl Target {
    fn of(kind: Undeletable, name: Option<&str>) -> Result<Self, Failure> {
        let wrong = |error: &dyn std::fmt::Display| Failure::new(Code::Usage, format!("{error}."));
        let missing = |what: &str, example: &str| {
            Failure::new(Code::Usage, format!("Which {what}?")).hint(format!("name it: `{what} {example}`"))
        };
        match (kind, name) {
            (Undeletable::App, None) => Ok(Self::App(None)),
            (Undeletable::App, Some(name)) => name.parse().map(|app| Self::App(Some(app))).map_err(|e| wrong(&e)),
            (Undeletable::Environment, Some(name)) => name.parse().map(Self::Environment).map_err(|e| wrong(&e)),
            (Undeletable::Environment, None) => Err(missing("environment", "staging")),
            (Undeletable::Version, Some(id)) => id.parse().map(Self::Version).map_err(|e| wrong(&e)),
            (Undeletable::Version, None) => Err(missing("version", "4f2a91")),
        }
    }

    fn edge(&self, context: &Context) -> Result<Edge, Failure> {
        match self {
            Self::App(Some(app)) => context.edge_of(app.clone()),
            Self::App(None) | Self::Environment(_) | Self::Path(_) | Self::Version(_) => context.edge(),
        }
    }
}

/// `delete`.
///
/// # Errors
/// `usage` if the name is not typed and `--yes` is not given, and the error of the edge.
pub(crate) async fn delete(context: &Context, args: &DeleteArgs) -> Result<(), Failure> {
    let target = match &args.what {
        Deletable::Named(kind) => Target::of(*kind, args.name.as_deref())?,
        Deletable::Path(_) | Deletable::Version(_) if args.name.is_some() => {
            return Err(Failure::new(Code::Usage, "A path and an id are deleted one at a time."));
        }
        Deletable::Path(path) => Target::Path(path.clone()),
        Deletable::Version(id) => Target::Version(id.clone()),
    };
    if args.undo {
        return have_back(context, &target, args.dry_run).await;
    }
    let is_meant = args.yes || args.now;
    if args.purge && matches!(target, Target::Path(_)) {
        return Err(Failure::new(Code::Usage, "A path is withdrawn, and its file stays: there is nothing to purge.")
            .hint("delete the versions that have it with --purge"));
    }
    let edge = target.edge(context)?;
    match &target {
        Target::App(_) => {
            delete_place(context, &edge, None, args).await.map_err(|failure| match failure.is(Code::NotFound) {
                // The edge's own hint is about the first push.
                true => failure.hint("check how its name is spelt; nothing was deleted"),
                false => failure,
            })
        }
        Target::Environment(name) => delete_place(context, &edge, Some(name), args).await,
        Target::Path(path) => {
            if !args.dry_run {
                let what = format!("`delete {path}` would end the path in every version that is stored, at once.");
                let way_back = "`--undo` takes it back, and a push of the same content does not";
                confirm(path, &what, way_back, MEANT, is_meant, context.output.is_json).await?;
            }
            maintenance::withdraw(context, &edge, path, args.dry_run).await
        }
        Target::Version(id) => {
            if !args.dry_run {
                // As for an environment: the effect is known before a person is asked.
                let is_asked = !is_meant && !context.output.is_json && io::stdin().is_terminal();
                let held_in = match is_asked {
                    true => edge.delete_version(id, true, args.purge).await?.held_in,
                    false => Vec::new(),
                };
                let held = released_text(&held_in).map_or_else(String::new, |text| format!(" {text}"));
                let what = format!("`delete {id}` would end the version and its preview at once.{held}");
                let way_back = match args.purge {
                    true => NO_WAY_BACK,
                    false => "`devanture undelete version` restores it for a while",
                };
                confirm(id.as_str(), &what, way_back, MEANT, is_meant, context.output.is_json).await?;
            }
            delete_version(context, &edge, id, args).await
        }
    }
}

async fn delete_place(
    context: &Context,
    edge: &Edge,
    environment: Option<&PlaceName>,
    args: &DeleteArgs,
) -> Result<(), Failure> {
    let (dry_run, purge) = (args.dry_run, args.purge);
    let yes = args.yes;
    if !dry_run {
        let (name, kind) = match environment {
            Some(environment) => (environment.as_str(), format!("environment {environment}")),
            None => (edge.app().as_str(), "app".to_owned()),
        };
        // The effect is known before a person is asked.
        let mut way_back = if purge { NO_WAY_BACK } else { "`devanture undelete` restores it for a while" };
        let what = match yes || context.output.is_json || !io::stdin().is_terminal() {
            true => format!("`delete {kind}` would end it on every hostname, at once."),
            false => {
                let foreseen = edge.delete_place(environment, true, purge).await?;
                if is_for_good(&foreseen) {
                    way_back = "nothing is live in it, so it cannot be restored";
                }
                let held = ended_text(&foreseen).map_or_else(String::new, |text| format!(" {text}"));
                format!("About to {}.{held}", foreseen_text(&foreseen))
            }
        };
        confirm(name, &what, way_back, PLACE_MEANT, yes, context.output.is_json).await?;
    }
    let report = edge.delete_place(environment, dry_run, purge).await?;
    let again = context.again().0;
    context.output.of_change(dry_run).report(&report, || {
        let undo = match &report.environment {
            Some(environment) => format!("devanture undelete environment {environment}{again}"),
            None => format!("devanture undelete app {}{again}", report.app),
        };
        if report.dry_run {
            let style = context.output.style;
            let mut lines = vec![format!("  {}  {}", style.dim("would   "), foreseen_text(&report))];
            lines.extend(ended_text(&report).map(|text| format!("  {text}")));
            lines.push(dry_run::nothing_changed(style));
            return lines;
        }
        let name = match &report.environment {
            Some(environment) => format!("The environment {environment} of the app {}", report.app),
            None => format!("The app {}", report.app),
        };
        if let Some(purged) = &report.purged {
            let mut lines = vec![format!("{name} is gone for good."), purged_line(purged)];
            lines.extend(ended_text(&report).map(|text| format!("  {text}")));
            return lines;
        }
        if is_for_good(&report) {
            return vec![format!("{name} is gone for good: nothing was live in it.")];
        }
        let mut lines = vec![
            format!(
                "{name} is gone: it answers nothing any more. Its names stay its own until {}.",
                time_text(report.until_ms)
            ),
            format!("undo  {undo}"),
        ];
        lines.splice(1..1, ended_text(&report));
        lines
    });
    Ok(())
}

/// Returns true for an environment without a live version, which cannot be restored.
fn is_for_good(report: &PlaceDeleteReport) -> bool {
    report.environment.is_some() && report.environments.is_empty()
}

/// Returns the sentence about visitors pinned to deleted earlier versions, if there may be any.
fn ended_text(report: &PlaceDeleteReport) -> Option<String> {
    let shorts: Vec<String> = report.pinned.iter().map(VersionId::short).collect();
    (!shorts.is_empty()).then(|| format!("Visitors are held on {} there, and are released.", shorts.join(", ")))
}

/// Returns the sentence about visitors pinned to a deleted version, if there may be any.
fn released_text(held_in: &[PlaceName]) -> Option<String> {
    let names: Vec<&str> = held_in.iter().map(PlaceName::as_str).collect();
    (!names.is_empty()).then(|| format!("Visitors of {} are held on it, and get what is live.", names.join(", ")))
}

fn foreseen_text(report: &PlaceDeleteReport) -> String {
    let hostnames = match report.hostnames.len() {
        0 => String::new(),
        count => format!(", {}", counted(count as u64, "hostname")),
    };
    match &report.environment {
        Some(environment) => {
            let end = if is_for_good(report) { ", in which nothing is live, for good" } else { "" };
            format!("delete the environment {environment} of the app {}{end}{hostnames}", report.app)
        }
        None => {
            let environments = counted(report.environments.len() as u64, "environment");
            let versions = counted(report.versions, "version");
            format!("delete the app {}: {environments}, {versions}{hostnames}", report.app)
        }
    }
}

/// The result of a purge.
fn purged_line(purged: &PurgeReport) -> String {
    if let Some(version) = purged.unreadable.first() {
        let short = version.short();
        return format!(
            "  no file is removed while the manifest of {short} is unreadable: push its bundle, or delete it"
        );
    }
    if let Some(remains) = purged.remains.as_ref().filter(|remains| remains.files == 0) {
        return format!("  what its backend kept remains: {}", remains.why);
    }
    if let Some(remains) = &purged.remains {
        let files = counted(remains.files, "file");
        let freed = byte_text(purged.removed.map_or(purged.bytes, |removed| removed.bytes));
        return format!("  freed {freed}; {} of {files} remain: {}", byte_text(remains.bytes), remains.why);
    }
    // Only an admin of every app learns the size of the removed files: the size reveals files of other apps.
    match purged.removed {
        Some(removed) => {
            let files = counted(removed.files, "file");
            format!("  freed {} of {files} that nothing else refers to", byte_text(removed.bytes))
        }
        None => {
            let files = counted(purged.files, "file");
            format!("  freed {} of {files} that no other version of the app has", byte_text(purged.bytes))
        }
    }
}

async fn delete_version(context: &Context, edge: &Edge, id: &IdPrefix, args: &DeleteArgs) -> Result<(), Failure> {
    let report = edge.delete_version(id, args.dry_run, args.purge).await?;
    if report.dry_run {
        let value = json!({
            "dry_run": true,
            "app": report.app,
            "version": report.version,
            "until_ms": report.until_ms,
            "would_delete": true,
            "held_in": report.held_in,
        });
        let for_good = if args.purge { " for good" } else { "" };
        let held = released_text(&report.held_in).map_or_else(String::new, |text| format!(". {text}"));
        let text = format!("delete {} and its preview{for_good}{held}", report.version.short());
        dry_run::print_foreseen(context, &value, &text);
        return Ok(());
    }
    let again = context.again().0;
    context.output.report(&report, || {
        let short = report.version.short();
        if let Some(purged) = &report.purged {
            let mut lines = vec![format!("{short} is gone for good, and so is its preview."), purged_line(purged)];
            lines.extend(released_text(&report.held_in).map(|text| format!("  {text}")));
            return lines;
        }
        let mut lines = vec![
            format!("{short} is gone, and so is its preview. Its files go after {}.", time_text(report.until_ms)),
            format!("undo  devanture undelete version {short}{again}"),
        ];
        lines.splice(1..1, released_text(&report.held_in));
        lines
    });
    Ok(())
}

/// `undelete`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn undelete(context: &Context, args: &UndeleteArgs) -> Result<(), Failure> {
    if let Some(kind) = args.what {
        return have_back(context, &Target::of(kind, args.name.as_deref())?, args.dry_run).await;
    }
    let edge = context.edge()?;
    let things = edge.deleted().await?;
    context.output.write(&json!({ "app": edge.app(), "deleted": things }), || match things.is_empty() {
        true => vec!["Nothing was deleted that could be restored.".to_owned()],
        false => things.iter().map(thing_line).collect(),
    });
    Ok(())
}

fn thing_name(app: &AppName, environment: Option<&PlaceName>, version: Option<&VersionId>) -> String {
    match (environment, version) {
        (Some(environment), _) => format!("environment {environment}"),
        (None, Some(version)) => format!("version {}", version.short()),
        (None, None) => format!("app {app}"),
    }
}

fn thing_line(thing: &DeletedThing) -> String {
    let name = thing_name(&thing.app, thing.environment.as_ref(), thing.version.as_ref());
    format!("{name:<32}  until {}  deleted {} by {}", time_text(thing.until_ms), time_text(thing.deleted_ms), thing.who)
}

async fn have_back(context: &Context, target: &Target, dry_run: bool) -> Result<(), Failure> {
    let edge = target.edge(context)?;
    let request = match target {
        Target::Path(path) => return maintenance::restore(context, &edge, path, dry_run).await,
        Target::App(_) => UndeleteRequest::default(),
        Target::Environment(name) => UndeleteRequest { environment: Some(name.clone()), version: None },
        Target::Version(id) => UndeleteRequest { environment: None, version: Some(id.to_string()) },
    };
    if dry_run {
        let report: UndeleteReport = edge.foresee(Method::POST, &["undelete"], &request).await?;
        let value = json!({
            "dry_run": true,
            "app": report.app,
            "would_undelete": { "environment": report.environment, "version": report.version },
            "lost_hostnames": report.lost_hostnames,
        });
        let name = thing_name(&report.app, report.environment.as_ref(), report.version.as_ref());
        dry_run::print_foreseen(context, &value, &format!("restore the {name}"));
        return Ok(());
    }
    let report = edge.undelete(&request).await?;
    context.output.report(&report, || {
        let name = match (&report.environment, &report.version) {
            (Some(environment), Some(version)) => {
                format!("The environment {environment}, with {} live,", version.short())
            }
            (Some(environment), None) => format!("The environment {environment}"),
            (None, Some(version)) => format!("The version {}", version.short()),
            (None, None) => format!("The app {}", report.app),
        };
        if report.lost_hostnames.is_empty() {
            return vec![format!("{name} is there again, as it was.")];
        }
        let lost: Vec<String> = report.lost_hostnames.iter().map(ToString::to_string).collect();
        vec![
            format!("{name} is there again, but for hostnames that went elsewhere meanwhile: {}.", lost.join(", ")),
            "An admin token for every app moves them back: devanture hostnames add NAME".to_owned(),
        ]
    });
    Ok(())
}

/// `gc`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn gc(context: &Context, args: &GcArgs) -> Result<(), Failure> {
    let report = context.link()?.collect(args.dry_run, args.force, args.purge).await?;
    let style = context.output.style;
    context.output.of_change(report.dry_run).report(&report, || {
        let mut lines = collect_lines(&report);
        if report.dry_run {
            lines.push(dry_run::nothing_changed(style));
        }
        lines
    });
    Ok(())
}

fn collect_lines(report: &CollectReport) -> Vec<String> {
    let mut lines: Vec<String> = report.apps.iter().map(|app| format!("  app          {app}")).collect();
    let places = report.environments.iter();
    lines.extend(places.map(|place| format!("  environment  {} of {}", place.environment, place.app)));
    for version in report.versions.iter().take(TOLD_MAX) {
        let why = match version.why {
            WhyCollected::AppDeleted => "its app was deleted",
            WhyCollected::Retention => "beyond what is kept",
            WhyCollected::VersionDeleted => "it was deleted",
        };
        let (short, stored) = (version.version.short(), time_text(version.stored_ms));
        lines.push(format!("  version      {short} of {}  stored {stored}  {why}", version.app));
    }
    if let Some(others) = report.versions.len().checked_sub(TOLD_MAX).filter(|others| *others > 0) {
        lines.push(format!("  … and {}; --json has all", counted(others, "more version")));
    }
    for version in &report.unreadable {
        lines.push(format!(
            "  unreadable   the manifest of {}: until its bundle is pushed again, or it is purged, no file goes",
            version.short()
        ));
    }
    if let Some(stopped) = &report.stopped {
        lines.push(format!(
            "  stopped      {} would go and only {} referred to: is this the right catalog? --force takes them",
            counted(stopped.unreferenced, "file"),
            if stopped.referenced == 1 { "1 is".to_owned() } else { format!("{} are", stopped.referenced) },
        ));
    }
    let (collects, frees) = if report.dry_run { ("would collect", "would free") } else { ("collected", "freed") };
    let (versions, files) = (counted(report.versions.len() as u64, "version"), counted(report.files, "file"));
    lines.push(format!("  {collects} {} in {files}; {versions}", byte_text(report.bytes)));
    if report.removed_files > 0 {
        let removed = counted(report.removed_files, "file");
        lines.push(format!("  {frees} {} of {removed} collected earlier", byte_text(report.removed_bytes)));
    }
    if report.more {
        lines.push("  there is more, which the next collection takes".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_has_a_name() {
        let of = |kind, name| Target::of(kind, name).map_err(|failure| failure.code);
        assert_eq!(of(Undeletable::App, None), Ok(Target::App(None)));
        assert_eq!(of(Undeletable::App, Some("shop")), Ok(Target::App(Some("shop".parse().unwrap()))));
        assert_eq!(of(Undeletable::Environment, Some("staging")), Ok(Target::Environment("staging".parse().unwrap())));
        for (kind, name) in [
            (Undeletable::Environment, None),
            (Undeletable::Version, None),
            (Undeletable::Version, Some("xyz")),
            (Undeletable::App, Some("a--b")),
        ] {
            assert_eq!(of(kind, name), Err("usage".to_owned()), "{kind:?} {name:?}");
        }
    }
}
