//! `apps`: the apps that the token may read, and the live versions of their environments.

use devanture_config::AppName;
use devanture_config::api::{AppEnvironment, AppInfo, AppList};
use reqwest::Method;

use crate::args::AppsArgs;
use crate::context::Context;
use crate::edge::client::{ANSWER_TIME_MAX, Link};
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::report::{counted, time_text};

/// Apps of one request for all apps.
const PAGE: u16 = 1_000;

impl Link {
    async fn apps(&self, args: &AppsArgs, after: Option<&str>) -> Result<AppList, Failure> {
        let limit = if args.all { PAGE } else { args.limit }.to_string();
        let mut query = vec![("limit", limit.as_str())];
        query.extend(args.search.as_deref().map(|search| ("search", search)));
        query.extend(after.map(|after| ("after", after)));
        let request = || self.request_at(Method::GET, &["apps"], &query).timeout(ANSWER_TIME_MAX);
        self.repeated(request).await
    }
}

/// `apps`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn apps(context: &Context, args: &AppsArgs) -> Result<(), Failure> {
    let link = context.link()?;
    let mut list = link.apps(args, args.after.as_ref().map(AppName::as_str)).await?;
    while args.all
        && let Some(after) = list.next.take()
    {
        let page = link.apps(args, Some(&after)).await?;
        list.apps.extend(page.apps);
        list.next = page.next;
    }
    context.output.write(&list, || lines(context.output.style, args, &list));
    Ok(())
}

/// A row of the table, before its columns have their widths.
struct Row {
    /// The app, environment, version, time and author.
    columns: [String; 5],
    /// The rest, of any width.
    notes: String,
}

fn lines(style: Style, args: &AppsArgs, list: &AppList) -> Vec<String> {
    if list.apps.is_empty() {
        return vec![match (&args.search, &args.after) {
            (Some(search), _) => format!("No app has `{search}` in its name."),
            (None, Some(after)) => format!("There is no app behind {after}."),
            (None, None) => "There is no app yet: `devanture push` makes one.".to_owned(),
        }];
    }
    let rows: Vec<Row> = list.apps.iter().flat_map(rows).collect();
    let mut widths = [0_usize; 5];
    for row in &rows {
        for (width, column) in widths.iter_mut().zip(&row.columns) {
            *width = (*width).max(column.chars().count());
        }
    }
    let mut lines: Vec<String> = rows.iter().map(|row| line(style, row, &widths)).collect();
    let totals = &list.totals;
    let of = match list.apps.len() {
        shown if u64::try_from(shown) == Ok(totals.apps) => String::new(),
        shown => format!("{shown} of "),
    };
    lines.push(style.dim(&format!(
        "  {of}{}, {}, {}",
        counted(totals.apps, "app"),
        counted(totals.environments, "environment"),
        counted(totals.hostnames, "hostname"),
    )));
    lines.extend(list.next.as_ref().map(|next| {
        let search = args.search.as_ref().map_or_else(String::new, |search| format!(" --search {search}"));
        style.dim(&format!("  more: devanture apps{search} --after {next}"))
    }));
    lines
}

fn line(style: Style, row: &Row, widths: &[usize; 5]) -> String {
    let columns = row.columns.iter().zip(widths);
    let columns: Vec<String> = columns.map(|(column, width)| format!("{column:<0$}", *width)).collect();
    format!("  {}  {}", columns.join("  "), style.dim(&row.notes)).trim_end().to_owned()
}

/// Returns a row for each environment; the first contains the app's name.
fn rows(app: &AppInfo) -> Vec<Row> {
    let mut rows: Vec<Row> = app.environments.iter().map(environment_row).collect();
    let more = app.environments_total.saturating_sub(u64::try_from(app.environments.len()).unwrap_or(u64::MAX));
    if rows.is_empty() {
        rows.push(text_row("nothing is live"));
    } else if more > 0 {
        rows.push(text_row(&format!("and {more} more")));
    }
    if let Some(Row { columns: [name, ..], .. }) = rows.first_mut() {
        *name = app.app.to_string();
    }
    rows
}

fn text_row(text: &str) -> Row {
    let columns = ["", text, "", "", ""].map(str::to_owned);
    Row { columns, notes: String::new() }
}

fn environment_row(environment: &AppEnvironment) -> Row {
    let mut notes = Vec::new();
    if environment.hostnames > 0 {
        notes.push(counted(environment.hostnames, "hostname"));
    }
    let states = [(environment.paused, "paused"), (environment.locked, "locked"), (environment.damaged, "damaged")];
    notes.extend(states.into_iter().filter(|(is_so, _)| *is_so).map(|(_, state)| state.to_owned()));
    notes.extend(environment.canary.map(|canary| format!("canary {} for {}", canary.version.short(), canary.share)));
    Row {
        columns: [
            String::new(),
            environment.name.to_string(),
            environment.version.map_or_else(|| "unknown".to_owned(), |version| version.short()),
            environment.since_ms.map_or_else(String::new, time_text),
            environment.who.as_ref().map_or_else(String::new, |who| format!("by {who}")),
        ],
        notes: notes.join(", "),
    }
}
