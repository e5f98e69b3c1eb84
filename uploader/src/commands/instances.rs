//! `instances`, `scale`, `restart`: the processes of a backend run by the edge.

use std::collections::{BTreeMap, BTreeSet};

use devanture_config::api::{InstanceList, InstanceState, InstanceStatus, RestartRequest, ScaleRequest};
use devanture_config::problem::Code;
use devanture_config::site_toml::{All, Instances, ProcessName, WEB};
use serde::Serialize;
use serde_json::json;

use super::dry_run;
use crate::args::{RestartArgs, ScaleArgs};
use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::prompt::confirm;
use crate::output::report::{byte_text, counted, time_text};
use crate::output::terminal::escaped;

/// `instances`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn instances(context: &Context) -> Result<(), Failure> {
    let list = context.edge()?.instances(&context.place()?).await?;
    context.output.write(&list, || table(context.output.style, &list));
    Ok(())
}

/// `scale`: shows the numbers, without arguments.
///
/// # Errors
/// The error of the edge; `usage` if a process is named twice, or no instance would be left without a confirmation.
pub(crate) async fn scale(context: &Context, args: &ScaleArgs) -> Result<(), Failure> {
    let style = context.output.style;
    let mut processes = BTreeMap::new();
    for wanted in &args.wanted {
        if processes.insert(wanted.process.clone(), wanted.count).is_some() {
            return Err(Failure::new(Code::Usage, format!("`{}` is named twice.", wanted.process)));
        }
    }
    let (edge, place) = (context.edge()?, context.place()?);
    if processes.is_empty() {
        let list = edge.instances(&place).await?;
        context.output.write(&list, || scale_lines(&list));
        return Ok(());
    }
    if !args.dry_run
        && processes.iter().any(|(name, count)| name.as_str() == WEB && *count == Some(Instances::Count(0)))
    {
        let what = format!("Without instances of {WEB}, requests to the backend of {place} would get 503.");
        let way_back = "`devanture scale web=default` starts them again";
        confirm(WEB, &what, way_back, "--yes", args.yes, context.output.is_json).await?;
    }
    let wanted = ScaleRequest { processes };
    // Without the right to read, the earlier numbers are unknown.
    let before = if args.dry_run { None } else { edge.instances(&place).await.ok() };
    let _working = context.progress.working("scale", "until the new instances are healthy");
    let list = edge.scale(&place, &wanted, args.dry_run).await?;
    if args.dry_run {
        let value = json!({ "dry_run": true, "environment": place, "wanted": wanted, "instances": list.instances });
        let text = wanted.processes.iter().map(|(name, count)| format!("{name}={}", count_text(*count)));
        let text = format!("scale {place} to {}", text.collect::<Vec<_>>().join(" "));
        dry_run::print_foreseen(context, &value, &text);
        return Ok(());
    }
    note_left_out(context, &list);
    context.output.report(&list, || {
        let mut lines = table(style, &list);
        let again = context.again();
        let declared = |name| before.as_ref().and_then(|before| before.scale.get(name)).copied();
        let undo = wanted.processes.keys().map(|name| format!("{name}={}", count_text(declared(name))));
        let undo = undo.collect::<Vec<_>>().join(" ");
        lines.push(style.line("undo", &format!("devanture scale {undo}{}", again.0)));
        lines
    });
    Ok(())
}

/// `restart`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn restart(context: &Context, args: &RestartArgs) -> Result<(), Failure> {
    let style = context.output.style;
    let (edge, place) = (context.edge()?, context.place()?);
    let wanted = RestartRequest { process: args.process.clone() };
    let _working = context.progress.working("restart", "one instance after the other");
    let list = edge.restart(&place, &wanted, args.dry_run).await?;
    let of_process = args.process.as_ref().map_or_else(|| "instance".to_owned(), |name| format!("instance of {name}"));
    if args.dry_run {
        let counts = counts(&list, args.process.as_ref());
        let running: u64 = counts.values().flat_map(BTreeMap::values).sum();
        let value = json!({
            "dry_run": true, "environment": place, "wanted": wanted, "instances": list.instances, "counts": counts
        });
        let text = format!("restart every {of_process} in {place}, {running} of them, one after the other");
        dry_run::print_foreseen(context, &value, &text);
        return Ok(());
    }
    note_left_out(context, &list);
    let counts = counts(&list, args.process.as_ref());
    let value = Restarted { list: &list, counts: &counts };
    context.output.report(&value, || {
        let headline = style.line("restart", &format!("every {of_process} in {place} was restarted"));
        let counted = counts.iter().map(|(process, nodes)| style.line(process.as_str(), &nodes_text(nodes)));
        std::iter::once(headline).chain(counted).chain(table(style, &list)).collect()
    });
    Ok(())
}

/// Notes the nodes that a change did not wait for.
fn note_left_out(context: &Context, list: &InstanceList) {
    for node in &list.left_out {
        let node = escaped(node);
        context
            .progress
            .note(&format!("{node} is not waited for: it ends or does not answer, and follows when it can"));
    }
}

/// Numbers of instances by process and node.
type Counts<'l> = BTreeMap<&'l ProcessName, BTreeMap<&'l str, u64>>;

/// The instances after a restart, and how many were restarted.
#[derive(Serialize)]
struct Restarted<'l> {
    #[serde(flatten)]
    list: &'l InstanceList,
    counts: &'l Counts<'l>,
}

/// Counts the instances of `only`, or of every process, that a restart concerns: instances for a rollback stay.
fn counts<'l>(list: &'l InstanceList, only: Option<&ProcessName>) -> Counts<'l> {
    let mut counts = Counts::new();
    let concerned = |one: &&InstanceStatus| !matches!(one.state, InstanceState::Warm | InstanceState::Stopping);
    for one in list.instances.iter().filter(concerned).filter(|one| only.is_none_or(|name| one.process == *name)) {
        let count: &mut u64 = counts.entry(&one.process).or_default().entry(&one.node).or_default();
        *count += 1;
    }
    counts
}

fn nodes_text(nodes: &BTreeMap<&str, u64>) -> String {
    let text = nodes.iter().map(|(node, count)| format!("{count} on {}", escaped(node)));
    text.collect::<Vec<_>>().join(", ")
}

fn count_text(count: Option<Instances>) -> String {
    count.map_or_else(|| "default".to_owned(), |count| count.to_string())
}

/// Returns a line for each process: the number of instances, of healthy ones, and the source of the wanted number.
fn scale_lines(list: &InstanceList) -> Vec<String> {
    let current = || list.instances.iter().filter(|one| one.state != InstanceState::Warm);
    let names: BTreeSet<&ProcessName> = current().map(|one| &one.process).chain(list.scale.keys()).collect();
    if names.is_empty() {
        return vec!["What is live has no backend that the edge runs.".to_owned()];
    }
    let line = |name: &ProcessName| {
        let own: Vec<&InstanceStatus> = current().filter(|one| one.process == *name).collect();
        let healthy = own.iter().filter(|one| one.state == InstanceState::Healthy).count();
        let declared = match list.scale.get(name) {
            Some(Instances::All(All::All)) => "one on each node, as `devanture scale` said".to_owned(),
            Some(Instances::Count(count)) => format!("{count} in all, as `devanture scale` said"),
            None => "as devanture.toml says".to_owned(),
        };
        format!("  {:<12}  {}, {healthy} healthy  {declared}", name.as_str(), counted(own.len() as u64, "instance"))
    };
    names.into_iter().map(line).collect()
}

/// Returns the memory of an instance, and its limit.
fn memory_text(one: &InstanceStatus) -> String {
    match (one.memory_bytes, one.memory_bytes_max) {
        (Some(used), Some(max)) => format!("{} of {}", byte_text(used), byte_text(max)),
        (Some(used), None) => byte_text(used),
        (None, _) => "-".to_owned(),
    }
}

/// Returns instances as a table: for each the node, the state and its duration, the restarts, the memory, and the
/// reason of the state.
fn table(style: Style, list: &InstanceList) -> Vec<String> {
    if list.instances.is_empty() {
        return vec!["No instance runs here.".to_owned()];
    }
    let row = |one: &InstanceStatus| {
        [
            escaped(&one.name),
            escaped(&one.node),
            one.state.to_string(),
            format!("since {}", time_text(one.since_ms)),
            counted(one.restarts, "restart"),
            memory_text(one),
            one.version.short(),
        ]
    };
    let rows: Vec<[String; 7]> = list.instances.iter().map(row).collect();
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |(one, row): (&InstanceStatus, &[String; 7])| {
        let cells = row.iter().zip(widths).map(|(cell, width)| {
            // Padded before it is marked, as marks have a width of their own.
            let padded = format!("{cell:<width$}");
            match (*cell == row[2], one.state) {
                (true, InstanceState::Healthy) => style.good(&padded),
                (true, InstanceState::Unhealthy | InstanceState::CrashLoop) => style.bad(&padded),
                _ => padded,
            }
        });
        let detail = one.detail.as_deref().map(|detail| style.dim(&escaped(detail)));
        let cells: Vec<String> = cells.chain(detail).collect();
        format!("  {}", cells.join("  ").trim_end())
    };
    list.instances.iter().zip(&rows).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::Digest;
    use devanture_config::site_toml::Kind;

    fn plain() -> Style {
        Style::of(&[("NO_COLOR".to_owned(), "1".to_owned())].into(), false)
    }

    fn one(name: &str, state: InstanceState, restarts: u64, detail: Option<&str>) -> InstanceStatus {
        let process: ProcessName = name.split('.').next().unwrap().parse().unwrap();
        InstanceStatus {
            name: name.to_owned(),
            node: "node-1".to_owned(),
            kind: if process.as_str() == WEB { Kind::Web } else { Kind::Worker },
            process,
            state,
            version: Digest::of(b"1"),
            settings: 0,
            pid: Some(1),
            memory_bytes: (state == InstanceState::Healthy).then_some(84_200_000),
            memory_bytes_max: Some(512 << 20),
            processes: Some(1),
            tmp_bytes: None,
            restarts,
            since_ms: 0,
            detail: detail.map(str::to_owned),
        }
    }

    #[test]
    fn instances_are_reported_as_a_table() {
        let instances = vec![
            one("web.1", InstanceState::Healthy, 0, None),
            one("mailer.1", InstanceState::CrashLoop, 12, Some("exited with code 1\u{7}")),
        ];
        let lines = table(plain(), &InstanceList { instances, ..InstanceList::default() });
        let id = Digest::of(b"1").short();
        assert_eq!(
            lines,
            [
                format!(
                    "  web.1     node-1  healthy     since 1970-01-01 00:00:00 UTC  0 restarts   84.2 MB of 536.8 MB  {id}"
                ),
                format!(
                    "  mailer.1  node-1  crash-loop  since 1970-01-01 00:00:00 UTC  12 restarts  -                    {id}  \
                     exited with code 1\\u{{7}}"
                ),
            ]
        );
        assert_eq!(table(plain(), &InstanceList::default()), ["No instance runs here."]);
    }

    #[test]
    fn a_restart_counts_by_process_and_node_and_leaves_those_for_a_rollback_out() {
        let on = |name: &str, node: &str, state| InstanceStatus { node: node.to_owned(), ..one(name, state, 0, None) };
        let instances = vec![
            on("mailer.1", "edge-2", InstanceState::Healthy),
            on("web.1", "edge-1", InstanceState::Healthy),
            on("web.2", "edge-2", InstanceState::Healthy),
            on("web.3", "edge-1", InstanceState::Waiting),
            on("web.1", "edge-1", InstanceState::Warm),
        ];
        let list = InstanceList { instances, ..InstanceList::default() };
        let all = counts(&list, None);
        let texts = |counts: &Counts<'_>| -> Vec<String> { counts.values().map(nodes_text).collect() };
        assert_eq!(texts(&all), ["1 on edge-2", "2 on edge-1, 1 on edge-2"]);
        let value = json!(Restarted { list: &list, counts: &all });
        assert_eq!(value["counts"], json!({ "mailer": { "edge-2": 1 }, "web": { "edge-1": 2, "edge-2": 1 } }));
        assert_eq!(value["instances"].as_array().unwrap().len(), 5);
        assert_eq!(texts(&counts(&list, Some(&"mailer".parse().unwrap()))), ["1 on edge-2"]);
    }

    #[test]
    fn how_many_there_are_is_listed_with_who_set_it() {
        let instances = vec![
            one("web.1", InstanceState::Healthy, 0, None),
            one("web.2", InstanceState::Starting, 0, None),
            one("web.9", InstanceState::Warm, 0, None),
        ];
        let scale = [
            ("web".parse().unwrap(), Instances::Count(2)),
            ("mailer".parse().unwrap(), Instances::Count(0)),
            ("sweeper".parse().unwrap(), Instances::All(All::All)),
        ];
        let scale = scale.into();
        assert_eq!(
            scale_lines(&InstanceList { instances, scale, left_out: Vec::new() }),
            [
                "  mailer        0 instances, 0 healthy  0 in all, as `devanture scale` said",
                "  sweeper       0 instances, 0 healthy  one on each node, as `devanture scale` said",
                "  web           2 instances, 1 healthy  2 in all, as `devanture scale` said",
            ]
        );
        assert_eq!(scale_lines(&InstanceList::default()).len(), 1);
    }
}
