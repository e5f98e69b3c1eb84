//! The commands beside pushing: `pause`, `resume`, and `delete` of a path.

use devanture_config::api::{PauseReport, PauseRequest, WithdrawReport, WithdrawRequest};
use devanture_config::site_toml::RoutePath;
use reqwest::Method;
use serde_json::json;

use super::dry_run::print_foreseen;
use crate::args::{PauseArgs, ResumeArgs};
use crate::context::Context;
use crate::edge::client::Edge;
use crate::output::exit::Failure;
use crate::output::report::Again;

/// `pause`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn pause(context: &Context, args: &PauseArgs) -> Result<(), Failure> {
    let (edge, place) = (context.edge()?, context.place()?);
    let request =
        PauseRequest { message: args.message.clone(), allow: args.allow.clone(), retry_after_s: args.retry_after };
    if args.dry_run {
        let report: PauseReport =
            edge.foresee(Method::POST, &["environments", place.as_str(), "pause"], &request).await?;
        let text = match (&report.paused, report.changed) {
            (_, false) => format!("nothing: {place} is paused like that already"),
            (Some(_), true) => format!("change how {place} is paused"),
            (None, true) => format!("pause {place}"),
        };
        print_foreseen(context, &foreseen_of(&report), &text);
        return Ok(());
    }
    let report = edge.pause(&place, &request).await?;
    let again = context.again();
    context.output.report(&report, || pause_lines(context, &report, &again));
    Ok(())
}

/// `resume`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn resume(context: &Context, args: &ResumeArgs) -> Result<(), Failure> {
    let (edge, place) = (context.edge()?, context.place()?);
    if args.dry_run {
        let segments = ["environments", place.as_str(), "resume"];
        let report: PauseReport = edge.foresee(Method::POST, &segments, &json!({})).await?;
        let text = match report.changed {
            true => format!("end the pause of {place}"),
            false => format!("nothing: {place} is not paused"),
        };
        print_foreseen(context, &foreseen_of(&report), &text);
        return Ok(());
    }
    let report = edge.resume(&place).await?;
    context.output.report(&report, || pause_lines(context, &report, &Again::default()));
    Ok(())
}

/// `delete PATH`.
pub(crate) async fn withdraw(context: &Context, edge: &Edge, path: &str, dry_run: bool) -> Result<(), Failure> {
    let request = WithdrawRequest { path: path.to_owned() };
    if dry_run {
        let report: WithdrawReport = edge.foresee(Method::POST, &["withdrawn"], &request).await?;
        let value = json!({
            "dry_run": true,
            "app": report.app,
            "path": report.path,
            "answered": report.answered,
            "is_withdrawn": report.was_withdrawn,
            "would_withdraw": true,
        });
        let again = if report.was_withdrawn { " once more: it was withdrawn before" } else { "" };
        let text = format!("withdraw {} from every version that is stored{again}", report.path);
        print_foreseen(context, &value, &text);
        return Ok(());
    }
    let report = edge.withdraw(&request).await?;
    if !report.answered {
        context.progress.note(&format!(
            "no version at hand answered {}: is it spelt as in an address? Older versions may have it",
            report.path
        ));
    }
    context.output.report(&report, || {
        let outcome = match report.answered {
            true => "is gone: no version that is stored answers it any more, on any hostname",
            false => "is withdrawn from every version that is stored; a route to a backend answers as before",
        };
        vec![
            format!("{} {outcome}.", report.path),
            "One that is stored later, and has it, does. What browsers have kept, they have.".to_owned(),
            format!("undo  devanture delete {} --undo{}", report.path, context.again().0),
        ]
    });
    Ok(())
}

/// `delete PATH --undo`.
pub(crate) async fn restore(context: &Context, edge: &Edge, path: &str, dry_run: bool) -> Result<(), Failure> {
    let report = edge.restore(path, dry_run).await?;
    if report.dry_run {
        let value = json!({
            "dry_run": true,
            "app": report.app,
            "path": report.path,
            "answers": report.answers,
            "would_restore": true,
        });
        print_foreseen(context, &value, &format!("let {} answer again in every version that has it", report.path));
        return Ok(());
    }
    if !report.answers {
        context.progress.note(&format!("no version at hand has {}; older versions may", report.path));
    }
    context.output.report(&report, || vec![format!("{} answers again in every version that has it.", report.path)]);
    Ok(())
}

fn foreseen_of(report: &PauseReport) -> serde_json::Value {
    json!({
        "dry_run": true,
        "app": report.app,
        "environment": report.environment,
        "paused": report.paused,
        "would_change": report.changed,
    })
}

fn pause_lines(context: &Context, report: &PauseReport, again: &Again) -> Vec<String> {
    let style = context.output.style;
    let line = |name: &str, text: String| style.line(name, &text);
    let environment = &report.environment;
    let Some(pause) = &report.paused else {
        return vec![match report.changed {
            true => line("resumed", format!("{environment} answers again")),
            false => line("same", format!("{environment} was not paused; nothing has changed")),
        }];
    };
    let mut lines = vec![match report.changed {
        true => line("paused", format!("{environment} answers 503 until you resume it")),
        false => line("same", format!("{environment} is paused like that already; nothing has changed")),
    }];
    let open: Vec<&str> = pause.allow.iter().map(RoutePath::as_str).collect();
    if !open.is_empty() {
        lines.push(line("open", open.join(", ")));
    }
    lines.push(line("undo", format!("devanture resume{}", again.0)));
    lines
}
