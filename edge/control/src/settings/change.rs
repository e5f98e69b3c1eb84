//! Changes the settings of an environment: a new revision, and a live pointer to the revision, in a single commit.

use std::collections::{BTreeMap, BTreeSet};

use devanture_config::api::{DeployKind, SettingName, SettingWanted, SettingsPatch, SettingsReport};
use devanture_config::parsing::{Mistake, Weight};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use devanture_config::{AppName, PlaceName};
use devanture_site::conditional::{Comparison, matches_any};

use super::Settings;
use super::context;
use super::keys::Keys;
use super::prepare::UnstoredSettings;
use crate::ledger::{Action, Actor, Attempts, AuditEvent, Error, Moves};
use devanture_base::clock;
use devanture_store::catalog::{Change, Check, Commit, Revision};
use devanture_store::records::settings::{self, Held, SettingsRecord, StoredSetting, StoredValue};
use devanture_store::records::{self, LivePointer};

/// Maximum number of characters of a change in the history.
const MESSAGE_CHARACTERS_MAX: usize = 500;

/// Parsed patch of settings.
struct ParsedPatch<'p> {
    set: BTreeMap<SettingName, &'p SettingWanted>,
    unset: BTreeSet<SettingName>,
}

/// Kind of a setting after a change, given the previous kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain { public: bool },
    Secret,
}

/// Differences between a patch and the current settings.
#[derive(Default)]
struct Changes {
    /// Settings to write: the kind, and the mark for development.
    set: BTreeMap<SettingName, (Kind, bool)>,
    unset: Vec<SettingName>,
}

impl Settings {
    /// Sets and unsets settings of an environment. `if_match` is the value of the field `If-Match`; with `dry_run`,
    /// only reports the effect. A patch without differences writes no revision. The first setting of an unknown app
    /// creates the app, like a first push. `still_may` checks the actor again after the wait for the turn.
    ///
    /// # Errors
    /// `bad_setting` with all mistakes, `too_many`, `precondition_failed`, `alias_taken`, `secrets_locked`, `deleted`,
    /// `name_reserved`; `not_found` for an unknown app if the patch sets no setting; errors of `still_may`.
    pub async fn change_settings(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        patch: &SettingsPatch,
        (if_match, dry_run): (Option<&[u8]>, bool),
        still_may: impl Future<Output = Result<(), Error>> + Send,
    ) -> Result<SettingsReport, Error> {
        self.ledger.check_there(app, None).await?;
        if patch.set.is_empty() {
            self.ledger.must_exist(app).await?;
        } else if !self.ledger.app_exists(app).await? {
            self.places.check_may_make(app, environment, false).await?;
        }
        let wanted = self.read_patch(patch)?;
        self.instances.check_settings_actor(actor)?;
        // Instances start with a revision before the revision is stored, so two changes must not use the same revision.
        let mut turn = match dry_run {
            true => self.instances.take_turn_here(app, environment).await,
            false => self.instances.take_turn(app, environment).await?,
        };
        still_may.await?;
        let mut begun_with = None;
        let mut attempts = Attempts::default();
        loop {
            attempts.begin(&settings::settings_prefix(app, environment))?;
            self.ledger.check_place(app, environment).await?;
            let live = self.ledger.live_pointer(app, environment).await?;
            let held = settings::held(&*self.ledger.catalog, app, environment).await?;
            if if_match.is_some_and(|tags| !matches_any(tags, &etag(held.revision), Comparison::Strong)) {
                return Err(moved(environment, held.revision).into());
            }
            let changes = Self::changes(&held, &wanted)?;
            let changed = !changes.set.is_empty() || !changes.unset.is_empty();
            let next = held.newest.max(turn.begun.newest()).saturating_add(1);
            let revision = match begun_with {
                _ if !changed => held.revision,
                // Same values, after another commit won the race.
                Some(begun) if begun > held.newest => begun,
                _ => next,
            };
            let report = SettingsReport {
                dry_run,
                app: app.clone(),
                environment: environment.clone(),
                changed,
                revision,
                previous: held.revision,
                set: changes.set.keys().cloned().collect(),
                unset: changes.unset.clone(),
                live: live.is_some(),
            };
            self.check_room(&held.record, &wanted, &changes)?;
            if !changed || dry_run {
                return Ok(report);
            }
            let record = self.changed(actor, (app, environment), &held.record, &wanted, &changes, revision)?;
            let place = (app, environment);
            let prepared = match &live {
                Some((_, pointer)) => {
                    let coming = UnstoredSettings { revision, record: &record };
                    self.prepare_for_settings(place, pointer.version, coming, &mut turn.begun).await?
                }
                None => None,
            };
            begun_with = prepared.as_ref().map(|_| revision).or(begun_with);
            // Both hold the same lock until the commit.
            let making_app = self.places.make_app(app).await?;
            let _making = match &making_app {
                Some(_) => None,
                None => self.places.make_environment(app, environment, live.is_some()).await?,
            };
            if self.commit_settings(actor, place, live, revision, &record, &changes).await? {
                if let Some(prepared) = prepared {
                    self.await_settings(place, revision, prepared).await;
                }
                tracing::info!(app = %app, environment = %environment, who = actor.name, revision, "settings were changed");
                return Ok(report);
            }
        }
    }

    /// Parses the names of a patch, and runs all checks that do not need the current settings.
    fn read_patch<'p>(&self, patch: &'p SettingsPatch) -> Result<ParsedPatch<'p>, Error> {
        let mut mistakes = Vec::new();
        let mut wrong = |name: &str, message: String, hint: Option<&str>| {
            // A user may type `NAME=value` as a name by mistake: the output must not show the value.
            let name = name.split('=').next().unwrap_or_default();
            let file: String = name.chars().take(64).flat_map(char::escape_debug).collect();
            let hint = hint.map(str::to_owned);
            mistakes.push(Mistake { file, line: 0, weight: Weight::Mistake, message, hint });
        };
        let mut wanted = ParsedPatch { set: BTreeMap::new(), unset: BTreeSet::new() };
        for (name, setting) in &patch.set {
            match name.parse::<SettingName>() {
                Err(error) => wrong(name, error.to_string(), Some("such as API_URL")),
                Ok(read) if read.is_reserved() => {
                    wrong(name, "the edge itself sets this name".to_owned(), Some("choose another"));
                }
                Ok(read) => drop(wanted.set.insert(read, setting)),
            }
            if exceeds(name.len(), self.ledger.limits().setting_name_bytes_max) {
                wrong(
                    name,
                    format!("the name has {} bytes", name.len()),
                    Some("`setting_name_bytes_max` in edge.toml is the limit"),
                );
            }
            if exceeds(setting.value.len(), self.ledger.limits().setting_value_bytes_max) {
                wrong(
                    name,
                    format!("the value has {} bytes", setting.value.len()),
                    Some("`setting_value_bytes_max` in edge.toml is the limit"),
                );
            }
            if setting.value.contains('\0') {
                wrong(name, "the value holds a NUL, which no variable can".to_owned(), None);
            }
            if setting.public == Some(true) && setting.secret == Some(true) {
                wrong(name, "a secret is never public".to_owned(), Some("say one of the two"));
            }
            if patch.unset.contains(name) {
                wrong(name, "it is both set and unset".to_owned(), Some("say one of the two"));
            }
        }
        for name in &patch.unset {
            match name.parse::<SettingName>() {
                Err(error) => wrong(name, error.to_string(), Some("such as API_URL")),
                Ok(read) => drop(wanted.unset.insert(read)),
            }
        }
        if mistakes.is_empty() { Ok(wanted) } else { Err(bad(mistakes).into()) }
    }

    /// Returns the differences between a patch and the current settings.
    fn changes(held: &Held, wanted: &ParsedPatch<'_>) -> Result<Changes, Error> {
        let mut changes = Changes::default();
        let mut mistakes = Vec::new();
        for (name, setting) in &wanted.set {
            let before = held.record.settings.get(name);
            let Some(kind) = kind_of(before, setting) else {
                mistakes.push(Mistake {
                    file: name.to_string(),
                    line: 0,
                    weight: Weight::Mistake,
                    message: "it is a secret, and a secret is never public".to_owned(),
                    hint: Some(
                        "say that it is to be no secret any more: --secret=false, or \"secret\": false".to_owned(),
                    ),
                });
                continue;
            };
            let development = setting.development.unwrap_or_else(|| before.is_some_and(|before| before.development));
            let is_marked_so = before.is_some_and(|before| before.development == development);
            let is_same = is_marked_so
                && match (before.map(|before| &before.value), kind) {
                    (Some(StoredValue::Plain { value, public }), Kind::Plain { public: wanted }) => {
                        *value == setting.value && *public == wanted
                    }
                    // A secret is sealed again even if unchanged: otherwise the answer would tell an actor with write
                    // but without read access if a guess is right.
                    _ => false,
                };
            if !is_same {
                changes.set.insert(name.clone(), (kind, development));
            }
        }
        if !mistakes.is_empty() {
            return Err(bad(mistakes).into());
        }
        changes.unset = wanted.unset.iter().filter(|name| held.record.settings.contains_key(*name)).cloned().collect();
        Ok(changes)
    }

    /// Checks that the settings after the change are within the limits. Removals always pass.
    fn check_room(&self, before: &SettingsRecord, wanted: &ParsedPatch<'_>, changes: &Changes) -> Result<(), Error> {
        if changes.set.is_empty() {
            return Ok(());
        }
        let kept = before
            .settings
            .iter()
            .filter(|(name, _)| !changes.set.contains_key(*name) && !changes.unset.contains(name));
        let kept: Vec<usize> = kept.map(|(name, setting)| name.as_str().len() + setting.value.length()).collect();
        let set = changes.set.keys().filter_map(|name| Some(name.as_str().len() + wanted.set.get(name)?.value.len()));
        let all: Vec<usize> = kept.into_iter().chain(set).collect();
        let (count, bytes) = (all.len(), all.iter().sum::<usize>());
        let full = |detail: String, limit: &str| {
            Err(Problem::new(Code::TooMany, detail).hint(format!("`{limit}` in edge.toml is the limit")).into())
        };
        if exceeds(count, self.ledger.limits().settings_max) {
            return full(format!("The environment would have {}.", counted(count, "setting")), "settings_max");
        }
        if exceeds(bytes, self.ledger.limits().settings_bytes_max) {
            return full(format!("The settings of the environment would have {bytes} bytes."), "settings_bytes_max");
        }
        Ok(())
    }

    /// Returns the settings record for `revision`.
    fn changed(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        before: &SettingsRecord,
        wanted: &ParsedPatch<'_>,
        changes: &Changes,
        revision: u64,
    ) -> Result<SettingsRecord, Error> {
        let at_ms = clock::now_ms().max(before.at_ms);
        let mut settings = before.settings.clone();
        settings.retain(|name, _| !changes.unset.contains(name));
        let mut keys = None;
        for (name, (kind, development)) in &changes.set {
            let value = wanted.set.get(name).map_or("", |wanted| wanted.value.as_str());
            let value = match kind {
                Kind::Plain { public } => StoredValue::Plain { value: value.to_owned(), public: *public },
                Kind::Secret => {
                    let keys: &Keys = match &keys {
                        Some(keys) => keys,
                        None => keys.insert(self.keys.read_or_make()?),
                    };
                    StoredValue::Secret(keys.seal(&context(app, environment, name, revision), value)?)
                }
            };
            let setting = StoredSetting { value, revision, who: actor.name.clone(), at_ms, development: *development };
            settings.insert(name.clone(), setting);
        }
        Ok(SettingsRecord { who: actor.name.clone(), at_ms, settings })
    }

    /// Commits the revision and, with a live version, the live pointer to the revision and a history entry. Returns
    /// false if another commit won the race.
    async fn commit_settings(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        live: Option<(Revision, LivePointer)>,
        revision: u64,
        record: &SettingsRecord,
        changes: &Changes,
    ) -> Result<bool, Error> {
        let key = settings::settings_key(app, environment, revision);
        let live_key = records::live_key(app, environment);
        let mut commit = Commit {
            // An alias of the same name may have been created since the check.
            checks: vec![Check::Absent(key.clone()), Check::Absent(records::alias_key(app, environment))],
            changes: vec![Change::Put(key, records::write(record)?)],
        };
        let is_live = live.is_some();
        match live {
            None => commit.checks.push(Check::Absent(live_key)),
            Some((before, pointer)) => {
                let pointer = LivePointer { settings: revision, ..pointer };
                let (kind, note) = (DeployKind::Settings, Some(message(changes)));
                let (entry_key, entry) =
                    self.ledger.note(actor, (app, environment), kind, &pointer, record.at_ms, note).await?;
                commit.checks.extend([Check::At(live_key.clone(), before), Check::Absent(entry_key.clone())]);
                let (at_ms, deploy) = (record.at_ms, entry.deploy.id.as_str());
                let signed = self.signing.signed((app, environment), &pointer.version, true).await?;
                // Signers may have been set since the begin of the request.
                self.signing.check_unsigned(actor, (app, environment)).await?;
                commit.checks.extend(signed.checks);
                let moves = Moves { actor, kind, at_ms, deploy, signed_by: signed.by };
                self.ledger.log_live(&mut commit, (app, environment), &pointer, moves).await?;
                commit.changes.push(Change::Put(entry_key, records::write(&entry)?));
                commit.changes.push(Change::Put(live_key, records::write(&pointer)?));
            }
        }
        self.places.add_app(app, actor, record.at_ms, &mut commit).await?;
        self.prune_settings(app, environment, &mut commit).await?;
        let event = AuditEvent::of(Action::Settings).place(app, environment).what(message(changes));
        // Without a live version, the change has no visible effect.
        if is_live || environment.as_str() == "preview" {
            return self.ledger.commit(actor, event, commit).await;
        }
        Ok(self.ledger.commit_unseen(actor, event, commit).await?.is_some())
    }
}

/// Returns the kind of a setting after a change; unchanged by default. `None` for a public secret.
fn kind_of(before: Option<&StoredSetting>, wanted: &SettingWanted) -> Option<Kind> {
    let (was_secret, was_public) = match before.map(|before| &before.value) {
        Some(StoredValue::Secret(_)) => (true, false),
        Some(StoredValue::Plain { public, .. }) => (false, *public),
        None => (false, false),
    };
    match (wanted.secret.unwrap_or(was_secret), wanted.public) {
        (true, Some(true)) => None,
        (true, _) => Some(Kind::Secret),
        (false, public) => Some(Kind::Plain { public: public.unwrap_or(was_public) }),
    }
}

/// Returns the entity tag of a revision.
pub(crate) fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}

/// Returns the message of a change for the history: names only.
fn message(changes: &Changes) -> String {
    let list = |names: Vec<&str>| names.join(", ");
    let set = list(changes.set.keys().map(SettingName::as_str).collect());
    let unset = list(changes.unset.iter().map(SettingName::as_str).collect());
    let parts = [("set", set), ("unset", unset)];
    let parts: Vec<String> =
        parts.iter().filter(|(_, names)| !names.is_empty()).map(|(what, names)| format!("{what} {names}")).collect();
    parts.join("; ").chars().take(MESSAGE_CHARACTERS_MAX).collect()
}

fn exceeds(length: usize, max: u64) -> bool {
    u64::try_from(length).unwrap_or(u64::MAX) > max
}

fn bad(mistakes: Vec<Mistake>) -> Problem {
    let detail = match mistakes.len() {
        1 => "A setting cannot be taken.".to_owned(),
        count => format!("{count} things are wrong with the settings."),
    };
    Problem::new(Code::BadSetting, detail).with_mistakes(mistakes)
}

fn moved(environment: &PlaceName, revision: u64) -> Problem {
    let detail = format!("The settings of {environment} have revision {revision}, and not the one of `If-Match`.");
    Problem::new(Code::PreconditionFailed, detail).hint("look at them again, then decide")
}
