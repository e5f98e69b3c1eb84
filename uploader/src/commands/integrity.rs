//! `integrity`: browsers' reports about assets without a hash.

use devanture_config::api::{IntegrityReport, IntegrityReports};

use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::report::{counted, time_text};
use crate::output::terminal::escaped;

/// `integrity`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn integrity(context: &Context) -> Result<(), Failure> {
    let reports = context.edge()?.integrity_reports(&context.place()?).await?;
    context.output.write(&reports, || lines(context.output.style, &reports));
    Ok(())
}

fn lines(style: Style, found: &IntegrityReports) -> Vec<String> {
    let mut lines: Vec<String> = found.reports.iter().map(|report| line(style, report)).collect();
    if lines.is_empty() {
        lines.push(format!("No browser has reported anything in {} since the edge started.", found.environment));
    }
    if !found.missing.is_empty() {
        lines.push(style.line("missing", &format!("{} did not answer", found.missing.join(", "))));
    }
    lines
}

/// Formats a report, with a text from any client, without control characters.
fn line(style: Style, report: &IntegrityReport) -> String {
    let IntegrityReport { blocked, destination, page, enforced, count, last_ms, .. } = report;
    let what = format!("{} of {}", escaped(blocked), escaped(page));
    let text = format!("{what}  {}, {}, last {}", escaped(destination), counted(*count, "time"), time_text(*last_ms));
    style.line(if *enforced { "blocked" } else { "reported" }, &text)
}
