//! Predicted changes, as answered by the edge.

use devanture_config::api::{SettingsDifference, SwitchReport};
use devanture_config::{AppName, PlaceName, VersionId};
use serde::Serialize;
use serde_json::json;

use crate::context::Context;
use crate::output::progress::Style;

/// The predicted change of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Foreseen {
    /// Always true; distinguishes this line from that of the change itself.
    dry_run: bool,
    app: AppName,
    environment: PlaceName,
    version: VersionId,
    previous: Option<VersionId>,
    would_switch: bool,
    /// For a rollback with settings: the revision that would be restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<ForeseenSettings>,
}

/// Revisions of the settings before and after a rollback with settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct ForeseenSettings {
    was: u64,
    now: u64,
}

impl From<SwitchReport> for Foreseen {
    fn from(report: SwitchReport) -> Self {
        Self {
            dry_run: true,
            app: report.app,
            environment: report.environment,
            version: report.version,
            previous: report.previous,
            would_switch: report.switched,
            settings: report
                .settings
                .filter(|settings| settings.restored)
                .map(|SettingsDifference { was, now, .. }| ForeseenSettings { was, now }),
        }
    }
}

impl Foreseen {
    /// The text for a person.
    pub(crate) fn lines(&self, style: Style) -> Vec<String> {
        let from = self.previous.map_or_else(|| "nothing".to_owned(), |version| version.short());
        let to = self.version.short();
        let text = match self.would_switch {
            true => format!("{}: {from} → {to}", self.environment),
            false => format!("nothing: {} is {to} already", self.environment),
        };
        let mut lines = vec![style.line("would", &text)];
        lines.extend(self.settings.map(|ForeseenSettings { was, now }| {
            style.line("settings", &format!("revision {was} holds again, in place of {now}"))
        }));
        lines.push(nothing_changed(style));
        lines
    }
}

/// Prints the effect of a change: `text` is the rest of a sentence that begins with "would".
pub(crate) fn print_foreseen(context: &Context, value: &impl Serialize, text: &str) {
    let style = context.output.style;
    context.output.write(value, || vec![style.line("would", text), nothing_changed(style)]);
}

/// Like [`print_foreseen`], with the member of the JSON that names the change, such as `would_create`.
pub(crate) fn print_foreseen_as(context: &Context, value: &impl Serialize, member: &str, text: &str) {
    let mut value = json!(value);
    if let Some(members) = value.as_object_mut() {
        members.insert(member.to_owned(), true.into());
    }
    print_foreseen(context, &value, text);
}

/// Returns the last line of every `--dry-run` with a request to the edge.
pub(crate) fn nothing_changed(style: Style) -> String {
    style.line("note", "--dry-run: nothing has changed")
}
