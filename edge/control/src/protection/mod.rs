//! Access protection of environments and previews.

mod shares;

use std::sync::Arc;

use devanture_config::api::{Protection, ProtectionList, ProtectionRequest, ProtectionSet, ProtectionStatus, Secret};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName};
use rand::RngCore as _;

use crate::access::Credentials;
use crate::aliases::Aliases;
use crate::ledger::{Action, Actor, AuditEvent, Error, Ledger, update};
use crate::places::PREVIEW;
use crate::settings::{KeyFile, Keys};
use devanture_base::clock;
use devanture_store::catalog::{Change, Check, Commit, Revision};
use devanture_store::records;
use devanture_store::records::protection::{
    KEY, PASSWORD, PROTECTION_PREFIX, ProtectionRecord, named, protection_context, protection_key, protections_prefix,
};
use devanture_store::records::settings::Sealed;

/// Maximum number of listed protections.
const LISTED_MAX: usize = 1_000;
/// Length of the signing secret of cookies, in bytes.
const KEY_BYTES: usize = 32;

/// Protections of environments and previews, and share links.
pub struct Protections {
    ledger: Arc<Ledger>,
    keys: Arc<KeyFile>,
    aliases: Arc<Aliases>,
}

impl Protections {
    pub(crate) const fn new(ledger: Arc<Ledger>, keys: Arc<KeyFile>, aliases: Arc<Aliases>) -> Self {
        Self { ledger, keys, aliases }
    }
}

impl Protections {
    /// Returns the protections of the previews and environments of an app.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn protections(&self, actor: &Actor, app: &AppName) -> Result<ProtectionList, Error> {
        self.ledger.must_exist(app).await?;
        let listed = self.ledger.catalog.list(&protections_prefix(app), None, false, LISTED_MAX).await?;
        let mut protections = Vec::new();
        for (key, record) in &listed {
            let place = named(PROTECTION_PREFIX, key).and_then(|(_, name)| name.parse::<PlaceName>().ok());
            let Some(place) = place else { continue };
            protections.push(self.protection_status(&place, Some(&records::read(key, record)?)));
        }
        let is_of_previews = |status: &ProtectionStatus| status.environment.is_preview();
        if !protections.iter().any(is_of_previews) {
            let previews = PREVIEW.parse().map_err(|_reason| Problem::new(Code::Internal, "`preview` is no name."))?;
            protections.push(self.protection_status(&previews, None));
        }
        protections.retain(|status| actor.is_of(&status.environment));
        protections.sort_by_key(|status| !is_of_previews(status));
        Ok(ProtectionList { app: app.clone(), protections })
    }

    /// Returns the protection of an environment, or of the previews of an app (`preview`).
    pub(crate) async fn protection_of(&self, app: &AppName, place: &PlaceName) -> Result<Protection, Error> {
        let record = self.protection_record(&protection_key(app, place)).await?;
        Ok(self.protection_status(place, record.as_ref().map(|(_, record)| record)).mode)
    }

    /// Sets the protection of an environment, or of the previews of an app (`preview`).
    ///
    /// # Errors
    /// `bad_request` for incompatible options, `secrets_locked`, `busy`, `not_found`.
    pub async fn protect(
        &self,
        actor: &Actor,
        credentials: &Credentials,
        (app, place): (&AppName, &PlaceName),
        request: ProtectionRequest,
        dry_run: bool,
    ) -> Result<ProtectionSet, Error> {
        let same_app = self.ledger.same_app(app).await?;
        if let Some(mode) = request.mode.filter(|mode| mode.has_login()) {
            self.check_login(mode, credentials)?;
        }
        let key = protection_key(app, place);
        // The password is hashed once over all retries of the commit.
        let hash = match &request.password {
            Some(password) if !dry_run => Some(credentials.hash_for_visitors(app, password).await?),
            _ => None,
        };
        update(&key, || async {
            let before = self.protection_record(&key).await?;
            check(place, &request, before.as_ref().map(|(_, before)| before))?;
            let set = |record: Option<&ProtectionRecord>| ProtectionSet {
                dry_run,
                app: app.clone(),
                protection: self.protection_status(place, record),
            };
            let revision = before.as_ref().map(|(revision, _)| *revision);
            let record = match request.mode {
                None => None,
                Some(mode) => {
                    let before = before.map(|(_, before)| before);
                    Some(self.protection(actor, (app, place), (mode, &request, hash.as_deref()), before, dry_run)?)
                }
            };
            if dry_run {
                return Ok(Some(set(record.as_ref())));
            }
            let change = match &record {
                Some(record) => Change::Put(key.clone(), records::write(record)?),
                None if revision.is_none() => return Ok(Some(set(None))),
                None => Change::Delete(key.clone()),
            };
            let what = request.mode.map_or("default", Protection::as_str);
            let event = AuditEvent::of(Action::Protect).app(app).what(format!("{place} {what}"));
            let checks = vec![Check::of(&key, revision), same_app.check(&*self.ledger.catalog).await?];
            let commit = Commit { checks, changes: vec![change] };
            let is_made = self.ledger.commit(actor, event, commit).await?;
            Ok(is_made.then(|| set(record.as_ref())))
        })
        .await
    }

    /// Checks that visitors can log in on this edge.
    fn check_login(&self, mode: Protection, credentials: &Credentials) -> Result<(), Error> {
        let refuse =
            |detail: &str, hint: &str| Err(Problem::new(Code::BadRequest, detail.to_owned()).hint(hint).into());
        if self.ledger.live.domains().login().is_none() {
            let hint = "its operator writes login = \"login.example.org\" below [names] in edge.toml";
            return refuse("The edge has no hostname where visitors log in.", hint);
        }
        if mode == Protection::Oidc && !credentials.has_provider() {
            let hint = "its operator writes the table [oidc] in edge.toml, or choose `accounts`";
            return refuse("The edge has no provider at which people log in.", hint);
        }
        Ok(())
    }

    /// Returns the record of a requested protection. A new password or mode ends the cookies of the visitors.
    fn protection(
        &self,
        actor: &Actor,
        (app, place): (&AppName, &PlaceName),
        (mode, request, hash): (Protection, &ProtectionRequest, Option<&str>),
        before: Option<ProtectionRecord>,
        dry_run: bool,
    ) -> Result<ProtectionRecord, Error> {
        let sealing = |of: &str, text: &str| {
            seal(dry_run, &protection_context(app, place, of), text, || self.keys.read_or_make())
        };
        let is_same = request.password.is_none() && before.as_ref().is_some_and(|before| before.mode == mode);
        let (password, key) = match before {
            Some(before) if is_same => (before.password, Some(before.key)),
            Some(before) if request.password.is_none() => (before.password, None),
            _ => (None, None),
        };
        let password = match hash {
            Some(hash) => Some(sealing(PASSWORD, hash)?),
            // A dry run seals a placeholder.
            None if request.password.is_some() => Some(sealing(PASSWORD, "")?),
            None => password,
        };
        let key = match key {
            Some(key) => key,
            None => sealing(KEY, &new_cookie_key())?,
        };
        Ok(ProtectionRecord { mode: mode.into(), password, key, who: actor.name.clone(), at_ms: clock::now_ms() })
    }

    async fn protection_record(&self, key: &str) -> Result<Option<(Revision, ProtectionRecord)>, Error> {
        let record = self.ledger.catalog.get(key).await?;
        // A place with an unreadable record stays protected, and the record is written again.
        Ok(record.and_then(|record| Some((record.revision, records::read(key, &record).ok()?))))
    }

    fn protection_status(&self, place: &PlaceName, record: Option<&ProtectionRecord>) -> ProtectionStatus {
        let default = if place.is_preview() { self.ledger.live.default_protection() } else { Protection::Public };
        ProtectionStatus {
            environment: place.clone(),
            mode: record.map_or(default, |record| record.mode.into()),
            is_default: record.is_none(),
            has_password: record.is_some_and(|record| record.password.is_some()),
            who: record.map(|record| record.who.clone()),
            at_ms: record.map(|record| record.at_ms),
        }
    }
}

/// Checks that a requested protection is valid.
fn check(place: &PlaceName, request: &ProtectionRequest, before: Option<&ProtectionRecord>) -> Result<(), Error> {
    let refuse = |detail: String, hint: &str| Err(Problem::new(Code::BadRequest, detail).hint(hint).into());
    let has_password = request.password.is_some() || before.is_some_and(|before| before.password.is_some());
    match request.mode {
        Some(Protection::Off) if !place.is_preview() => {
            refuse(format!("`off` is for previews, and {place} is an environment."), "`devanture pause` pauses it")
        }
        Some(Protection::Password) if !has_password => {
            refuse("The password is missing.".to_owned(), "say `password`, or choose `token`")
        }
        Some(Protection::Password) | None if request.password.is_none() => Ok(()),
        Some(Protection::Password) => Ok(()),
        _ if request.password.is_some() => {
            refuse("A password is for the mode `password` alone.".to_owned(), "leave it out, or say that mode")
        }
        _ => Ok(()),
    }
}

/// Returns a new secret for cookies, in hex.
pub(crate) fn new_cookie_key() -> String {
    let mut key = [0; KEY_BYTES];
    rand::rng().fill_bytes(&mut key);
    hex::encode(key)
}

/// Seals a text; a dry run neither creates nor uses a key.
pub(crate) fn seal(
    dry_run: bool,
    context: &str,
    text: &str,
    keys: impl FnOnce() -> Result<Keys, Error>,
) -> Result<Sealed, Error> {
    if dry_run { Ok(Sealed::new(String::new(), &[])) } else { keys()?.seal(context, text) }
}

/// Returns the hash of a password, if given.
pub(crate) async fn hashed(
    credentials: &Credentials,
    app: &AppName,
    password: Option<&Secret>,
) -> Result<Option<String>, Error> {
    match password {
        Some(password) => Ok(Some(credentials.hash_for_visitors(app, password).await?)),
        None => Ok(None),
    }
}
