//! `data`: the persistent folder of an environment, its archives and snapshots.

mod bound;
mod download;
mod entries;
mod pack;
mod pull;

use std::path::Path;

use devanture_config::api::{DataKind, DataList, DataReport, SnapshotName, SnapshotRequest};
use devanture_config::problem::Code;
use serde_json::json;

use self::download::Source;
use super::dry_run;
use crate::args::{DataCommand, NodeArgs, PullArgs, PushDataArgs, SnapshotArgs};
use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::prompt::confirm;
use crate::output::report::{byte_text, counted, time_text};
use crate::output::terminal::escaped;

/// The ending of archives.
const ENDING: &str = ".tar.zst";

/// `data`.
///
/// # Errors
/// The error of the edge; errors of files on this machine.
pub(crate) async fn data(context: &Context, command: &DataCommand) -> Result<(), Failure> {
    match command {
        DataCommand::List { limit, node } => {
            let list = context.edge()?.data(&context.place()?, node.node.as_deref(), *limit).await?;
            context.output.write(&list, || list_lines(context.output.style, &list));
            Ok(())
        }
        DataCommand::Pull(args) => pull(context, args).await,
        DataCommand::Push(args) => push(context, args).await,
        DataCommand::Snapshot { name, dry_run, node } => {
            let (edge, place) = (context.edge()?, context.place()?);
            let wanted = SnapshotRequest { name: name.clone() };
            let _working = context.progress.working("snapshot", "of all data");
            let made = edge.make_snapshot(&place, node.node.as_deref(), &wanted, *dry_run).await?;
            match dry_run {
                true => foresee(context, &format!("make a snapshot of {}", amount_on(&made)), &made),
                false => report(context, "snapshot", &made, node),
            }
            Ok(())
        }
        DataCommand::Restore(args) => restore(context, args).await,
        DataCommand::Delete(args) => delete(context, args).await,
    }
}

async fn pull(context: &Context, args: &PullArgs) -> Result<(), Failure> {
    let (edge, place) = (context.edge()?, context.place()?);
    if args.to.symlink_metadata().is_ok() {
        let message = format!("{} exists already.", args.to.display());
        return Err(Failure::new(Code::Usage, message).hint("name a file or a folder that does not exist yet"));
    }
    let is_archive = is_archive(&args.to);
    let working = context.progress.working("pull", "the edge prepares the archive");
    let of = (&place, args.node.node.as_deref());
    let source = Source { edge: &edge, of, snapshot: args.snapshot.as_ref(), progress: &context.progress };
    let pulled = pull::pull(&source, &args.to, is_archive, args.max_bytes).await?;
    drop(working);
    let value = json!({ "environment": place, "to": args.to, "files": pulled.files, "bytes": pulled.bytes, "skipped": pulled.skipped });
    context.output.report(&value, || {
        let style = context.output.style;
        let amount = if is_archive { byte_text(pulled.bytes) } else { amount(pulled.files, pulled.bytes) };
        let text = format!("{}  {amount}", escaped(&args.to.display().to_string()));
        let mut lines = vec![style.line("pulled", &text)];
        if pulled.skipped > 0 {
            let links = counted(pulled.skipped, "link");
            lines.push(style.line("note", &format!("{links} left out: an archive holds them")));
        }
        lines
    });
    Ok(())
}

async fn push(context: &Context, args: &PushDataArgs) -> Result<(), Failure> {
    let (edge, place) = (context.edge()?, context.place()?);
    let is_archive = is_archive(&args.from);
    let packed = pack::look(&args.from, is_archive).await?;
    // The result of a failed build, which `--yes` in a script does not allow.
    if args.replace && packed.is_empty && !args.allow_empty {
        let message = format!("{} is empty, and would remove all data of {place}.", args.from.display());
        return Err(Failure::new(Code::Usage, message).hint("`--allow-empty` beside `--replace` does that"));
    }
    let what = amount(packed.files, packed.bytes);
    if packed.skipped > 0 {
        let others = counted(packed.skipped, "other entry");
        context.progress.note(&format!("{others} left out, which are neither files, folders nor links"));
    }
    if args.dry_run {
        // Without entries: the edge refuses the same as for the push, and has the count.
        let there = edge.data(&place, args.node.node.as_deref(), Some(0)).await?;
        if (there.files > 0 || there.is_partial) && !args.replace {
            let message = format!("{place} of {} keeps data already.", edge.app());
            return Err(Failure::new(Code::Conflict, message).hint("`--replace` replaces all of it"));
        }
        let value = json!({ "dry_run": true, "environment": place, "files": packed.files, "bytes": packed.bytes });
        dry_run::print_foreseen(context, &value, &format!("replace the data of {place} by {what}"));
        return Ok(());
    }
    if args.replace {
        ask(context, &format!("All data of {place} would be replaced by {what}."), args.yes).await?;
    }
    let _working = context.progress.working("push", &what);
    let body = pack::body(&args.from, is_archive).await?;
    let pushed = edge.push_data(&place, args.node.node.as_deref(), args.replace, body).await?;
    report(context, "replaced", &pushed, &args.node);
    Ok(())
}

async fn restore(context: &Context, args: &SnapshotArgs) -> Result<(), Failure> {
    let (edge, place) = (context.edge()?, context.place()?);
    if !args.dry_run {
        ask(context, &format!("All data of {place} would be replaced by the snapshot {}.", args.name), args.yes)
            .await?;
    }
    let _working = context.progress.working("restore", "instances are stopped meanwhile");
    let restored = edge.restore_snapshot(&place, args.node.node.as_deref(), &args.name, args.dry_run).await?;
    match args.dry_run {
        true => foresee(context, &format!("restore {} in place of {}", args.name, amount_on(&restored)), &restored),
        false => report(context, "restored", &restored, &args.node),
    }
    Ok(())
}

async fn delete(context: &Context, args: &SnapshotArgs) -> Result<(), Failure> {
    let (edge, place) = (context.edge()?, context.place()?);
    if !args.dry_run {
        let what = format!("The snapshot {} of {place} would be deleted.", args.name);
        confirm(args.name.as_str(), &what, "it cannot be restored", "--yes", args.yes, context.output.is_json).await?;
    }
    let deleted = edge.delete_snapshot(&place, args.node.node.as_deref(), &args.name, args.dry_run).await?;
    match args.dry_run {
        true => foresee(context, &format!("delete {} on {}", args.name, escaped(&deleted.node)), &deleted),
        false => context.output.report(&deleted, || vec![context.output.style.line("deleted", args.name.as_str())]),
    }
    Ok(())
}

async fn ask(context: &Context, what: &str, is_meant: bool) -> Result<(), Failure> {
    let place = context.place()?;
    let way_back = "a snapshot of what is there is made first, and `devanture data restore` brings it back";
    confirm(place.as_str(), what, way_back, "--yes", is_meant, context.output.is_json).await
}

fn is_archive(path: &Path) -> bool {
    path.to_string_lossy().ends_with(ENDING)
}

/// Runs work on the disk on a separate thread, so that a signal can end the command meanwhile.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Failure::new(Code::Internal, format!("The work on the disk ended: {error}."))))
}

fn amount(files: u64, bytes: u64) -> String {
    format!("{}, {}", counted(files, "file"), byte_text(bytes))
}

fn amount_on(report: &DataReport) -> String {
    format!("{} on {}", amount(report.files, report.bytes), escaped(&report.node))
}

fn foresee(context: &Context, text: &str, report: &DataReport) {
    dry_run::print_foreseen(context, &json!({ "dry_run": true, "would": report }), text);
}

/// Reports a change.
fn report(context: &Context, name: &str, report: &DataReport, node: &NodeArgs) {
    let (style, is_node_named) = (context.output.style, node.node.is_some());
    context.output.report(report, || {
        let mut lines = vec![style.line(name, &amount_on(report))];
        let databases = (report.databases > 0).then(|| counted(report.databases, "SQLite database"));
        lines.extend(databases.map(|databases| style.line("copied", &format!("{databases} by the online backup"))));
        if report.skipped > 0 {
            let others = counted(report.skipped, "special file");
            lines.push(style.line("note", &format!("{others} left out")));
        }
        lines.extend(report.removed.iter().map(|removed| style.line("removed", removed.as_str())));
        if let Some(snapshot) = &report.snapshot {
            lines.push(snapshot_line(context, snapshot, report, is_node_named));
        }
        lines
    });
}

fn snapshot_line(context: &Context, snapshot: &SnapshotName, report: &DataReport, is_node_named: bool) -> String {
    let again = context.again();
    let node = if is_node_named { format!(" --node {}", escaped(&report.node)) } else { String::new() };
    let what = if snapshot.is_automatic() { "undo" } else { "restore" };
    context.output.style.line(what, &format!("devanture data restore {snapshot}{}{node}", again.0))
}

fn list_lines(style: Style, list: &DataList) -> Vec<String> {
    let entry = |kind: DataKind, bytes: u64| match kind {
        DataKind::File => byte_text(bytes),
        DataKind::Folder => "folder".to_owned(),
        DataKind::Link => "link".to_owned(),
        DataKind::Special => "special".to_owned(),
    };
    let mut lines: Vec<String> = list
        .entries
        .iter()
        .map(|one| {
            format!("  {:>10}  {}  {}", entry(one.kind, one.bytes), time_text(one.modified_ms), escaped(&one.path))
        })
        .collect();
    if list.is_partial {
        lines.push(style.dim("  … and more; `--limit` lists them"));
    }
    let amount = format!("{}, {} on {}", counted(list.files, "entry"), byte_text(list.bytes), escaped(&list.node));
    lines.push(style.line("data", &amount));
    lines.extend(list.snapshots.iter().map(|one| {
        style.line("snapshot", &format!("{}  {}  {}", one.name, time_text(one.made_ms), byte_text(one.bytes)))
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::api::{DataEntry, SnapshotInfo};

    #[test]
    fn a_list_names_files_with_their_sizes_and_snapshots_with_their_age() {
        let style = Style::of(&[("NO_COLOR".to_owned(), "1".to_owned())].into(), false);
        let entry = |path: &str, kind, bytes| DataEntry { path: path.to_owned(), kind, bytes, modified_ms: 0 };
        let list = DataList {
            node: "edge".to_owned(),
            files: 3,
            bytes: 2_000,
            entries: vec![entry("a\u{1b}", DataKind::File, 2_000), entry("b", DataKind::Folder, 0)],
            is_partial: true,
            snapshots: vec![SnapshotInfo {
                name: "mine".parse().unwrap(),
                bytes: 500,
                made_ms: 0,
                is_automatic: false,
            }],
        };
        let lines = list_lines(style, &list);
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert!(lines[0].contains("2.0 KB") && lines[0].ends_with("a\\u{1b}"), "{lines:?}");
        assert!(lines[3].contains("3 entries, 2.0 KB on edge"), "{lines:?}");
        assert!(lines[4].contains("mine  1970-01-01 00:00:00 UTC"), "{lines:?}");
    }
}
