//! The commands of teams: `alias`, `lock`, `unlock` and `diff`.

use std::time::{SystemTime, UNIX_EPOCH};

use devanture_config::api::{
    AliasList, AliasPrediction, AliasRequest, Amount, ChangeKind, Diff, DiffSide, FileChange, LockReport, LockRequest,
    PlaceStatus, ServingChange, VisitorLoad,
};
use devanture_config::{PlaceName, VersionId};
use reqwest::Method;
use serde::Serialize;
use serde_json::json;

use super::dry_run;
use crate::args::{AliasCommand, DiffArgs, LockArgs, UnlockArgs};
use crate::context::Context;
use crate::edge::client::Edge;
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::report::{Again, byte_text, counted};

/// Upper bound of list entries in one answer of the edge.
const PAGE_MAX: &str = "1000";

/// `alias set`, `alias list`, `alias delete`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn alias(context: &Context, command: &AliasCommand) -> Result<(), Failure> {
    let edge = context.edge()?;
    match command {
        AliasCommand::Set { name, id, expires, dry_run: true } => {
            let request = AliasRequest { version: id.to_string(), expires: *expires };
            print_foreseen_alias(context, &edge, Method::PUT, (name, &request)).await?;
        }
        AliasCommand::Delete { name, dry_run: true } => {
            print_foreseen_alias(context, &edge, Method::DELETE, (name, &json!({}))).await?;
        }
        AliasCommand::Set { name, id, expires, dry_run: false } => {
            let place = alias_name(context, name);
            let set = edge.set_alias(&place, &AliasRequest { version: id.to_string(), expires: *expires }).await?;
            context.output.report(&set, || alias_lines(std::slice::from_ref(&set), now_ms()));
        }
        AliasCommand::List => {
            let aliases = all_aliases(&edge).await?;
            let list = AliasList { app: edge.app().clone(), aliases, next: None };
            context.output.write(&list, || match list.aliases.is_empty() {
                true => vec![format!("{} has no alias.", list.app)],
                false => alias_lines(&list.aliases, now_ms()),
            });
        }
        AliasCommand::Delete { name, dry_run: false } => {
            let place = alias_name(context, name);
            edge.delete_alias(&place).await?;
            let value = json!({ "app": edge.app(), "deleted": place });
            context
                .output
                .report(&value, || vec![format!("The alias {place} is gone; the version that it named stays.")]);
        }
    }
    Ok(())
}

/// Prints the effect of setting or deleting an alias, as predicted by the edge.
async fn print_foreseen_alias(
    context: &Context,
    edge: &Edge,
    method: Method,
    (name, request): (&str, &impl Serialize),
) -> Result<(), Failure> {
    let name = alias_name(context, name);
    let foreseen: AliasPrediction = edge.foresee(method, &["aliases", name.as_str()], request).await?;
    let short = |version: Option<VersionId>| version.map_or_else(|| "nothing".to_owned(), |version| version.short());
    let (from, to) = (short(foreseen.previous), short(foreseen.version));
    let text = match (foreseen.changed, foreseen.previous == foreseen.version) {
        (false, _) => format!("nothing: {name} is {to} already"),
        (true, true) => format!("{name}: {to} as before, with another end or owner"),
        (true, false) => format!("{name}: {from} → {to}"),
    };
    let value = json!({
        "dry_run": true,
        "app": foreseen.app,
        "alias": foreseen.alias,
        "version": foreseen.version,
        "previous": foreseen.previous,
        "expires_ms": foreseen.expires_ms,
        "would_change": foreseen.changed,
    });
    dry_run::print_foreseen(context, &value, &text);
    Ok(())
}

/// The alias of a branch's name.
pub(crate) fn alias_name(context: &Context, name: &str) -> PlaceName {
    let place = PlaceName::from_branch(name);
    if place.as_str() != name {
        let why = match name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => "is made of hex digits alone, as ids are",
            false => "cannot stand in a hostname, or is too long for one",
        };
        context.progress.note(&format!("`{name}` {why}; its alias is {place}"));
    }
    place
}

async fn all_aliases(edge: &Edge) -> Result<Vec<PlaceStatus>, Failure> {
    let (mut aliases, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut query = vec![("limit", PAGE_MAX)];
        query.extend(after.as_deref().map(|after| ("after", after)));
        let mut page = edge.aliases(&query).await?;
        aliases.append(&mut page.aliases);
        after = page.next;
        if after.is_none() {
            return Ok(aliases);
        }
    }
}

/// Returns a line for each alias: the target, the environment, the start, and the end.
pub(crate) fn alias_lines(aliases: &[PlaceStatus], now_ms: u64) -> Vec<String> {
    let width = |text: &dyn Fn(&PlaceStatus) -> String| {
        aliases.iter().map(|alias| text(alias).chars().count()).max().unwrap_or(0)
    };
    let age = |alias: &PlaceStatus| format!("{} ago", span_text(now_ms.saturating_sub(alias.since_ms)));
    let (name_width, url_width) = (width(&|alias| alias.name.to_string()), width(&|alias| alias.url.clone()));
    let age_width = width(&age);
    let line = |alias: &PlaceStatus| {
        let ends = match alias.expires_ms {
            Some(at_ms) => format!("ends in {}", left_text(at_ms.saturating_sub(now_ms))),
            None => "lasts".to_owned(),
        };
        format!(
            "  alias     {:<name_width$}  {}  {:<url_width$}  {:<age_width$}  {ends}",
            alias.name.as_str(),
            alias.version.short(),
            alias.url,
            age(alias),
        )
    };
    aliases.iter().map(line).collect()
}

/// Formats a duration in its largest whole unit.
fn span_text(ms: u64) -> String {
    let seconds = ms / 1_000;
    for (unit, length) in [("d", 86_400), ("h", 3_600), ("min", 60)] {
        if seconds >= length {
            return format!("{} {unit}", seconds / length);
        }
    }
    format!("{seconds} s")
}

/// Formats a remaining duration, rounded in its largest unit: of 14 days, 14 d are left a moment later.
fn left_text(ms: u64) -> String {
    let seconds = ms.div_ceil(1_000);
    for (unit, length) in [("d", 86_400), ("h", 3_600), ("min", 60)] {
        if seconds >= length {
            return format!("{} {unit}", (seconds + length / 2) / length);
        }
    }
    format!("{seconds} s")
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// `lock`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn lock(context: &Context, args: &LockArgs) -> Result<(), Failure> {
    let (edge, place) = (context.edge()?, context.place()?);
    let request = LockRequest { reason: args.reason.clone() };
    if args.dry_run {
        let report: LockReport = edge.foresee(Method::PUT, &["environments", place.as_str(), "lock"], &request).await?;
        let text = match (&report.locked, report.changed) {
            (_, false) => format!("nothing: {place} is locked like that already"),
            (Some(_), true) => format!("change why {place} is locked"),
            (None, true) => format!("lock {place}"),
        };
        print_foreseen(context, &report, &text);
        return Ok(());
    }
    let report = edge.lock(&place, &request).await?;
    print_lock(context, &report, &context.again());
    Ok(())
}

/// `unlock`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn unlock(context: &Context, args: &UnlockArgs) -> Result<(), Failure> {
    let (edge, place) = (context.edge()?, context.place()?);
    if args.dry_run {
        let segments = ["environments", place.as_str(), "lock"];
        let report: LockReport = edge.foresee(Method::DELETE, &segments, &json!({})).await?;
        let text = match &report.locked {
            Some(lock) => format!("end the lock of {place}, which {} made", lock.who),
            None => format!("nothing: {place} is not locked"),
        };
        print_foreseen(context, &report, &text);
        return Ok(());
    }
    let report = edge.unlock(&place).await?;
    print_lock(context, &report, &Again::default());
    Ok(())
}

fn print_foreseen(context: &Context, report: &LockReport, text: &str) {
    let value = json!({
        "dry_run": true,
        "app": report.app,
        "environment": report.environment,
        "locked": report.locked,
        "would_change": report.changed,
    });
    dry_run::print_foreseen(context, &value, text);
}

fn print_lock(context: &Context, report: &LockReport, again: &Again) {
    let style = context.output.style;
    let line = |name: &str, text: String| format!("  {}  {text}", style.dim(&format!("{name:<8}")));
    let environment = &report.environment;
    context.output.report(report, || match (&report.locked, report.changed) {
        (Some(_), changed) => vec![
            match changed {
                true => line("locked", format!("{environment} keeps what is live; pushes only make previews")),
                false => line("same", format!("{environment} is locked like that already; nothing has changed")),
            },
            line("undo", format!("devanture unlock{}", again.0)),
        ],
        (None, true) => vec![line("unlocked", format!("pushes to {environment} go live again"))],
        (None, false) => vec![line("same", format!("{environment} was not locked; nothing has changed"))],
    });
}

/// `diff`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn diff(context: &Context, args: &DiffArgs) -> Result<(), Failure> {
    let (edge, place) = (context.edge()?, context.place()?);
    let (from, to) = match &args.to {
        Some(to) => (args.from.as_str(), to.as_str()),
        // A single version is the candidate for going live.
        None => ("live", args.from.as_str()),
    };
    let limit = if args.all { PAGE_MAX.to_owned() } else { args.limit.to_string() };
    let mut diff = edge.diff(&query(from, to, &place, &limit, None)).await?;
    while let Some(next) = diff.next.clone().filter(|_| args.all) {
        // By the ids of the first page: a switch in between changes nothing.
        let side = |side: &DiffSide, named: &str| side.version.map_or_else(|| named.to_owned(), |id| id.to_string());
        let (from_id, to_id) = (side(&diff.from, from), side(&diff.to, to));
        let mut more = edge.diff(&query(&from_id, &to_id, &place, &limit, Some(&next))).await?;
        if (more.from.version, more.to.version) != (diff.from.version, diff.to.version) {
            // A first version went live in between.
            diff = edge.diff(&query(from, to, &place, &limit, None)).await?;
            continue;
        }
        diff.changes.append(&mut more.changes);
        diff.next = more.next;
    }
    let style = context.output.style;
    context.output.write(&diff, || diff_lines(style, &diff));
    Ok(())
}

fn query<'q>(
    from: &'q str,
    to: &'q str,
    place: &'q PlaceName,
    limit: &'q str,
    after: Option<&'q str>,
) -> Vec<(&'q str, &'q str)> {
    let mut query = vec![("from", from), ("to", to), ("env", place.as_str()), ("limit", limit)];
    query.extend(after.map(|after| ("after", after)));
    query
}

fn diff_lines(style: Style, diff: &Diff) -> Vec<String> {
    let line = |name: &str, text: String| format!("  {}  {text}", style.dim(&format!("{name:<8}")));
    let mut lines = vec![format!("{} → {}", side_text(&diff.from), side_text(&diff.to))];
    let files = &diff.files;
    let is_same = diff.changes.is_empty() && diff.serving.is_empty();
    if is_same {
        lines.push(line("same", format!("nothing differs in {}", counted(files.same.files, "file"))));
        return lines;
    }
    let width = diff.changes.iter().map(|change| change.path.as_str().chars().count()).max().unwrap_or(0).min(72);
    lines.extend(diff.changes.iter().map(|change| change_line(style, change, width)));
    let shown = u64::try_from(diff.changes.len()).unwrap_or(u64::MAX);
    let in_all = [files.added, files.changed, files.removed].iter().map(|amount| amount.files).sum::<u64>();
    if diff.next.is_some() {
        lines.push(style.dim(&format!("  … and {} more: --all tells them", in_all.saturating_sub(shown))));
    }
    let amount = |amount: Amount| format!("{}, {}", counted(amount.files, "file"), byte_text(amount.bytes));
    for (name, changed) in
        [("added", files.added), ("changed", files.changed), ("removed", files.removed), ("same", files.same)]
    {
        if changed.files > 0 {
            lines.push(line(name, amount(changed)));
        }
    }
    lines.extend(diff.serving.iter().map(|change| line("serving", serving_text(change))));
    let visitors = &diff.visitors;
    if diff.from.version.is_none() {
        lines.push(line("visitors", format!("load {}", byte_text(visitors.first_visit.bytes))));
        return lines;
    }
    let kept = visitors.revalidate.files.saturating_add(visitors.keep.files);
    lines.push(line(
        "visitors",
        format!(
            "returning ones load {} again as it travels{}, and keep {}; new ones load {}",
            byte_text(visitors.load.bytes),
            with_dictionaries(visitors),
            counted(kept, "file"),
            byte_text(visitors.first_visit.bytes),
        ),
    ));
    lines
}

/// Returns the short id of a side, with its name unless the name is the id or is long.
fn side_text(side: &DiffSide) -> String {
    let id = side.version.map_or_else(|| "nothing".to_owned(), |version| version.short());
    let is_id = id.starts_with(&side.named) || side.named.len() > 12;
    if side.version.is_some() && is_id { id } else { format!("{id} ({})", side.named) }
}

/// Returns the bytes for browsers with the earlier version as dictionaries, if fewer.
fn with_dictionaries(visitors: &VisitorLoad) -> String {
    let less = visitors.with_dictionaries.filter(|bytes| *bytes < visitors.load.bytes);
    less.map_or_else(String::new, |bytes| format!(" ({} with dictionaries)", byte_text(bytes)))
}

fn change_line(style: Style, change: &FileChange, width: usize) -> String {
    let path = change.path.as_str();
    let bytes = |bytes: Option<u64>| byte_text(bytes.unwrap_or(0));
    let (mark, text) = match change.change {
        ChangeKind::Added => (style.good("+"), bytes(change.bytes)),
        ChangeKind::Removed => (style.bad("-"), bytes(change.bytes_before)),
        ChangeKind::Changed => ("~".to_owned(), format!("{} → {}", bytes(change.bytes_before), bytes(change.bytes))),
    };
    let warning = if change.refingerprinted {
        "  browsers keep the old content: its name says that it never changes"
    } else {
        ""
    };
    format!("  {mark} {path:<width$}  {text}{warning}")
}

fn serving_text(change: &ServingChange) -> String {
    let text_of = |text: &Option<String>| text.clone().unwrap_or_else(|| "not said".to_owned());
    format!("{}, {}: {} → {}", change.place, change.key, text_of(&change.before), text_of(&change.now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::Digest;
    use devanture_config::api::FileChanges;

    fn plain() -> Style {
        Style::of(&[("NO_COLOR".to_owned(), "1".to_owned())].into(), false)
    }

    #[test]
    fn aliases_stand_in_columns_with_age_and_end() {
        let alias = |name: &str, since_ms, expires_ms| PlaceStatus {
            name: name.parse().unwrap(),
            alias: true,
            version: Digest::of(b""),
            url: format!("https://{name}--shop.localhost"),
            since_ms,
            who: None,
            expires_ms,
        };
        let id = Digest::of(b"").short();
        let now_ms = 100 * 86_400_000;
        let lines = alias_lines(
            &[alias("main", now_ms - 5_000, None), alias("feature-x", 0, Some(now_ms + 7_200_000))],
            now_ms,
        );
        assert_eq!(
            lines,
            [
                format!("  alias     main       {id}  https://main--shop.localhost       5 s ago    lasts"),
                format!("  alias     feature-x  {id}  https://feature-x--shop.localhost  100 d ago  ends in 2 h"),
            ]
        );
    }

    #[test]
    fn what_was_granted_a_moment_ago_is_left_in_full() {
        const DAY: u64 = 86_400_000;
        for (ms, text) in [
            (14 * DAY - 1, "14 d"),
            (14 * DAY - 5_000, "14 d"),
            (DAY - 1, "1 d"),
            (13 * DAY + DAY / 4, "13 d"),
            (7_200_000 - 900, "2 h"),
            (89_000, "1 min"),
            (999, "1 s"),
            (0, "0 s"),
        ] {
            assert_eq!(left_text(ms), text, "{ms}");
        }
    }

    #[test]
    fn a_difference_is_reported_file_by_file_and_in_sums() {
        let change = |path: &str, change, bytes_before, bytes| FileChange {
            path: path.parse().unwrap(),
            change,
            bytes_before,
            bytes,
            refingerprinted: false,
        };
        let amount = |files, bytes| Amount { files, bytes };
        let side = |named: &str| DiffSide { named: named.to_owned(), version: Some(Digest::of(named.as_bytes())) };
        let diff = Diff {
            app: "shop".parse().unwrap(),
            from: side("live"),
            to: side("feature-x"),
            files: FileChanges {
                added: amount(2, 3_000),
                changed: amount(1, 2_000),
                removed: amount(0, 0),
                same: amount(7, 70),
            },
            changes: vec![
                change("about.html", ChangeKind::Added, None, Some(1_000)),
                change("index.html", ChangeKind::Changed, Some(1_500), Some(2_000)),
            ],
            next: Some("index.html".to_owned()),
            visitors: VisitorLoad {
                load: amount(3, 1_200),
                revalidate: amount(4, 40),
                keep: amount(3, 30),
                first_visit: amount(10, 9_000),
                with_dictionaries: Some(300),
            },
            serving: vec![ServingChange {
                place: "devanture.toml".to_owned(),
                key: "routes".to_owned(),
                before: None,
                now: Some("1 entry".to_owned()),
            }],
        };
        let (from, to) = (Digest::of(b"live").short(), Digest::of(b"feature-x").short());
        assert_eq!(
            diff_lines(plain(), &diff),
            [
                &format!("{from} (live) → {to} (feature-x)"),
                "  + about.html  1.0 KB",
                "  ~ index.html  1.5 KB → 2.0 KB",
                "  … and 1 more: --all tells them",
                "  added     2 files, 3.0 KB",
                "  changed   1 file, 2.0 KB",
                "  same      7 files, 70 B",
                "  serving   devanture.toml, routes: not said → 1 entry",
                "  visitors  returning ones load 1.2 KB again as it travels (300 B with dictionaries), and keep 7 files; new ones load 9.0 KB",
            ]
        );
    }
}
