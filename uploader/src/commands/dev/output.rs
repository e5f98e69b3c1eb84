//! Output of `dev`: for a person a line for each change on stdout and mistakes on stderr, else one JSON object a line.

use std::collections::BTreeSet;
use std::path::Path;

use devanture_config::site_toml::Route;
use serde_json::{Value, json};
use time::{OffsetDateTime, UtcOffset};

use super::round::LiveVersion;
use crate::output::exit::Failure;
use crate::output::failure;
use crate::output::last_line::STILL_RUNNING;
use crate::output::progress::Progress;
use crate::output::report::{Output, counted};

/// Upper bound of shown left-out paths.
const SHOWN_MAX: usize = 5;

/// Reports events.
pub(super) struct DevOutput<'c> {
    output: Output,
    progress: &'c Progress,
    /// The person's offset from UTC.
    offset: UtcOffset,
    /// The announced wait, if any.
    waiting: Option<String>,
    /// Set if the last line about the files reported an obstacle.
    is_held_up: bool,
    /// Notes about the previous version, which are not repeated.
    notes: BTreeSet<String>,
}

/// The first output of a run.
pub(super) struct Ready<'r> {
    /// The address of the site.
    pub(super) url: &'r str,
    /// The folder, unless the pages are remote.
    pub(super) www: Option<&'r Path>,
    /// The routes of the site.
    pub(super) routes: &'r [Route],
    /// The authority's certificate.
    pub(super) authority: &'r Path,
}

impl<'c> DevOutput<'c> {
    pub(super) fn new(output: Output, progress: &'c Progress) -> Self {
        // UTC if the offset is unknown.
        let offset = UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC);
        Self { output, progress, offset, waiting: None, is_held_up: false, notes: BTreeSet::new() }
    }

    /// Says where the site is.
    pub(super) fn ready(&self, ready: &Ready<'_>) {
        let routes: Vec<Value> =
            ready.routes.iter().map(|r| json!({ "path": r.path.as_str(), "to": r.to.to_string() })).collect();
        let value = json!({
            "event": "ready", "url": ready.url, "www": ready.www, "routes": routes, "ca": ready.authority,
        });
        let style = self.output.style;
        self.output.write(&value, || {
            let mut lines = vec![style.line("ready", &style.good(ready.url))];
            lines.extend(ready.www.map(|www| style.line("folder", &www.display().to_string())));
            lines.extend(ready.routes.iter().map(|r| style.line("route", &format!("{}  →  {}", r.path, r.to))));
            let authority = ready.authority.display();
            lines.push(style.line("trust", &format!("{authority}  once, and the browser warns no more")));
            lines
        });
    }

    /// Reports a new live version.
    pub(super) fn live(&mut self, went: &LiveVersion) {
        (self.waiting, self.is_held_up) = (None, false);
        self.notes(went);
        let value = json!({
            "event": "live",
            "version": went.version,
            "files": went.files,
            "changed": went.changed.unwrap_or(went.files),
            "ms": went.ms,
        });
        let what = match went.changed {
            None => counted(went.files as u64, "file"),
            Some(0) => "settings changed".to_owned(),
            Some(changed) => format!("{} changed", counted(changed as u64, "file")),
        };
        let style = self.output.style;
        let clock = self.clock();
        self.output.write(&value, || vec![format!("{}  {what}, live in {} ms", style.dim(&clock), went.ms)]);
    }

    /// Reports, after an obstacle, that the files are valid again and already live.
    pub(super) fn unchanged(&mut self) {
        if !self.is_held_up {
            return;
        }
        (self.waiting, self.is_held_up) = (None, false);
        let clock = self.clock();
        let style = self.output.style;
        let value = json!({ "event": "unchanged" });
        self.output.write(&value, || vec![format!("{}  in order again, as it was live before", style.dim(&clock))]);
    }

    fn notes(&mut self, went: &LiveVersion) {
        let mut notes: BTreeSet<String> =
            went.doubts.iter().map(|doubt| format!("a push refuses this: {doubt}")).collect();
        if let Some(at) = &went.policy {
            notes.insert(format!("{at}: this Content-Security-Policy keeps pages from reloading by themselves"));
        }
        if !went.left_out.is_empty() {
            let shown: Vec<&str> = went.left_out.iter().take(SHOWN_MAX).map(String::as_str).collect();
            let more = went.left_out.len().saturating_sub(SHOWN_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            notes.insert(format!("left out: {}{more}", shown.join(", ")));
        }
        notes.extend(went.guess.clone());
        for note in notes.difference(&self.notes) {
            self.note(note);
        }
        self.notes = notes;
    }

    /// Prints a note for the user.
    pub(super) fn note(&self, text: &str) {
        if self.output.is_json {
            self.output.json(&json!({ "event": "note", "text": text }));
        }
        self.progress.note(text);
    }

    /// Reports, once, that there are no files to serve yet, or that a build seems to be running.
    pub(super) fn waiting(&mut self, why: &str) {
        if self.waiting.as_deref() == Some(why) {
            return;
        }
        (self.waiting, self.is_held_up) = (Some(why.to_owned()), true);
        let clock = self.clock();
        let style = self.output.style;
        let value = json!({ "event": "waiting", "text": why });
        self.output.write(&value, || vec![format!("{}  {why}", style.dim(&clock))]);
    }

    /// Reports the reason why a change did not go live.
    pub(super) fn failed(&mut self, failure: &Failure, is_something_live: bool) {
        (self.waiting, self.is_held_up) = (None, true);
        if self.output.is_json {
            let mut value = failure.json();
            if let Some(members) = value.as_object_mut() {
                members.insert("event".to_owned(), "failed".into());
            }
            self.output.json(&value);
        }
        let printed = Failure { is_printed: true, ..failure.clone() };
        failure::print(&self.output, self.progress, &printed, is_something_live.then_some(STILL_RUNNING));
    }

    /// Returns the local time of day.
    fn clock(&self) -> String {
        let now = OffsetDateTime::now_utc().to_offset(self.offset);
        format!("{:02}:{:02}:{:02}", now.hour(), now.minute(), now.second())
    }
}
