//! Reports at the end of a command, for a person and as one line of JSON.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use devanture_config::api::{
    DeployReport, Lock, Pause, Returning, SettingName, SettingsDifference, Step, StepState, SwitchReport,
};
use devanture_config::problem::Code;
pub(crate) use devanture_config::text::{byte_text, counted, date_time as time_text};
use serde::Serialize;

use super::exit::Failure;
use super::progress::Style;
use super::terminal;

/// Writes to stdout.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Set if JSON is requested.
    pub(crate) is_json: bool,
    /// Set if only errors are printed.
    pub(crate) is_quiet: bool,
    /// The style of text on stdout.
    pub(crate) style: Style,
}

impl Output {
    /// Writes `value` as one line of JSON if requested, else `lines`.
    pub(crate) fn write(self, value: &impl Serialize, lines: impl FnOnce() -> Vec<String>) {
        match self.is_json {
            true => self.json(value),
            false => self.lines(&lines()),
        }
    }

    /// Writes the result of a change: like [`Output::write`], except that quiet mode without JSON prints no result.
    pub(crate) fn report(self, value: &impl Serialize, lines: impl FnOnce() -> Vec<String>) {
        if self.is_json || !self.is_quiet {
            self.write(value, lines);
        }
    }

    /// Returns the same output, but not quiet for a prediction: the report is the only result.
    pub(crate) fn of_change(self, is_dry_run: bool) -> Self {
        Self { is_quiet: self.is_quiet && !is_dry_run, ..self }
    }

    /// Writes `value` as one line of JSON.
    pub(crate) fn json(self, value: &impl Serialize) {
        self.script(&terminal::json(&serde_json::to_string(value).unwrap_or_default()));
    }

    /// Writes lines for a person.
    pub(crate) fn lines(self, lines: &[String]) {
        self.script(&terminal::lines(lines.iter().map(String::as_str)));
    }

    /// Writes a text of this program's own unchanged, and ends the line.
    pub(crate) fn script(self, text: &str) {
        let mut stdout = io::stdout().lock();
        is_written(writeln!(stdout, "{text}").and_then(|()| stdout.flush()));
    }
}

/// Returns true if required output was written; otherwise the command fails at its end. A closed reader, such as
/// `head`, is not a failure of the command.
pub(crate) fn is_written(written: io::Result<()>) -> bool {
    if written.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::BrokenPipe) {
        IS_UNWRITTEN.store(true, Ordering::Relaxed);
    }
    written.is_ok()
}

/// Set if some output could not be written, as on a full disk.
static IS_UNWRITTEN: AtomicBool = AtomicBool::new(false);

/// The failure if required output could not be written.
pub(crate) fn unwritten() -> Option<Failure> {
    IS_UNWRITTEN.load(Ordering::Relaxed).then(|| {
        Failure::new(Code::Internal, "The result could not be printed: stdout cannot be written.")
            .hint("it was done all the same; see `devanture status` and `devanture history`")
    })
}

/// The flags that select the same app and environment in a further command.
#[derive(Debug, Clone, Default)]
pub(crate) struct Again(pub(crate) String);

/// Returns the lines after a successful push; for a push to an alias, `again` names only the app.
pub(crate) fn deploy_lines(
    style: Style,
    report: &DeployReport,
    was_live: bool,
    no_switch: bool,
    again: &Again,
) -> Vec<String> {
    let line = |name: &str, text: String| style.line(name, &text);
    let id = report.version.short();
    // A command that would be refused is not named.
    let next = |text: String| (!report.may_not_switch).then(|| line("next", text));
    let mut lines = Vec::new();
    if let Some(alias) = &report.alias {
        if was_live {
            lines.push(line("same", format!("{} is {id} already", alias.name)));
        }
        lines.push(line("alias", format!("{}  ·  preview {}", style.good(&alias.url), report.urls.preview)));
        lines.extend(alias.expires_ms.map(|at_ms| line("ends", time_text(at_ms))));
        lines.extend(next(format!("devanture switch {id}{}", again.0)));
        return lines;
    }
    if let Some(lock) = &report.locked {
        lines.push(line("locked", lock_text(lock)));
        lines.push(line("stored", format!("what is live stays  ·  preview {}", style.good(&report.urls.preview))));
        lines.extend(next(format!("devanture switch {id}{0}, once `devanture unlock{0}` has ended the lock", again.0)));
        return lines;
    }
    if was_live && !report.switched {
        let what = match (report.files.new, report.bytes.sent) {
            (0, _) if !report.hostnames.is_empty() => "its hostnames change".to_owned(),
            (0, _) if report.restored_manifest => "its manifest, which the edge had lost, is restored".to_owned(),
            (0, 0) => "nothing was sent, nothing has changed".to_owned(),
            // An archive comes whole.
            (0, _) => "nothing has changed".to_owned(),
            // The edge had lost files of the version, or the manifest with its link to this app.
            (sent, _) => format!("what the edge had lost of it is restored ({} sent again)", counted(sent, "file")),
        };
        lines.push(line("same", format!("{id} is live in {} already; {what}", report.environment)));
    }
    if !report.hostnames.is_empty() {
        let names: Vec<String> = report.hostnames.iter().map(ToString::to_string).collect();
        lines.push(line("new", format!("{} of {}", names.join(", "), report.environment)));
    }
    if no_switch && !was_live {
        lines.push(line("stored", format!("preview {}", style.good(&report.urls.preview))));
        lines.extend(next(format!("devanture switch {id}{}", again.0)));
        return lines;
    }
    lines.extend(report.returning.as_ref().and_then(returning_text).map(|text| style.dim(&format!("  {text}"))));
    lines.push(line("ready", format!("{}  ·  preview {}", style.good(&report.urls.live), report.urls.preview)));
    lines.extend(report.paused.as_ref().map(|pause| line("paused", still_paused_text(pause, again))));
    if report.switched && report.previous.is_some() {
        lines.push(line("undo", format!("devanture rollback{}", again.0)));
    }
    lines
}

/// Returns the pause that hides the new live version from visitors, and the way to end it.
fn still_paused_text(pause: &Pause, again: &Again) -> String {
    let since = time_text(pause.since_ms);
    format!("since {since} by {}: visitors get 503 until `devanture resume{}`", pause.who, again.0)
}

/// Returns the amount of data that visitors of the previous version load again; empty if equal to that of new visitors.
fn returning_text(returning: &Returning) -> Option<String> {
    let Returning { bytes, plain_bytes } = *returning;
    let text = format!("returning visitors: {} instead of {}", byte_text(bytes), byte_text(plain_bytes));
    (bytes < plain_bytes).then_some(text)
}

pub(super) fn lock_text(lock: &Lock) -> String {
    let reason = lock.reason.as_deref().map_or_else(String::new, |reason| format!("  \u{201c}{reason}\u{201d}"));
    format!("since {} by {}{reason}", time_text(lock.since_ms), lock.who)
}

/// The lines after a switch, a rollback or a promotion.
pub(crate) fn switch_lines(style: Style, report: &SwitchReport, again: &Again) -> Vec<String> {
    let line = |name: &str, text: String| style.line(name, &text);
    let id = report.version.short();
    let mut lines = Vec::new();
    let is_of_settings = report.switched && report.previous == Some(report.version);
    if is_of_settings {
        lines.push(line("same", format!("{id} is live in {} already; its settings change", report.environment)));
    } else if report.switched {
        let from = report.previous.map_or_else(|| "nothing".to_owned(), |version| version.short());
        lines.push(line("switch", format!("{}: {from} → {id}   ({} ms)", report.environment, report.ms)));
    } else {
        lines.push(line("same", format!("{id} is live in {} already; nothing has changed", report.environment)));
    }
    lines.push(line("ready", format!("{}  ·  preview {}", style.good(&report.urls.live), report.urls.preview)));
    lines.extend(report.paused.as_ref().map(|pause| line("paused", still_paused_text(pause, again))));
    let settings = report.settings.iter().flat_map(|difference| settings_lines(difference, &id, again));
    lines.extend(settings.map(|text| line("settings", text)));
    if let (true, Some(previous)) = (report.switched && !is_of_settings, report.previous) {
        let is_restored = report.settings.as_ref().is_some_and(|difference| difference.restored);
        // A switch alone would leave the restored settings in force.
        let undo = match (is_restored, previous.short()) {
            (true, previous) => format!("devanture rollback {previous} --with-settings"),
            (false, previous) => format!("devanture switch {previous}"),
        };
        lines.push(line("undo", format!("{undo}{}", again.0)));
    }
    lines
}

/// Returns the difference of the settings from those with which a version was live.
fn settings_lines(difference: &SettingsDifference, id: &str, again: &Again) -> Vec<String> {
    let SettingsDifference { was, now, .. } = difference;
    if !difference.kept {
        return vec![format!("revision {now} stays; what the version was live with, {was}, is no longer kept")];
    }
    let names = |names: &[SettingName]| names.iter().map(SettingName::as_str).collect::<Vec<_>>().join(", ");
    let parts = [("changed", &difference.changed), ("added", &difference.added), ("removed", &difference.removed)];
    let parts = parts.into_iter().filter(|(_, list)| !list.is_empty());
    let parts: Vec<String> = parts.map(|(what, list)| format!("{what} {}", names(list))).collect();
    let parts = parts.join("; ");
    match difference.restored {
        true => vec![format!("revision {was} holds again, in place of {now}: since then {parts}")],
        false => vec![
            format!("revision {now} stays; the version was live with {was}: since then {parts}"),
            format!("to restore these too: devanture rollback {id} --with-settings{}", again.0),
        ],
    }
}

/// Returns the text of a step at its end.
pub(crate) fn step_text(style: Style, step: &Step) -> String {
    let detail = match (step.state, step.detail.as_str()) {
        (StepState::Failed, "") => "failed",
        (StepState::Skipped, "") => "not needed",
        (_, "") => "ok",
        (_, detail) => detail,
    };
    let detail = if step.state == StepState::Failed { style.bad(detail) } else { detail.to_owned() };
    // Only the time of the switch matters: for that long both versions could be served.
    if step.name == "switch" && step.state == StepState::Done { format!("{detail}   ({} ms)", step.ms) } else { detail }
}

/// Whole milliseconds.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::Digest;
    use devanture_config::api::{ByteCounts, FileCounts, PlaceStatus, Urls};

    fn plain() -> Style {
        Style::of(&[("NO_COLOR".to_owned(), "1".to_owned())].into(), false)
    }

    fn urls() -> Urls {
        Urls { live: "https://shop.localhost".to_owned(), preview: "https://p.localhost".to_owned(), alias: None }
    }

    fn report() -> DeployReport {
        DeployReport {
            app: "shop".parse().unwrap(),
            environment: "prod".parse().unwrap(),
            version: Digest::of(b"new"),
            previous: Some(Digest::of(b"old")),
            urls: urls(),
            files: FileCounts { total: 3, new: 1 },
            bytes: ByteCounts { total: 30, sent: 10 },
            deploy: Some("d1".to_owned()),
            switched: true,
            steps: vec![Step { name: "scan".to_owned(), state: StepState::Done, detail: "3 files".to_owned(), ms: 1 }],
            withdrawn: Vec::new(),
            alias: None,
            locked: None,
            returning: None,
            hostnames: Vec::new(),
            only: None,
            with: None,
            restored_manifest: false,
            may_not_switch: false,
            paused: None,
        }
    }

    #[test]
    fn a_push_to_a_paused_environment_says_how_the_pause_ends() {
        let pause = Pause { since_ms: 0, who: "ops".to_owned(), message: None, allow: Vec::new(), retry_after_s: 60 };
        let paused = DeployReport { paused: Some(pause), ..report() };
        let again = Again(" --env staging".to_owned());
        let expected = "  paused    since 1970-01-01 00:00:00 UTC by ops: visitors get 503 until \
            `devanture resume --env staging`";
        let is_live = DeployReport { switched: false, files: FileCounts { total: 3, new: 0 }, ..paused.clone() };
        for (report, was_live) in [(paused, false), (is_live, true)] {
            let lines = deploy_lines(plain(), &report, was_live, false, &again);
            assert!(lines.iter().any(|line| line == expected), "{lines:#?}");
        }
    }

    #[test]
    fn the_json_of_a_push_has_the_members_of_the_contract() {
        let value = serde_json::to_value(report()).unwrap();
        for member in ["app", "environment", "version", "previous", "urls", "files", "bytes", "deploy", "steps"] {
            assert!(value.get(member).is_some(), "{member}");
        }
        assert_eq!(value["version"].as_str().unwrap().len(), 64);
        assert_eq!(value["files"], serde_json::json!({ "total": 3, "new": 1 }));
        assert_eq!(value["bytes"], serde_json::json!({ "total": 30, "sent": 10 }));
        assert_eq!(value["urls"]["preview"], "https://p.localhost");
        assert_eq!(value["steps"][0]["name"], "scan");
        assert!(!serde_json::to_string(&report()).unwrap().contains('\n'));
    }

    #[test]
    fn a_push_ends_with_where_to_look_and_how_to_undo() {
        let lines = deploy_lines(plain(), &report(), false, false, &Again(" --env staging".to_owned()));
        assert_eq!(
            lines,
            [
                "  ready     https://shop.localhost  ·  preview https://p.localhost",
                "  undo      devanture rollback --env staging",
            ]
        );
        let returning = Some(Returning { bytes: 41_000, plain_bytes: 2_100_000 });
        let with_deltas =
            deploy_lines(plain(), &DeployReport { returning, ..report() }, false, false, &Again::default());
        assert_eq!(with_deltas[0], "  returning visitors: 41 KB instead of 2.1 MB");
        let returning = Some(Returning { bytes: 41_000, plain_bytes: 41_000 });
        let without = deploy_lines(plain(), &DeployReport { returning, ..report() }, false, false, &Again::default());
        assert_eq!(without.len(), 2, "nothing is said where nothing is saved");
        let first = DeployReport { previous: None, ..report() };
        assert_eq!(deploy_lines(plain(), &first, false, false, &Again::default()).len(), 1);
        let stored = DeployReport { switched: false, ..report() };
        let lines = deploy_lines(plain(), &stored, false, true, &Again::default());
        assert_eq!(lines[1], format!("  next      devanture switch {}", report().version.short()));
        let archive = DeployReport { files: FileCounts { new: 0, ..stored.files }, ..stored };
        let same = deploy_lines(plain(), &archive, true, false, &Again::default());
        assert!(same[0].ends_with("is live in prod already; nothing has changed"), "{same:?}");
        let stored = DeployReport { bytes: ByteCounts { sent: 0, ..archive.bytes }, ..archive };
        let same = deploy_lines(plain(), &stored, true, false, &Again::default());
        assert!(same[0].contains("is live in prod already; nothing was sent, nothing has changed"), "{same:?}");
        let named = DeployReport { hostnames: vec!["www.example.org".parse().unwrap()], ..stored.clone() };
        let named = deploy_lines(plain(), &named, true, false, &Again::default());
        assert!(named[0].ends_with("is live in prod already; its hostnames change"), "{named:?}");
        assert_eq!(named[1], "  new       www.example.org of prod");
        let manifest = DeployReport { restored_manifest: true, ..stored.clone() };
        let healed = deploy_lines(plain(), &manifest, true, false, &Again::default());
        assert!(healed[0].ends_with("already; its manifest, which the edge had lost, is restored"), "{healed:?}");
        let lost = DeployReport { files: FileCounts { new: 2, ..stored.files }, ..stored };
        let healed = deploy_lines(plain(), &lost, true, false, &Again::default());
        assert!(
            healed[0].contains("already; what the edge had lost of it is restored (2 files sent again)"),
            "{healed:?}"
        );
    }

    #[test]
    fn a_push_to_an_alias_or_a_locked_environment_says_what_became_of_it() {
        let alias = PlaceStatus {
            name: "feature-x".parse().unwrap(),
            alias: true,
            version: report().version,
            url: "https://feature-x--shop.localhost".to_owned(),
            since_ms: 0,
            who: None,
            expires_ms: Some(0),
        };
        let aliased = DeployReport { switched: false, alias: Some(alias), ..report() };
        let lines = deploy_lines(plain(), &aliased, false, false, &Again(" --app shop".to_owned()));
        assert_eq!(lines[0], "  alias     https://feature-x--shop.localhost  ·  preview https://p.localhost");
        assert_eq!(lines[1], "  ends      1970-01-01 00:00:00 UTC");
        assert!(
            lines[2].starts_with("  next      devanture switch ") && lines[2].ends_with(" --app shop"),
            "{lines:?}"
        );
        let of_developer = DeployReport { may_not_switch: true, ..aliased };
        assert_eq!(deploy_lines(plain(), &of_developer, false, false, &Again::default()).len(), 2, "no next command");
        let lock = Lock { since_ms: 0, who: "ops".to_owned(), reason: Some("Sale".to_owned()) };
        let locked = DeployReport { switched: false, locked: Some(lock), ..report() };
        let lines = deploy_lines(plain(), &locked, false, false, &Again::default());
        assert_eq!(lines[0], "  locked    since 1970-01-01 00:00:00 UTC by ops  \u{201c}Sale\u{201d}");
        assert_eq!(lines[1], "  stored    what is live stays  ·  preview https://p.localhost");
        assert!(!serde_json::to_string(&report()).unwrap().contains("locked"), "only where it is");
    }

    #[test]
    fn times_are_reported_in_utc() {
        assert_eq!(time_text(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(time_text(u64::MAX), format!("{} ms", u64::MAX));
    }
}
