//! `canary`, `push --canary`, `switch --canary` and `unpin`: a share of the visitors gets a version before it is live
//! for all.

use devanture_config::api::{CanaryEnd, CanaryPlan, CanaryRequest, CanaryStatus, DeployReport, SideCounts};
use devanture_config::problem::Code;
use devanture_config::text::counted;
use devanture_config::{PlaceName, VersionId};

use super::switch::print_switch;
use crate::args::{CanaryAction, CanaryArgs, PlanArgs, PushArgs, SwitchArgs};
use crate::context::Context;
use crate::edge::client::Edge;
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::report::{Again, time_text};
use crate::output::step_output::StepOutput;
use crate::output::terminal::escaped;

/// `canary`.
///
/// # Errors
/// The error of the edge, or `usage` for steps that do not rise.
pub(crate) async fn canary(context: &Context, args: &CanaryArgs) -> Result<(), Failure> {
    let plan = plan(&args.plan)?;
    let (edge, place) = (context.edge()?, context.place()?);
    let end = CanaryEnd { force: args.force, reason: args.reason.clone() };
    let request = CanaryRequest { plan, force: args.force, reason: args.reason.clone(), ..CanaryRequest::default() };
    let status = match args.action {
        CanaryAction::Status if request.plan.is_some() => edge.set_canary(&place, &request).await?,
        CanaryAction::Status => {
            let status = edge.canary(&place).await?;
            context.output.write(&status, || lines(context.output.style, &status, &context.again()));
            return Ok(());
        }
        CanaryAction::Percent(share) => {
            edge.set_canary(&place, &CanaryRequest { share: Some(share), ..request }).await?
        }
        CanaryAction::Abort => edge.abort_canary(&place, &end).await?,
        CanaryAction::Finish => {
            let mut step_output = StepOutput::of_gate(&context.progress);
            let report = edge.finish_canary(&place, &end, &mut |step| step_output.print(step)).await?;
            drop(step_output);
            print_switch(context, &report, &context.again());
            return Ok(());
        }
    };
    context.output.report(&status, || lines(context.output.style, &status, &context.again()));
    Ok(())
}

/// `unpin`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn unpin(context: &Context) -> Result<(), Failure> {
    let unpinned = context.edge()?.unpin(&context.place()?).await?;
    context.output.report(&unpinned, || {
        let shorts: Vec<String> = unpinned.versions.iter().map(VersionId::short).collect();
        let text = match shorts.as_slice() {
            [] => format!("nobody was held on an earlier version of {}", unpinned.environment),
            _ => format!("{}: the next request of everybody gets what is live", shorts.join(", ")),
        };
        vec![context.output.style.line("unpin", &text)]
    });
    Ok(())
}

/// The plan of --auto.
///
/// # Errors
/// `usage`.
pub(super) fn plan(args: &PlanArgs) -> Result<Option<CanaryPlan>, Failure> {
    args.plan().map_err(|error| Failure::new(Code::Usage, format!("--auto: {error}.")))
}

/// Refuses canary flags without a canary, and flags that conflict with a canary.
///
/// # Errors
/// `usage`.
pub(super) fn check(args: &PushArgs) -> Result<(), Failure> {
    plan(&args.canary.plan)?;
    let usage = |message: &str, hint: &str| Err(Failure::new(Code::Usage, message).hint(hint));
    if !args.canary.is_wanted() && args.canary.canary_cookie.is_some() {
        return usage(
            "--canary-cookie is of a canary, and this push begins none.",
            "`devanture push --canary 10 --canary-cookie NAME` begins one",
        );
    }
    if args.canary.is_wanted() && (args.no_switch || args.alias.is_some() || args.gate.watch.is_some()) {
        return usage(
            "A canary goes neither with --no-switch nor with --alias, and watches itself with --auto.",
            "`devanture push --auto 5,25,50,100` compares errors by the rule of --watch",
        );
    }
    Ok(())
}

/// Like [`check`], for a canary of a stored version.
///
/// # Errors
/// `usage`.
pub(super) fn check_stored(args: &SwitchArgs) -> Result<(), Failure> {
    plan(&args.canary.plan)?;
    let usage = |message: &str, hint: &str| Err(Failure::new(Code::Usage, message).hint(hint));
    if !args.canary.is_wanted() && args.canary.canary_cookie.is_some() {
        return usage(
            "--canary-cookie is of a canary, and this switch begins none.",
            "`devanture switch ID --canary 10 --canary-cookie NAME` begins one",
        );
    }
    if args.canary.is_wanted() && (args.gate.watch.is_some() || args.gate.rollout.is_some()) {
        return usage(
            "A canary goes neither with --watch nor with --rollout.",
            "`devanture switch ID --auto 5,25,50,100` compares errors by the rule of --watch",
        );
    }
    if args.canary.is_wanted() && args.dry_run {
        return usage(
            "--dry-run is of a switch for all visitors, and not of a canary.",
            "without it the canary begins, and `devanture canary abort` takes it from all visitors at once",
        );
    }
    Ok(())
}

/// Begins a canary with a stored version.
///
/// # Errors
/// The error of the edge.
pub(super) async fn begin_stored(context: &Context, args: &SwitchArgs) -> Result<(), Failure> {
    let request = CanaryRequest {
        version: Some(args.id.to_string()),
        share: args.canary.canary,
        cookie: args.canary.canary_cookie.clone(),
        plan: plan(&args.canary.plan)?,
        if_live: args.if_live.as_ref().map(ToString::to_string),
        allow_refingerprint: args.allow_refingerprint,
        force: args.force,
        no_smoke: args.gate.no_smoke,
        reason: args.gate.reason.clone(),
    };
    let status = context.edge()?.set_canary(&context.place()?, &request).await?;
    context.output.report(&status, || lines(context.output.style, &status, &context.again()));
    Ok(())
}

/// Begins a canary with the pushed version.
pub(super) async fn begin(
    context: &Context,
    edge: &Edge,
    place: &PlaceName,
    args: &PushArgs,
    report: &DeployReport,
) -> Result<(), Failure> {
    let request = CanaryRequest {
        version: Some(report.version.to_string()),
        share: args.canary.canary,
        cookie: args.canary.canary_cookie.clone(),
        plan: plan(&args.canary.plan)?,
        if_live: args.if_live.as_ref().map(ToString::to_string),
        allow_refingerprint: args.allow_refingerprint,
        force: false,
        no_smoke: args.gate.no_smoke,
        reason: args.gate.reason.clone(),
    };
    let status = edge.set_canary(place, &request).await?;
    let mut value = serde_json::to_value(report).unwrap_or_default();
    if let Some(members) = value.as_object_mut() {
        members.insert("canary".to_owned(), serde_json::to_value(&status.canary).unwrap_or_default());
    }
    context.output.report(&value, || lines(context.output.style, &status, &context.again()));
    Ok(())
}

/// Returns the lines about both versions, and their answers.
fn lines(style: Style, status: &CanaryStatus, again: &Again) -> Vec<String> {
    let line = |name: &str, text: String| style.line(name, &text);
    let live = status.live.short();
    let Some(canary) = &status.canary else {
        return vec![line("live", format!("{live} for all visitors of {}; no canary runs", status.environment))];
    };
    let since = time_text(canary.since_ms);
    let mut lines = vec![
        line("canary", format!("{} for {} of the visitors", style.good(&canary.version.short()), canary.share)),
        line("live", format!("{live} for the others")),
        line("since", format!("{since} by {}", escaped(&canary.who))),
    ];
    lines.extend(canary.cookie.as_ref().map(|cookie| line("cookie", cookie.as_str().to_owned())));
    let counts = [(live, canary.counts.live), (canary.version.short(), canary.counts.canary)];
    lines.extend(counts.iter().map(|(id, counts)| line("answers", format!("{id}  {}", counts_text(counts)))));
    lines.extend(canary.next.as_ref().map(|next| match next.percent {
        100 => line("then", format!("finish at {}", time_text(next.at_ms))),
        percent => line("then", format!("{percent} % at {}", time_text(next.at_ms))),
    }));
    lines.push(line("preview", canary.urls.preview.clone()));
    lines.push(line("next", format!("devanture canary finish{0}, or devanture canary abort{0}", again.0)));
    lines
}

fn counts_text(counts: &SideCounts) -> String {
    // For files, the difference is less than a millisecond.
    let (ms, tenth) = (counts.mean_us / 1_000, counts.mean_us % 1_000 / 100);
    format!(
        "{}, {} with 5xx, {} with 404, {ms}.{tenth} ms on average",
        counted(counts.requests, "request"),
        counts.server_errors,
        counts.not_found
    )
}
