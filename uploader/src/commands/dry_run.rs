//! Predicted changes: of switches as the edge answers, of aliases and deleted versions by requests that only read.

use devanture_config::api::{History, Outcome, SettingsDifference, Status, SwitchReport};
use devanture_config::problem::Code;
use devanture_config::{AppName, IdPrefix, PlaceName, VersionId};
use serde::Serialize;

use crate::edge::client::Edge;
use crate::output::exit::Failure;
use crate::output::progress::Style;

/// The most deploys that the edge gives at once; what a place was before them is not looked at.
const DEPLOYS_MAX: &str = "1000";

/// The predicted change of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Foreseen {
    /// Always true; it tells this line from that of the change itself.
    dry_run: bool,
    app: AppName,
    environment: PlaceName,
    version: Option<VersionId>,
    previous: Option<VersionId>,
    would_switch: bool,
    /// Of a rollback with settings: which revision of them would hold again.
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
            version: Some(report.version),
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
        let short =
            |version: Option<VersionId>| version.map_or_else(|| "nothing".to_owned(), |version| version.short());
        let (from, to) = (short(self.previous), short(self.version));
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

/// The last line of every `--dry-run` that asks the edge.
pub(crate) fn nothing_changed(style: Style) -> String {
    style.line("note", "--dry-run: nothing has changed")
}

/// Predicts `alias set`, or without `id` `alias delete`.
///
/// # Errors
/// As the edge says, `alias_taken` where `name` is an environment, `not_found` where an alias to delete is none, and as
/// [`find`].
pub(crate) async fn alias(edge: &Edge, name: &PlaceName, id: Option<&IdPrefix>) -> Result<Foreseen, Failure> {
    // Of an app, every environment tells all places.
    let status = edge.status(&PlaceName::prod()).await?;
    let there = status.places.iter().find(|place| place.name == *name);
    if name.is_prod() || there.is_some_and(|place| !place.alias) {
        let message = format!("{name} is an environment of the app {}.", status.app);
        return Err(Failure::new(Code::AliasTaken, message).hint("choose another name for the alias"));
    }
    let previous = there.map(|place| place.version);
    let version = match id {
        Some(id) => Some(find(edge, &status, id).await?),
        None if previous.is_none() => {
            let message = format!("The app {} has no alias {name}.", status.app);
            return Err(Failure::new(Code::NotFound, message));
        }
        None => None,
    };
    let (app, environment) = (status.app, name.clone());
    Ok(Foreseen {
        dry_run: true,
        app,
        environment,
        version,
        previous,
        would_switch: version != previous,
        settings: None,
    })
}

/// The version of `id`, among those that the edge lists: live or named ones, and those of histories.
///
/// # Errors
/// As the edge says, `ambiguous_id`, or `not_found` where no history holds such a version: one that was only ever
/// stored elsewhere may still be there, which only the command itself finds out.
pub(crate) async fn find(edge: &Edge, status: &Status, id: &IdPrefix) -> Result<VersionId, Failure> {
    let mut known: Vec<VersionId> = status.places.iter().map(|place| place.version).collect();
    let mut collected: Vec<VersionId> = Vec::new();
    let others = status.places.iter().filter(|place| !place.alias && place.name != status.environment);
    for place in std::iter::once(&status.environment).chain(others.map(|place| &place.name)) {
        match history(edge, place).await {
            Ok(History { deploys, deleted, collected: gone, .. }) => {
                let stored = deploys.iter().filter(|deploy| deploy.outcome != Outcome::Failed);
                let is_there = |version: &VersionId| !deleted.contains(version) && !gone.contains(version);
                known.extend(stored.map(|deploy| deploy.version).filter(is_there));
                collected.extend(gone);
            }
            // A token of one environment may not see the others.
            Err(failure) if failure.is(Code::Forbidden) && *place != status.environment => {}
            Err(failure) => return Err(failure),
        }
    }
    known.retain(|version| id.matches(version));
    known.sort();
    known.dedup();
    match known.as_slice() {
        [version] => Ok(*version),
        [] if collected.iter().any(|version| id.matches(version)) => {
            let message =
                format!("The version {id} of the app {} was old, nothing held it, and it was collected.", status.app);
            Err(Failure::new(Code::VersionCollected, message).hint("push its bundle again: it gets the same id"))
        }
        [] => {
            Err(Failure::new(Code::NotFound, format!("The histories of the app {} hold no version {id}.", status.app))
                .hint("`devanture history` lists the versions"))
        }
        several => {
            let names: Vec<String> = several.iter().map(VersionId::short).collect();
            let message = format!("{id} may be any of {}.", names.join(", "));
            Err(Failure::new(Code::AmbiguousId, message).hint("type more of it"))
        }
    }
}

pub(crate) async fn history(edge: &Edge, place: &PlaceName) -> Result<History, Failure> {
    edge.history(place, &[("limit", DEPLOYS_MAX)]).await
}
