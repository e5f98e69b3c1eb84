//! Pauses and resumes environments: a single record, and a history entry. The live version stays live.

use devanture_config::api::{DeployKind, Pause, PauseReport, PauseRequest};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName};

use std::sync::Arc;

use crate::ledger::{Action, Actor, Error, Ledger, update};
use crate::places::{MarkerChange, Places};
use crate::signing::Signing;
use devanture_base::clock;
use devanture_store::catalog::Revision;
use devanture_store::records::{self, PauseRecord};

/// Default `Retry-After` of a pause, in seconds.
const RETRY_AFTER_S: u64 = 60;
/// Maximum `Retry-After`, in seconds.
const RETRY_AFTER_S_MAX: u64 = 604_800;

/// Pauses of environments.
pub struct Pauses {
    ledger: Arc<Ledger>,
    places: Arc<Places>,
    signing: Arc<Signing>,
}

impl Pauses {
    pub(crate) const fn new(ledger: Arc<Ledger>, places: Arc<Places>, signing: Arc<Signing>) -> Self {
        Self { ledger, places, signing }
    }
}

impl Pauses {
    /// Pauses an environment, or changes a pause; with `dry_run`, only reports the effect.
    ///
    /// # Errors
    /// `bad_request` for an invalid pause, `nothing_live` without a live version. `forbidden` for a new message by a
    /// non-admin if the environment requires signatures: visitors read the message, and the message is unsigned.
    pub async fn pause(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        wanted: PauseRequest,
        dry_run: bool,
    ) -> Result<PauseReport, Error> {
        self.check_pause(&wanted)?;
        let key = records::paused_key(app, environment);
        update(&key, || async {
            let before = self.paused(app, environment).await?;
            let report = |paused, changed| report((app, environment), paused, changed, dry_run);
            let pause = Pause {
                since_ms: before.as_ref().map_or_else(clock::now_ms, |(_, pause)| pause.since_ms),
                who: actor.name.clone(),
                message: wanted.message.clone().filter(|message| !message.trim().is_empty()),
                allow: wanted.allow.clone(),
                retry_after_s: wanted.retry_after_s.unwrap_or(RETRY_AFTER_S),
            };
            if before.as_ref().is_some_and(|(_, before)| Pause { who: pause.who.clone(), ..before.clone() } == pause) {
                return Ok(Some(report(before.map(|(_, pause)| pause), false)));
            }
            let is_new = |message: &String| {
                before.as_ref().and_then(|(_, before)| before.message.as_ref()).is_none_or(|before| before != message)
            };
            if pause.message.as_ref().is_some_and(is_new) {
                self.signing.check_unsigned(actor, (app, environment)).await?;
                if !dry_run {
                    self.signing.log_unsigned(actor, (app, environment), "pause").await?;
                }
            }
            let before_at = before.as_ref().map(|(revision, _)| *revision);
            let marker = MarkerChange::write(
                (DeployKind::Pause, Action::Pause),
                &key,
                before_at,
                &PauseRecord::from(pause.clone()),
            )?;
            if self.places.change_marker(actor, (app, environment), marker, dry_run).await? {
                let paused = if dry_run { before.map(|(_, pause)| pause) } else { Some(pause) };
                return Ok(Some(report(paused, true)));
            }
            Ok(None)
        })
        .await
    }

    /// Ends a pause; does nothing for an environment without a pause. With `dry_run`, only reports the effect.
    ///
    /// # Errors
    /// `not_found` for an unknown app.
    pub async fn resume(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        dry_run: bool,
    ) -> Result<PauseReport, Error> {
        self.ledger.must_exist(app).await?;
        let key = records::paused_key(app, environment);
        update(&key, || async {
            let before = self.paused(app, environment).await?;
            let report = |paused, changed| report((app, environment), paused, changed, dry_run);
            let Some((revision, pause)) = before else { return Ok(Some(report(None, false))) };
            let marker = MarkerChange::remove((DeployKind::Resume, Action::Resume), &key, revision);
            if self.places.change_marker(actor, (app, environment), marker, dry_run).await? {
                return Ok(Some(report(dry_run.then_some(pause), true)));
            }
            Ok(None)
        })
        .await
    }

    /// Returns the pause of an environment.
    pub(crate) async fn paused(
        &self,
        app: &AppName,
        environment: &PlaceName,
    ) -> Result<Option<(Revision, Pause)>, Error> {
        let key = records::paused_key(app, environment);
        let Some(record) = self.ledger.catalog.get(&key).await? else { return Ok(None) };
        let pause = records::read::<PauseRecord>(&key, &record)?;
        Ok(Some((record.revision, pause.into())))
    }

    /// Checks that a requested pause is valid.
    fn check_pause(&self, wanted: &PauseRequest) -> Result<(), Error> {
        let refuse = |detail: String, hint: String| Err(Problem::new(Code::BadRequest, detail).hint(hint).into());
        let message = wanted.message.as_deref().unwrap_or_default();
        let (count, count_max) = (message.chars().count(), self.ledger.limits().pause_message_characters_max);
        if u64::try_from(count).unwrap_or(u64::MAX) > count_max {
            let detail = format!("The message has {count} characters; {count_max} are allowed.");
            return refuse(detail, "`pause_message_characters_max` in edge.toml is the limit".to_owned());
        }
        if message.chars().any(|c| c.is_control() && c != '\n') {
            let detail = "The message holds a control character.".to_owned();
            return refuse(detail, "take it out; line breaks may stay".to_owned());
        }
        let (count, count_max) = (wanted.allow.len(), self.ledger.limits().pause_paths_max);
        if u64::try_from(count).unwrap_or(u64::MAX) > count_max {
            let detail = format!("The pause leaves {count} paths open; {count_max} are allowed.");
            return refuse(detail, "`pause_paths_max` in edge.toml is the limit; `/path/*` takes all below".to_owned());
        }
        let bytes_max = usize::try_from(self.ledger.limits().path_bytes_max).unwrap_or(usize::MAX);
        if let Some(path) = wanted.allow.iter().find(|path| path.as_str().len() > bytes_max) {
            let begin: String = path.as_str().chars().take(40).collect();
            let detail = format!("The path that begins with {begin} has more than {bytes_max} bytes.");
            return refuse(detail, "`path_bytes_max` in edge.toml is the limit".to_owned());
        }
        if wanted.retry_after_s.is_some_and(|seconds| !(1..=RETRY_AFTER_S_MAX).contains(&seconds)) {
            let detail = format!("`retry_after_s` is a number of seconds from 1 to {RETRY_AFTER_S_MAX}.");
            return refuse(detail, format!("leave it out for {RETRY_AFTER_S}"));
        }
        Ok(())
    }
}

fn report(
    (app, environment): (&AppName, &PlaceName),
    paused: Option<Pause>,
    changed: bool,
    dry_run: bool,
) -> PauseReport {
    PauseReport { dry_run, app: app.clone(), environment: environment.clone(), paused, changed }
}
