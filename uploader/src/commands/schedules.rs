//! `schedules`, `schedules run`: the scheduled commands of a backend.

use devanture_config::api::{RunOutcome, ScheduleList, ScheduleRunEnd, ScheduleSkip, ScheduleStatus};
use serde_json::json;

use super::dry_run;
use crate::args::{SchedulesArgs, SchedulesCommand};
use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::report::time_text;
use crate::output::terminal::escaped;

/// `schedules`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn schedules(context: &Context, args: &SchedulesArgs) -> Result<(), Failure> {
    let (edge, place, style) = (context.edge()?, context.place()?, context.output.style);
    match &args.command {
        None | Some(SchedulesCommand::List) => {
            let list = edge.schedules(&place).await?;
            context.output.write(&list, || all_lines(style, &list));
        }
        Some(SchedulesCommand::Run { name, dry_run: true }) => {
            let status = edge.run_schedule(&place, name, true).await?;
            let value = json!({ "dry_run": true, "environment": place, "schedule": status });
            let text = format!("run {name} in {place}: {}", command_text(&status));
            dry_run::print_foreseen(context, &value, &text);
        }
        Some(SchedulesCommand::Run { name, dry_run: false }) => {
            let status = edge.run_schedule(&place, name, false).await?;
            context.output.report(&status, || {
                let node = status.running.last().map_or_else(String::new, |run| format!(" on {}", escaped(&run.node)));
                vec![
                    style.line("run", &format!("{name} has begun in {place}{node}")),
                    style.line("output", &format!("devanture logs --source schedule.{name}{}", context.again().0)),
                ]
            });
        }
    }
    Ok(())
}

fn command_text(status: &ScheduleStatus) -> String {
    escaped(&status.command.join(" "))
}

/// Returns the outcome of a run, and its duration.
fn end_text(last: &ScheduleRunEnd) -> String {
    let seconds = last.ended_ms.saturating_sub(last.run.started_ms) / 1_000;
    let how = match (last.outcome, last.exit_code, &last.detail) {
        (RunOutcome::Failed, Some(code), _) => format!("failed with code {code}"),
        (outcome, _, Some(detail)) => format!("{outcome}: {}", escaped(detail)),
        (outcome, ..) => outcome.to_string(),
    };
    let started = time_text(last.run.started_ms);
    match last.outcome {
        // The end of an interrupted run is the time of its discovery.
        RunOutcome::Interrupted => format!("{how}, started {started}"),
        RunOutcome::Succeeded | RunOutcome::Failed | RunOutcome::TimedOut => {
            format!("{how}, started {started}, took {seconds} s")
        }
    }
}

/// Returns a line for each schedule, and a line for its last run.
fn all_lines(style: Style, list: &ScheduleList) -> Vec<String> {
    if list.schedules.is_empty() {
        return vec!["What is live has no schedule.".to_owned()];
    }
    let mut lines = Vec::new();
    let width = |text: fn(&ScheduleStatus) -> usize| list.schedules.iter().map(text).max().unwrap_or(0);
    let (names, crons) = (width(|one| one.name.as_str().len()), width(|one| cron_text(one).chars().count()));
    for one in &list.schedules {
        let next = match one.next_ms {
            _ if list.paused => "paused".to_owned(),
            Some(next) => format!("next {}", time_text(next)),
            None => "no more times".to_owned(),
        };
        lines.push(format!("  {:<names$}  {:<crons$}  {next}", one.name.as_str(), cron_text(one)));
        for run in &one.running {
            lines.push(format!("    running since {} on {}", time_text(run.started_ms), escaped(&run.node)));
        }
        if let Some(last) = &one.last {
            let text = format!("last {}", end_text(last));
            let is_good = last.outcome == RunOutcome::Succeeded;
            lines.push(format!("    {}", if is_good { style.good(&text) } else { style.bad(&text) }));
        }
        let is_newest =
            |skipped: &ScheduleSkip| one.last.as_ref().is_none_or(|last| last.run.due_ms < Some(skipped.due_ms));
        if let Some(skipped) = one.skipped.filter(is_newest) {
            lines.push(style.dim(&format!("    passed over {}: {}", time_text(skipped.due_ms), skipped.reason)));
        }
    }
    lines
}

fn cron_text(one: &ScheduleStatus) -> String {
    format!("{} {}", escaped(one.cron.as_str()), one.zone)
}

#[cfg(test)]
mod tests {
    use devanture_config::Digest;
    use devanture_config::api::{ScheduleRun, SkipReason};

    use super::*;

    fn status() -> ScheduleStatus {
        ScheduleStatus {
            name: "digest".parse().unwrap(),
            cron: "0 8 * * *".parse().unwrap(),
            zone: "Europe/Paris".parse().unwrap(),
            command: vec!["node".to_owned(), "digest.js".to_owned()],
            missed: Default::default(),
            overlap: false,
            timeout_ms: 60_000,
            next_ms: Some(25_200_000),
            running: Vec::new(),
            last: None,
            skipped: None,
        }
    }

    #[test]
    fn a_schedule_is_listed_with_its_next_time_and_its_last_run() {
        let style = Style::of(&[("NO_COLOR".to_owned(), "1".to_owned())].into(), false);
        let run =
            ScheduleRun { due_ms: Some(0), started_ms: 1_000, node: "node-1".to_owned(), version: Digest::of(b"1") };
        let (outcome, exit_code, detail) = (RunOutcome::Failed, Some(3), None);
        let last = Some(ScheduleRunEnd { run: run.clone(), ended_ms: 5_000, outcome, exit_code, detail });
        let skipped = Some(ScheduleSkip { due_ms: 60_000, reason: SkipReason::Running });
        let failed = ScheduleStatus { running: vec![run], last, skipped, ..status() };
        let list = ScheduleList { schedules: vec![failed], paused: false };
        assert_eq!(
            all_lines(style, &list),
            [
                "  digest  0 8 * * * Europe/Paris  next 1970-01-01 07:00:00 UTC",
                "    running since 1970-01-01 00:00:01 UTC on node-1",
                "    last failed with code 3, started 1970-01-01 00:00:01 UTC, took 4 s",
                "    passed over 1970-01-01 00:01:00 UTC: the run before had not ended",
            ]
        );
        let paused = ScheduleList { schedules: vec![status()], paused: true };
        assert_eq!(all_lines(style, &paused), ["  digest  0 8 * * * Europe/Paris  paused"]);
        assert_eq!(all_lines(style, &ScheduleList::default()), ["What is live has no schedule."]);
    }
}
