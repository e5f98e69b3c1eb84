//! Predicts the changes of a switch, a rollback, a promotion or an alias, by requests that change nothing.

use devanture_config::api::{Deploy, DeployKind, History, Outcome, Status};
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

impl Foreseen {
    fn of(status: &Status, version: VersionId) -> Self {
        Self {
            dry_run: true,
            app: status.app.clone(),
            environment: status.environment.clone(),
            version: Some(version),
            previous: status.version,
            would_switch: status.version != Some(version),
            settings: None,
        }
    }

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
        lines.extend(self.settings.map(|ForeseenSettings { was, now }| match was == now {
            true => style.line("settings", &format!("revision {now} stays")),
            false => style.line("settings", &format!("revision {was} holds again, in place of {now}")),
        }));
        lines.push(nothing_changed(style));
        lines
    }
}

/// The last line of every `--dry-run` that asks the edge.
pub(crate) fn nothing_changed(style: Style) -> String {
    style.line("note", "--dry-run: nothing has changed")
}

/// Predicts `switch`.
///
/// # Errors
/// As the edge says, `live_moved` where another version than `if_live` is live, and as [`find`].
pub(crate) async fn switch(
    edge: &Edge,
    place: &PlaceName,
    id: &IdPrefix,
    if_live: Option<&IdPrefix>,
) -> Result<Foreseen, Failure> {
    let status = edge.status(place).await?;
    if let Some(wanted) = if_live
        && !status.version.is_some_and(|live| wanted.matches(&live))
    {
        let live = status.version.map_or_else(|| "nothing".to_owned(), |version| version.to_string());
        let message = format!("{wanted} was expected to be live in {place}, but {live} is.");
        return Err(Failure::new(Code::LiveMoved, message).hint("look at `devanture status`, then decide"));
    }
    let version = find(edge, &status, id).await?;
    Ok(Foreseen::of(&status, version))
}

/// Predicts `rollback`.
///
/// # Errors
/// As the edge says, `no_previous` where there is nothing to go back to or no settings to restore, and as [`find`].
pub(crate) async fn rollback(
    edge: &Edge,
    place: &PlaceName,
    id: Option<&IdPrefix>,
    with_settings: bool,
) -> Result<Foreseen, Failure> {
    let status = edge.status(place).await?;
    let no_previous = |message: String| {
        Failure::new(Code::NoPrevious, message).hint("`devanture switch ID` makes any stored version live")
    };
    let Some(live) = status.version else {
        return Err(no_previous(format!("Nothing is live in {place}, so there is nothing to go back from.")));
    };
    let history = history(edge, place).await?;
    let deploys = &history.deploys;
    let (version, older) = match id {
        Some(id) => {
            let version = find(edge, &status, id).await?;
            (version, before_another(deploys, live, version))
        }
        None => {
            let gone = [history.deleted, history.collected].concat();
            let (version, position) = earlier(deploys, live, &gone)
                .ok_or_else(|| no_previous(format!("No version was live in {place} before {}.", live.short())))?;
            (version, before_position(deploys, position))
        }
    };
    let mut foreseen = Foreseen::of(&status, version);
    if with_settings {
        let settings = settings_of(deploys, older, version);
        let settings = settings.ok_or_else(|| {
            let short = version.short();
            no_previous(match version == live {
                true => format!("{short} is live in {place}, and was not before: there are no other settings of it."),
                false => format!("{short} was never live in {place}: there are no settings of it."),
            })
        })?;
        foreseen.settings = Some(settings);
        foreseen.would_switch |= settings.was != settings.now;
    }
    Ok(foreseen)
}

/// Predicts `promote`.
///
/// # Errors
/// As the edge says, or `nothing_live` in `from`.
pub(crate) async fn promote(edge: &Edge, from: &PlaceName, to: &PlaceName) -> Result<Foreseen, Failure> {
    let status = edge.status(to).await?;
    let source = status.places.iter().find(|place| !place.alias && place.name == *from);
    let Some(source) = source else {
        let message = format!("Nothing is live in {from} of the app {}.", status.app);
        return Err(Failure::new(Code::NothingLive, message).hint(format!("push to {from} first")));
    };
    Ok(Foreseen::of(&status, source.version))
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

/// The settings that a rollback to `version` restores: those of its newest entry in `older`. `None` if it was never
/// live there. All deploys are newest first.
fn settings_of(deploys: &[Deploy], older: &[Deploy], version: VersionId) -> Option<ForeseenSettings> {
    let is_of_settings = |deploy: &&Deploy| is_live(deploy) || deploy.kind == DeployKind::Settings;
    let now = deploys.iter().find(is_of_settings)?.settings;
    let was = older.iter().filter(is_of_settings).find(|deploy| deploy.version == version)?.settings;
    let was_live = older.iter().any(|deploy| is_live(deploy) && deploy.version == version);
    was_live.then_some(ForeseenSettings { was, now })
}

fn is_live(deploy: &Deploy) -> bool {
    deploy.outcome == Outcome::Live
}

/// The deploys in which `rollback ID` looks for `version`: all, but of the live version itself only those before
/// another one was live.
fn before_another(deploys: &[Deploy], live: VersionId, version: VersionId) -> &[Deploy] {
    let is_other = |deploy: &Deploy| is_live(deploy) && deploy.version != live;
    let from = if version == live { deploys.iter().position(is_other).unwrap_or(deploys.len()) } else { 0 };
    deploys.get(from..).unwrap_or_default()
}

/// The deploys before the one at `position`, counted from the oldest that went live.
fn before_position(deploys: &[Deploy], position: usize) -> &[Deploy] {
    let went_live = deploys.iter().enumerate().rev().filter(|(_, deploy)| is_live(deploy));
    let from = { went_live }.nth(position).map_or(deploys.len(), |(index, _)| index + 1);
    deploys.get(from..).unwrap_or_default()
}

/// The version that a rollback from `live` goes to, by `deploys`, newest first; `deleted` ones are passed over. Beside
/// it stands the place of the live one among the deploys that went live, the oldest first.
///
/// Going back twice goes further back: a rollback stands, for the next one, where the deploy stands that it went back
/// to. That place is not reported, so the deploys are gone through again, the oldest first.
fn earlier(deploys: &[Deploy], live: VersionId, deleted: &[VersionId]) -> Option<(VersionId, usize)> {
    let mut order: Vec<(VersionId, usize)> = Vec::new();
    for deploy in deploys.iter().rev().filter(|deploy| is_live(deploy)) {
        let own_place = order.len();
        let place = match deploy.kind {
            DeployKind::Rollback => {
                let back = |deleted: &[VersionId]| {
                    let back = order.last().and_then(|(version, place)| before(&order, *version, *place, deleted));
                    back.filter(|(version, _)| *version == deploy.version)
                };
                // `rollback ID` goes to where that version was live last.
                let named = || order.iter().rev().find(|(version, _)| *version == deploy.version).copied();
                // What is deleted now may have been there then, or not.
                back(&[]).or_else(|| back(deleted)).or_else(named).map_or(own_place, |(_, place)| place)
            }
            DeployKind::Push
            | DeployKind::Switch
            | DeployKind::Promote
            | DeployKind::Pause
            | DeployKind::Resume
            | DeployKind::Settings
            | DeployKind::Lock
            | DeployKind::Unlock
            | DeployKind::Delete
            | DeployKind::Undelete => own_place,
        };
        order.push((deploy.version, place));
    }
    let (_, place) = order.last()?;
    before(&order, live, *place, deleted).map(|(version, _)| (version, *place))
}

/// The newest deploy before `place` that had another version live than `live`, and where it stands.
fn before(
    order: &[(VersionId, usize)],
    live: VersionId,
    place: usize,
    deleted: &[VersionId],
) -> Option<(VersionId, usize)> {
    let is_other = |version: &VersionId| *version != live && !deleted.contains(version);
    order.iter().take(place).rev().find(|(version, _)| is_other(version)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::Digest;

    /// Deploys from words such as `pA`, a push of A, and `rA`, a rollback to A; the oldest stands first.
    fn deploys(words: &str) -> Vec<Deploy> {
        let deploy = |word: &str| Deploy {
            id: String::new(),
            kind: if word.starts_with('r') { DeployKind::Rollback } else { DeployKind::Push },
            environment: PlaceName::prod(),
            version: Digest::of(&word.as_bytes()[1..]),
            previous: None,
            who: String::new(),
            at_ms: 0,
            source: Default::default(),
            steps: Vec::new(),
            outcome: if word.starts_with('s') { Outcome::Stored } else { Outcome::Live },
            alias: None,
            problem: None,
            went_back: None,
            log: Vec::new(),
            settings: 0,
        };
        words.split(' ').rev().map(deploy).collect()
    }

    #[test]
    fn a_rollback_goes_further_back_each_time() {
        for (words, live, target) in [
            ("pA", "A", None),
            ("pA pB", "B", Some("A")),
            ("pA pB pC", "C", Some("B")),
            ("pA pB pC rB", "B", Some("A")),
            ("pA pB pC rB rA", "A", None),
            ("pA pB pC rB pD", "D", Some("B")),
            ("pA pB pC rB pD rB", "B", Some("A")),
            ("pA pB sC", "B", Some("A")),
            ("pA pB pC rA", "A", None),
            ("pA pB pA", "A", Some("B")),
        ] {
            let wanted = target.map(|name| Digest::of(name.as_bytes()));
            let found = earlier(&deploys(words), Digest::of(live.as_bytes()), &[]);
            assert_eq!(found.map(|(version, _)| version), wanted, "{words}");
        }
    }

    #[test]
    fn a_rollback_with_settings_foresees_their_revision() {
        let id = |name: &str| Digest::of(name.as_bytes());
        let deploys = |words: &str| -> Vec<Deploy> {
            let mut found = deploys(words);
            for (deploy, number) in found.iter_mut().rev().zip(1..) {
                deploy.settings = number;
            }
            found
        };
        for (words, live, version, settings) in [
            ("pA pB", "B", "A", Some((1, 2))),
            ("pA pA pB", "B", "A", Some((2, 3))),
            ("pA pB sC", "B", "A", Some((1, 2))),
            ("pA pB", "B", "B", None),
            ("pB pA pB", "B", "B", Some((1, 3))),
            ("sA pB", "B", "A", None),
        ] {
            let (deploys, version) = (deploys(words), id(version));
            let found = settings_of(&deploys, before_another(&deploys, id(live), version), version);
            assert_eq!(found.map(|found| (found.was, found.now)), settings, "{words}: {live} to {version}");
        }
        // A second rollback goes back from where the first one went to.
        for (words, live, settings) in
            [("pA pB", "B", (1, 2)), ("pA pB pA rB", "B", (1, 4)), ("pA pB pC rB", "B", (1, 4))]
        {
            let deploys = deploys(words);
            let (version, position) = earlier(&deploys, id(live), &[]).unwrap();
            let found = settings_of(&deploys, before_position(&deploys, position), version).unwrap();
            assert_eq!((found.was, found.now), settings, "{words}");
        }
    }

    #[test]
    fn a_rollback_passes_over_what_was_deleted() {
        let id = |name: &str| Digest::of(name.as_bytes());
        for (words, live, deleted, target) in [
            ("pA pB pC", "C", "B", Some("A")),
            ("pA pB", "B", "A", None),
            ("pA pB pC pD rB", "B", "C", Some("A")),
            ("pA pB pC pD rC", "C", "B", Some("A")),
        ] {
            let found = earlier(&deploys(words), id(live), &[id(deleted)]);
            assert_eq!(found.map(|(version, _)| version), target.map(id), "{words} without {deleted}");
        }
    }
}
