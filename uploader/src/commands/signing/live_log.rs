//! `live-log`: the log of live versions, as a chain of hashes that is checked here.

use std::collections::BTreeMap;
use std::path::Path;

use devanture_config::PlaceName;
use devanture_config::api::{DeployKind, LiveLogEntry, check_live_log};
use devanture_config::problem::Code;
use devanture_config::text::counted;

use crate::args::LiveLogArgs;
use crate::context::Context;
use crate::edge::client::Edge;
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::report::time_text;
use crate::output::terminal::escaped;

/// Upper bound of bytes of a stored log.
const KEPT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// `live-log`.
///
/// # Errors
/// The error of the edge; `live_log_broken`.
pub(crate) async fn live_log(context: &Context, args: &LiveLogArgs) -> Result<(), Failure> {
    let (edge, style, place) = (context.edge()?, context.output.style, context.place()?);
    let entries = read_all(&edge, &place).await?;
    if args.export && entries.is_empty() {
        return Ok(());
    }
    if args.export {
        context.output.script(&lines_of(&entries)?);
    } else {
        context.output.write(&entries, || shown(style, &place, &entries));
    }
    Ok(())
}

fn lines_of(entries: &[LiveLogEntry]) -> Result<String, Failure> {
    let lines: Result<Vec<String>, _> = entries.iter().map(serde_json::to_string).collect();
    Ok(lines.map_err(|error| Failure::new(Code::Internal, format!("{error}.")))?.join("\n"))
}

fn shown(style: Style, place: &PlaceName, entries: &[LiveLogEntry]) -> Vec<String> {
    if entries.is_empty() {
        return vec![format!("Nothing has gone live in {place} since the log was begun.")];
    }
    let line = |entry: &LiveLogEntry| {
        let (number, time, id) = (entry.number, time_text(entry.at_ms), entry.version.short());
        let signed = counted(entry.signed_by.len(), "signature");
        let kind = serde_json::to_value(entry.kind).ok();
        let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or_default().to_owned();
        // No version went live: the change is an operation of the API.
        let is_change = entry.kind == DeployKind::Change;
        let what = if is_change { format!(" ({})", escaped(&entry.deploy)) } else { String::new() };
        let hash = style.dim(&entry.hash.short());
        format!("  {number:>5}  {time}  {id}  {kind}{what} by {}, {signed}  {hash}", escaped(&entry.who))
    };
    entries.iter().map(line).collect()
}

/// Reads the whole log of an environment, and checks each entry against the previous one.
///
/// # Errors
/// The error of the edge; `live_log_broken`.
pub(super) async fn read_all(edge: &Edge, place: &PlaceName) -> Result<Vec<LiveLogEntry>, Failure> {
    let (mut entries, mut after): (Vec<LiveLogEntry>, Option<String>) = (Vec::new(), None);
    loop {
        let page = edge.live_log(place, after.as_deref()).await?;
        check_live_log((edge.app(), place), entries.last(), &page.entries)
            .map_err(|error| broken(&error.to_string()))?;
        let is_empty = page.entries.is_empty();
        entries.extend(page.entries);
        match page.next {
            Some(next) if !is_empty => after = Some(next),
            _ => return Ok(entries),
        }
    }
}

/// Checks that a log continues the log stored in a file. Returns the number of its entries that are still there.
///
/// # Errors
/// `live_log_broken`; `usage` if the file cannot be read.
pub(super) fn continues(
    (edge, place): (&Edge, &PlaceName),
    entries: &[LiveLogEntry],
    file: &Path,
) -> Result<usize, Failure> {
    let kept = read_kept(file)?;
    check_live_log((edge.app(), place), None, &kept)
        .map_err(|error| broken(&format!("in {}, {error}", file.display())))?;
    let by_number: BTreeMap<u64, &LiveLogEntry> = entries.iter().map(|entry| (entry.number, entry)).collect();
    let Some(last) = kept.last() else { return Ok(0) };
    // The oldest may have been trimmed since, and none of the others.
    let first = entries.first().map_or(u64::MAX, |entry| entry.number);
    if last.number.saturating_add(1) < first {
        let number = last.number;
        return Err(broken(&format!(
            "it begins at the entry {first} by now, and the file ends at {number}: the entries between are not known"
        )));
    }
    if last.number.saturating_add(1) == first {
        let follows = check_live_log((edge.app(), place), Some(last), entries);
        return follows.map(|()| 0).map_err(|error| broken(&error.to_string()));
    }
    let mut same = 0;
    for entry in kept.iter().filter(|entry| entry.number >= first) {
        match by_number.get(&entry.number) {
            Some(now) if now.hash == entry.hash => same += 1,
            Some(_) => {
                return Err(broken(&format!(
                    "the entry {} is another one than that of {}",
                    entry.number,
                    file.display()
                )));
            }
            None => return Err(broken(&format!("the entry {} of {} is missing", entry.number, file.display()))),
        }
    }
    Ok(same)
}

fn read_kept(file: &Path) -> Result<Vec<LiveLogEntry>, Failure> {
    use std::io::Read as _;
    let bad = |why: String| {
        Failure::new(Code::Usage, format!("{} cannot be read as a log: {why}.", file.display()))
            .hint("`devanture live-log --export` writes one")
    };
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(|error| bad(error.to_string()))?;
    opened.take(KEPT_BYTES_MAX).read_to_string(&mut text).map_err(|error| bad(error.to_string()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let entry = |(at, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|_error| bad(format!("its line {} is no entry", at + 1)))
    };
    let entries: Vec<LiveLogEntry> = lines.map(entry).collect::<Result<_, _>>()?;
    // Any log would continue a file left empty by a failed export.
    if entries.is_empty() { Err(bad("it has no entry".to_owned())) } else { Ok(entries) }
}

pub(super) fn broken(why: &str) -> Failure {
    Failure::new(Code::LiveLogBroken, format!("The log of what was live is not whole: {why}."))
        .hint("docs/signing.md says what that may mean")
}
