//! `copy`: copies a whole store to the store of another configuration.

use std::path::{Path, PathBuf};

use clap::Args;
use devanture_config::api::CopyReport;
use devanture_config::text::{counted, date_time};
use devanture_edge::server::{self, CopyOptions, CopyProgress};

use crate::progress::ProgressLine;
use crate::safekeeping::damage_lines;
use crate::terminal::{print_line, say};
use crate::{Configuration, Failure, Lifetime, read};

/// Message before the pause of changes.
const PAUSING: &str = "pausing changes";
/// Longest pause of changes: a day.
const PAUSE_MAX_S: u64 = 86_400;

/// Flags of `copy`.
#[derive(Args)]
#[command(after_help = "Examples:
  devanture-edge copy --from edge.toml --to cluster.toml            while the edge serves
  devanture-edge copy --from edge.toml --to cluster.toml --finish   with a pause of changes
  devanture-edge copy --from edge.toml --to cluster.toml --resume   end the pause, and stay

After --finish, stop the edge of --from and start that of --to while changes are paused.

Exit codes: 0 if all is copied, 1 if files are damaged or the copy failed, 2 for a configuration
or a store that cannot be used.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that a person types")]
pub(crate) struct Arguments {
    /// Configuration of the store to copy; its edge may run
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Configuration of the store to copy to; no edge of it may run
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Pause all changes, copy what differs, compare all records, and finish the copy
    #[arg(long)]
    finish: bool,
    /// Time after which changes go on by themselves, such as 10m or 1h
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = pause)]
    pause_for: Lifetime,
    /// Finish although files are damaged or missing in the store to copy
    #[arg(long)]
    allow_damaged: bool,
    /// End the pause of an earlier copy, which is unfinished from then on, and copy nothing
    #[arg(long, conflicts_with_all = ["finish", "allow_damaged"])]
    resume: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

fn pause(text: &str) -> Result<Lifetime, String> {
    let lifetime: Lifetime = text.parse()?;
    if (1..=PAUSE_MAX_S).contains(&lifetime.0) { Ok(lifetime) } else { Err("it must be at most a day".to_owned()) }
}

/// Copies, or ends a pause.
pub(crate) async fn copy(arguments: Arguments) -> Result<(), Failure> {
    let (from, to) = (read(&arguments.from)?, read(&arguments.to)?);
    check_apart(&from, &to)?;
    if arguments.resume {
        server::resume(place(&from), place(&to)).await?;
        print_line("changes go on; the copy is not finished any more");
        return Ok(());
    }
    let options = CopyOptions {
        finish: arguments.finish,
        allow_damaged: arguments.allow_damaged,
        pause_s: arguments.pause_for.0,
    };
    let line = ProgressLine::new(false);
    let observer = |progress| show(&line, progress);
    let copied = server::copy(place(&from), place(&to), options, &observer).await;
    line.end();
    let report = copied?;
    match arguments.json {
        true => print_line(&serde_json::to_string(&report).unwrap_or_default()),
        false => lines(&report, &arguments).iter().for_each(|line| print_line(line)),
    }
    let is_good = report.damaged.is_empty() || (report.finished && arguments.allow_damaged);
    if is_good { Ok(()) } else { Err(Failure { message: String::new(), code: 1 }) }
}

/// Checks that the stores are different: opening one store twice would only report another process.
fn check_apart(from: &Configuration, to: &Configuration) -> Result<(), Failure> {
    let folder = |configuration: &Configuration| {
        let folder = configuration.base.join(&configuration.file.data_dir);
        std::fs::canonicalize(&folder).unwrap_or(folder)
    };
    if folder(from) != folder(to) {
        return Ok(());
    }
    let message = format!("--from and --to have one data folder, {}: name another one in --to", folder(to).display());
    Err(Failure { message, code: 2 })
}

fn place(configuration: &Configuration) -> (&devanture_config::edge_toml::EdgeFile, &Path) {
    (&configuration.file, &configuration.base)
}

fn lines(report: &CopyReport, arguments: &Arguments) -> Vec<String> {
    let mut lines = vec![
        format!(
            "compared {}: {} written, {} removed",
            counted(report.records, "record"),
            report.written_records,
            report.removed_records
        ),
        format!(
            "checked {} of {}: {} copied ({} bytes)",
            counted(report.files, "file"),
            counted(report.versions, "version"),
            report.copied_files,
            report.copied_bytes
        ),
    ];
    if report.added_keys > 0 {
        lines.push(format!("keys of secrets: {} added", report.added_keys));
    }
    if !report.left_out.is_empty() {
        let count = counted(report.left_out.len(), "record");
        lines.push(format!("left out: {count} of dictionaries, too large for this store; the edge makes them again"));
    }
    if !report.kept_files.is_empty() {
        lines.push(format!("other content, left as it is: {}", report.kept_files.join(", ")));
    }
    lines.extend(report.warnings.iter().map(|warning| format!("note: {warning}")));
    lines.extend(report.damaged.iter().flat_map(damage_lines));
    lines.extend(next_steps(report, arguments));
    lines
}

/// Returns the operator's next steps.
fn next_steps(report: &CopyReport, arguments: &Arguments) -> Vec<String> {
    let from = arguments.from.display();
    let to = arguments.to.display();
    if !report.finished {
        return vec![match (report.damaged.is_empty(), arguments.finish) {
            (true, _) => format!("not finished: `devanture-edge copy --from {from} --to {to} --finish` does the rest"),
            (false, true) => {
                "not finished: push or repair the damaged files, or add `--allow-damaged`; changes go on".to_owned()
            }
            (false, false) => "not finished: push or repair the damaged files before `--finish`".to_owned(),
        }];
    }
    let start = format!("start the edge: devanture-edge --config {to}");
    let compared = match report.paused_ms {
        Some(ms) => format!("finished: all records are equal; {ms} ms after changes were paused"),
        None => "finished: all records are equal".to_owned(),
    };
    let mut lines = vec![compared];
    match report.resumes_ms {
        Some(resumes_ms) => {
            let time = date_time(resumes_ms);
            lines.push(format!("changes stay paused until {time}: stop the edge of {from} before that, then {start}"));
            lines.push(format!("to stay with it instead: devanture-edge copy --from {from} --to {to} --resume"));
        }
        None => lines.push(start),
    }
    lines
}

/// Shows the progress of a copy: all steps on a terminal, otherwise only the beginning of the pause.
fn show(line: &ProgressLine, progress: CopyProgress) {
    match progress {
        // The only step that other users notice.
        CopyProgress::Paused if !line.is_terminal() => say(PAUSING),
        _ if !line.is_terminal() => {}
        CopyProgress::Records => line.step("comparing records"),
        CopyProgress::Paused => line.step(PAUSING),
        CopyProgress::Files { files, bytes } => {
            line.show(|| format!("copied {} ({} MB)", counted(files, "file"), bytes / 1_000_000));
        }
    }
}
