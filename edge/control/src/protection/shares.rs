//! Creates, lists and revokes share links: each link grants access to a single preview or environment.

use devanture_config::api::{Scope, Secret, Share, ShareList, ShareMade, ShareRequest, ShareRevoked, ShareTarget};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::time_in_words;
use devanture_config::{AppName, Digest, PlaceName};
use rand::RngCore as _;

use super::Protections;
use super::{hashed, new_cookie_key, seal};
use crate::access::Credentials;
use crate::ledger::{Action, Actor, AuditEvent, Error, update};
use devanture_base::clock;
use devanture_store::catalog::{Change, Check, Commit};
use devanture_store::records;
use devanture_store::records::protection::{
    KEY, PASSWORD, SHARES_PREFIX, ShareRecord, StoredTarget, named, share_context, share_key, shares_prefix,
};

/// Default lifetime of a link, in seconds: a week.
const EXPIRES_S: u64 = 604_800;
/// Random bytes of a link id.
const ID_BYTES: usize = 8;
/// Random bytes of a link secret.
const SECRET_BYTES: usize = 32;
/// Maximum number of expired links removed with the creation of a link.
const REMOVED_AT_ONCE: usize = 50;

impl Protections {
    /// Returns the share links of an app that have not expired, the newest first.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn shares(&self, actor: &Actor, app: &AppName) -> Result<ShareList, Error> {
        self.ledger.must_exist(app).await?;
        let now_ms = clock::now_ms();
        let mut shares: Vec<Share> = Vec::new();
        for (id, record) in self.share_records(app).await? {
            let share = self.share_of(app, &id, &record);
            if share.expires_ms > now_ms && may_see(actor, &share.target) {
                shares.push(share);
            }
        }
        shares.sort_by_key(|share| std::cmp::Reverse(share.created_ms));
        Ok(ShareList { app: app.clone(), shares })
    }

    /// Creates a share link.
    ///
    /// # Errors
    /// `bad_request`, `too_many`, `not_found`, `secrets_locked`, `busy`, and the errors of [`Ledger::resolve_version`].
    ///
    /// [`Ledger::resolve_version`]: crate::ledger::Ledger::resolve_version
    pub async fn make_share(
        &self,
        actor: &Actor,
        credentials: &Credentials,
        app: &AppName,
        request: ShareRequest,
        page: &str,
    ) -> Result<ShareMade, Error> {
        let same_app = self.ledger.same_app(app).await?;
        let target = self.share_target(app, &request.target).await?;
        check_right(actor, app, &target)?;
        let ms_max = self.ledger.limits().share_link_ms_max;
        let expires_s = request.expires_s.unwrap_or_else(|| EXPIRES_S.min(ms_max / 1_000));
        if expires_s == 0 || expires_s.saturating_mul(1_000) > ms_max {
            let detail = format!("A share link is good for {} at most.", time_in_words(ms_max / 1_000));
            let hint = "`share_link_ms_max` in edge.toml is the limit";
            return Err(Problem::new(Code::BadRequest, detail).hint(hint).into());
        }
        let hash = hashed(credentials, app, request.password.as_ref()).await?;
        let (id, secret) = (random(ID_BYTES), random(SECRET_BYTES));
        let key = share_key(app, &id);
        let now_ms = clock::now_ms();
        let sealing =
            |of: &str, text: &str| seal(false, &share_context(app, &id, of), text, || self.keys.read_or_make());
        let record = ShareRecord {
            target: target.clone().into(),
            hash: Digest::of(secret.as_bytes()),
            password: hash.as_deref().map(|hash| sealing(PASSWORD, hash)).transpose()?,
            key: sealing(KEY, &new_cookie_key())?,
            who: actor.name.clone(),
            created_ms: now_ms,
            expires_ms: now_ms.saturating_add(expires_s.saturating_mul(1_000)),
        };
        update(&key, || async {
            // By the settled clock: after a leap of the clock, expired links still count and stay.
            let settled_ms = clock::settled_ms();
            let (ended, good): (Vec<_>, Vec<_>) =
                self.share_records(app).await?.into_iter().partition(|(_, record)| record.expires_ms <= settled_ms);
            self.check_share_count(app, good.len())?;
            let ended = ended.into_iter().take(REMOVED_AT_ONCE);
            let mut changes: Vec<Change> = ended.map(|(id, _)| Change::Delete(share_key(app, &id))).collect();
            changes.push(Change::Put(key.clone(), records::write(&record)?));
            let event = AuditEvent::of(Action::Share).app(app).what(format!("{id} {target}"));
            let checks = vec![Check::Absent(key.clone()), same_app.check(&*self.ledger.catalog).await?];
            let commit = Commit { checks, changes };
            if !self.ledger.commit(actor, event, commit).await? {
                return Ok(None);
            }
            let share = self.share_of(app, &id, &record);
            let url = Secret::new(format!("{}{page}{id}_{secret}", self.ledger.live.domains().url(&share.host)));
            Ok(Some(ShareMade { app: app.clone(), share, url }))
        })
        .await
    }

    /// Revokes a share link, and ends the cookies of the visitors.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn revoke_share(
        &self,
        actor: &Actor,
        app: &AppName,
        id: &str,
        dry_run: bool,
    ) -> Result<ShareRevoked, Error> {
        self.ledger.must_exist(app).await?;
        let is_id = id.len() == ID_BYTES * 2 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let missing = || {
            let detail = format!("The app {app} has no such share link.");
            Error::from(Problem::new(Code::NotFound, detail).hint("`devanture share list` lists them"))
        };
        if !is_id {
            return Err(missing());
        }
        let key = share_key(app, id);
        update(&key, || async {
            let record = self.ledger.catalog.get(&key).await?.ok_or_else(missing)?;
            let revoked = ShareRevoked { dry_run, app: app.clone(), revoked: id.to_owned() };
            // An unreadable link grants no access and may be removed.
            let target =
                records::read::<ShareRecord>(&key, &record).ok().map(|record| ShareTarget::from(record.target));
            if let Some(target) = &target {
                check_right(actor, app, target)?;
            }
            if dry_run {
                return Ok(Some(revoked));
            }
            let what = target.map_or_else(|| id.to_owned(), |target| format!("{id} {target}"));
            let event = AuditEvent::of(Action::RevokeShare).app(app).what(what);
            let (checks, changes) = (vec![Check::At(key.clone(), record.revision)], vec![Change::Delete(key.clone())]);
            let is_made = self.ledger.commit(actor, event, Commit { checks, changes }).await?;
            Ok::<_, Error>(is_made.then_some(revoked))
        })
        .await
    }

    /// Parses a target: an environment, an alias, or a version by a prefix of the id.
    async fn share_target(&self, app: &AppName, text: &str) -> Result<ShareTarget, Error> {
        if let Ok(name) = text.parse::<PlaceName>() {
            if self.ledger.live_pointer(app, &name).await?.is_some() {
                return Ok(ShareTarget::Environment(name));
            }
            if self.aliases.aliased(app, &name).await?.is_some() {
                return Ok(ShareTarget::Alias(name));
            }
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(ShareTarget::Version(self.ledger.resolve_version(app, text).await?));
        }
        let shown: String = text.chars().take(40).collect();
        let detail = format!("The app {app} has no version, alias or environment `{shown}`.");
        Err(Problem::new(Code::NotFound, detail)
            .hint("`devanture history` and `devanture alias list` list them")
            .into())
    }

    fn check_share_count(&self, app: &AppName, count: usize) -> Result<(), Error> {
        let count_max = self.ledger.limits().share_links_per_app_max;
        if u64::try_from(count).unwrap_or(u64::MAX) < count_max {
            return Ok(());
        }
        let detail = format!("The app {app} has {count} share links; {count_max} are allowed.");
        let hint = "revoke some: `devanture share list`; `share_links_per_app_max` in edge.toml is the limit";
        Err(Problem::new(Code::TooMany, detail).hint(hint).into())
    }

    /// Returns all share links of an app, without unreadable records.
    async fn share_records(&self, app: &AppName) -> Result<Vec<(String, ShareRecord)>, Error> {
        let listed = self.ledger.catalog.list(&shares_prefix(app), None, false, usize::MAX).await?;
        let read = listed.iter().filter_map(|(key, record)| {
            Some((named(SHARES_PREFIX, key)?.1.to_owned(), records::read(key, record).ok()?))
        });
        Ok(read.collect())
    }

    fn share_of(&self, app: &AppName, id: &str, record: &ShareRecord) -> Share {
        let domains = self.ledger.live.domains();
        let host = match &record.target {
            StoredTarget::Alias(name) | StoredTarget::Environment(name) => domains.place_host(app, name),
            StoredTarget::Version(version) => domains.preview_host(app, version),
        };
        Share {
            id: id.to_owned(),
            target: record.target.clone().into(),
            host,
            has_password: record.password.is_some(),
            who: record.who.clone(),
            created_ms: record.created_ms,
            expires_ms: record.expires_ms,
        }
    }
}

/// Returns the environment in which an actor needs a right for a link to the target.
fn place_of(target: &ShareTarget) -> Option<PlaceName> {
    match target {
        ShareTarget::Environment(name) => Some(name.clone()),
        ShareTarget::Alias(_) | ShareTarget::Version(_) => super::PREVIEW.parse().ok(),
    }
}

fn may_see(actor: &Actor, target: &ShareTarget) -> bool {
    place_of(target).is_some_and(|place| actor.is_of(&place))
}

/// Checks that an actor may share the target: requires the right to push.
fn check_right(actor: &Actor, app: &AppName, target: &ShareTarget) -> Result<(), Error> {
    actor.may(Scope::Push, app, place_of(target).as_ref())
}

fn random(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    rand::rng().fill_bytes(&mut random);
    hex::encode(random)
}
