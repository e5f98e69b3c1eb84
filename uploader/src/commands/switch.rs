//! `switch`, `rollback` and `promote`: a stored version goes live.

use devanture_config::PlaceName;
use devanture_config::api::{PromoteRequest, RollbackRequest, SwitchReport, SwitchRequest};
use devanture_config::problem::Code;
use reqwest::Method;
use serde::Serialize;

use super::canary;
use super::dry_run::Foreseen;
use crate::args::{Command, PromoteArgs, RollbackArgs, SwitchArgs};
use crate::context::Context;
use crate::edge::client::LAST_QUESTION_TIME_MAX;
use crate::output::exit::{Failure, INTERRUPTED};
use crate::output::last_line;
use crate::output::report::{self, Again};
use crate::output::step_output::StepOutput;
use crate::settings::Source;
use crate::signals::until_signal;

/// `switch`.
///
/// # Errors
/// The error of the edge, or `usage` for flags that conflict with a canary.
pub(crate) async fn switch(context: &Context, args: &SwitchArgs) -> Result<(), Failure> {
    canary::check_stored(args)?;
    if args.canary.is_wanted() {
        return canary::begin_stored(context, args).await;
    }
    let request = SwitchRequest {
        version: args.id.to_string(),
        if_live: args.if_live.as_ref().map(ToString::to_string),
        allow_refingerprint: args.allow_refingerprint,
        force: args.force,
        no_smoke: args.gate.no_smoke,
        watch_s: args.gate.watch_s(),
        rollout: args.gate.rollout(&context.project.site),
        reason: args.gate.reason.clone(),
    };
    if args.dry_run {
        return foresee(context, &context.place()?, "switch", &request).await;
    }
    let mut step_output = StepOutput::of_gate(&context.progress);
    let report = context.edge()?.switch(&context.place()?, &request, &mut |step| step_output.print(step)).await?;
    drop(step_output);
    print_switch(context, &report, &context.again());
    Ok(())
}

/// `rollback`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn rollback(context: &Context, args: &RollbackArgs) -> Result<(), Failure> {
    let request = RollbackRequest {
        version: args.id.as_ref().map(ToString::to_string),
        if_live: args.if_live.as_ref().map(ToString::to_string),
        force: args.force,
        with_settings: args.with_settings,
        no_smoke: args.gate.no_smoke,
        watch_s: args.gate.watch_s(),
        rollout: args.gate.rollout(&context.project.site),
        reason: args.gate.reason.clone(),
    };
    if args.dry_run {
        return foresee(context, &context.place()?, "rollback", &request).await;
    }
    let mut step_output = StepOutput::of_gate(&context.progress);
    let report = context.edge()?.rollback(&context.place()?, &request, &mut |step| step_output.print(step)).await?;
    drop(step_output);
    print_switch(context, &report, &context.again());
    Ok(())
}

/// `promote`.
///
/// # Errors
/// The error of the edge, or `usage` if both environments are the same.
pub(crate) async fn promote(context: &Context, args: &PromoteArgs) -> Result<(), Failure> {
    let environment = context.settings.environment()?;
    if environment.source == Source::Flag && environment.value != args.to {
        return Err(Failure::new(Code::Usage, "`promote` takes --from and --to, and no other --env."));
    }
    if args.from == args.to {
        return Err(Failure::new(Code::Usage, format!("--from and --to are both {}.", args.to)));
    }
    let wanted = PromoteRequest {
        from: args.from.clone(),
        version: args.id.as_ref().map(ToString::to_string),
        if_live: args.if_live.as_ref().map(ToString::to_string),
        allow_refingerprint: args.allow_refingerprint,
        force: args.force,
        no_smoke: args.gate.no_smoke,
        watch_s: args.gate.watch_s(),
        rollout: args.gate.rollout(&context.project.site),
        reason: args.gate.reason.clone(),
    };
    if args.dry_run {
        return foresee(context, &args.to, "promote", &wanted).await;
    }
    let mut step_output = StepOutput::of_gate(&context.progress);
    let report = context.edge()?.promote(&args.to, &wanted, &mut |step| step_output.print(step)).await?;
    drop(step_output);
    print_switch(context, &report, &context.again_in(&args.to));
    Ok(())
}

/// Prints the effect of a switch, a rollback or a promotion, as predicted by the edge.
async fn foresee(
    context: &Context,
    place: &PlaceName,
    operation: &str,
    request: &impl Serialize,
) -> Result<(), Failure> {
    let segments = ["environments", place.as_str(), operation];
    let report: SwitchReport = context.edge()?.foresee(Method::POST, &segments, request).await?;
    let foreseen = Foreseen::from(report);
    context.output.write(&foreseen, || foreseen.lines(context.output.style));
    Ok(())
}

pub(super) fn print_switch(context: &Context, report: &SwitchReport, again: &Again) {
    context.output.report(report, || report::switch_lines(context.output.style, report, again));
}

/// Returns the last line after `failure` of a command that makes a stored version live: the live version, if the checks
/// before the switch or the watch after it were the reason, or if the connection to the edge broke.
pub(crate) async fn last_sentence(context: &Context, command: &Command, failure: &Failure) -> Option<String> {
    let (place, again) = match command {
        Command::Promote(args) if !args.dry_run => (args.to.clone(), context.again_in(&args.to)),
        Command::Rollback(args) if !args.dry_run => (context.place().ok()?, context.again()),
        Command::Switch(args) if !args.dry_run => (context.place().ok()?, context.again()),
        _ => return None,
    };
    let is_decided = failure.is(Code::SmokeFailed) || failure.is(Code::WatchFailed);
    let is_open = failure.is(Code::Unreachable) || failure.exit >= INTERRUPTED;
    if !is_decided && !is_open {
        return None;
    }
    let edge = context.edge().ok()?;
    let status = until_signal(edge.status_within(&place, LAST_QUESTION_TIME_MAX)).await.and_then(Result::ok);
    Some(match status.map(|status| status.version) {
        Some(None) => last_line::NOTHING_LIVE.to_owned(),
        Some(Some(version)) if is_open => format!("{} is live in {place}.", version.short()),
        None if is_open => last_line::not_known(&again),
        Some(Some(_)) | None => last_line::STILL_RUNNING.to_owned(),
    })
}
