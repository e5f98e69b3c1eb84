//! `usage`: the limits of the app, and its use of each.

use devanture_config::api::{AppUsage, LimitUsage};

use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::report::byte_text;

/// `usage`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn usage(context: &Context) -> Result<(), Failure> {
    let usage = context.edge()?.usage().await?;
    context.output.write(&usage, || lines(context.output.style, &usage));
    Ok(())
}

/// Returns the limit in plain words; a newer edge may have further limits.
fn label(name: &str) -> &str {
    match name {
        "stored_bytes_per_app_max" => "bytes stored",
        "versions_max" => "versions",
        "bundle_files_max" => "files of a version",
        "aliases_max" => "aliases",
        "environments_max" => "environments",
        "hostnames_per_app_max" => "hostnames",
        "pushes_per_hour_per_app_max" => "pushes in an hour",
        "requests_per_app_max" => "requests under way",
        "sent_bytes_per_second_per_app_max" => "bytes sent in a second",
        other => other,
    }
}

/// Formats a value in the unit of its limit.
fn value(name: &str, value: u64) -> String {
    if name.contains("bytes") { byte_text(value) } else { value.to_string() }
}

fn lines(style: Style, usage: &AppUsage) -> Vec<String> {
    let rows: Vec<[String; 3]> = usage.limits.iter().map(row).collect();
    let mut widths = [0_usize; 3];
    for row in &rows {
        for (width, column) in widths.iter_mut().zip(row) {
            *width = (*width).max(column.chars().count());
        }
    }
    let [labels, used, max] = widths;
    let lines = rows.iter().zip(&usage.limits).map(|([label, is_used, is_max], limit)| {
        let own = if limit.own { ", for this app" } else { "" };
        let key = style.dim(&format!("{}{own}", limit.name));
        format!("  {label:<labels$}  {is_used:>used$}  {is_max:<max$}  {key}")
    });
    lines.collect()
}

/// Returns the limit, its use, and its maximum.
fn row(limit: &LimitUsage) -> [String; 3] {
    let used = limit.used.map_or_else(|| "not counted".to_owned(), |used| value(&limit.name, used));
    let max = match limit.max {
        None => "no limit".to_owned(),
        Some(max) => match limit.used.and_then(|used| used.saturating_mul(100).checked_div(max)) {
            Some(percent) => format!("of {} ({percent} %)", value(&limit.name, max)),
            None => format!("of {}", value(&limit.name, max)),
        },
    };
    [label(&limit.name).to_owned(), used, max]
}
