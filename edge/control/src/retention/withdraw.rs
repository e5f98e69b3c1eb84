//! Withdrawals of paths: already stored versions no longer serve a withdrawn path, on any hostname of the app; and
//! their reversal.

use devanture_config::api::{RestoreReport, WithdrawReport, WithdrawRequest, WithdrawnList, WithdrawnPath};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use devanture_config::{AppName, Manifest, VersionId};
use devanture_site::target::{self, Target, TargetError};

use super::Retention;
use crate::ledger::{Action, Actor, AuditEvent, Error, Page, update};
use devanture_base::clock;
use devanture_store::catalog::{Change, Check, Commit, Revision};
use devanture_store::records::gone::{self, GoneVersion};
use devanture_store::records::{self, VersionRecord, WithdrawnEntry, WithdrawnRecord};

/// Storage times of an app's versions.
struct StoredBetween {
    /// Oldest stored or restorable version.
    oldest_ms: u64,
    /// Oldest known version, including gone versions that may be stored again.
    oldest_known_ms: u64,
    /// Newest known version.
    newest_ms: u64,
}

impl StoredBetween {
    fn add(&mut self, stored_ms: u64, is_there: bool) {
        if is_there {
            self.oldest_ms = self.oldest_ms.min(stored_ms);
        }
        self.oldest_known_ms = self.oldest_known_ms.min(stored_ms);
        self.newest_ms = self.newest_ms.max(stored_ms);
    }
}

impl Retention {
    /// Withdraws a path. On return, no hostname of the node serves the path from a stored version. A `dry_run` only
    /// reports.
    ///
    /// # Errors
    /// `bad_request` for an invalid path, `not_found` for an unknown app, `too_many` beyond `withdrawn_paths_max`.
    pub async fn withdraw(
        &self,
        actor: &Actor,
        app: &AppName,
        wanted: &WithdrawRequest,
        dry_run: bool,
    ) -> Result<WithdrawReport, Error> {
        self.ledger.must_exist(app).await?;
        let path = self.normal_path(&wanted.path)?;
        self.ledger.live.loaded_of(app).await;
        let answered = self.ledger.live.answers(app, &path);
        let key = records::withdrawn_key(app);
        update(&key, || async {
            let (revision, mut record) = self.withdrawn_record(app).await?;
            let stored = self.stored_between(app).await?;
            // The machine's clock may have been set back since the newest version was stored.
            let at_ms = clock::now_ms().max(stored.newest_ms);
            // Withdrawals older than every known version, including gone versions, have no effect.
            record.paths.retain(|_, entry| entry.at_ms >= stored.oldest_known_ms);
            let entry = WithdrawnEntry { at_ms, who: actor.name.clone() };
            let was_withdrawn = record.paths.insert(path.clone(), entry).is_some();
            let count_max = self.ledger.limits().withdrawn_paths_max;
            if u64::try_from(record.paths.len()).unwrap_or(u64::MAX) > count_max {
                // Before refusing a withdrawal that affects present versions, drop withdrawals that affect only gone
                // versions.
                record.paths.retain(|_, entry| entry.at_ms >= stored.oldest_ms.min(at_ms));
            }
            if u64::try_from(record.paths.len()).unwrap_or(u64::MAX) > count_max {
                let detail = format!("The app {app} has {} already.", counted(count_max, "withdrawn path"));
                return Err(Problem::new(Code::TooMany, detail)
                    .hint("raise `withdrawn_paths_max`; a path ends when every version that has it is gone for good")
                    .into());
            }
            let (app_name, withdrawn) = (app.clone(), path.clone());
            let report = WithdrawReport { dry_run, app: app_name, path: withdrawn, at_ms, answered, was_withdrawn };
            if dry_run {
                return Ok(Some(report));
            }
            let event = AuditEvent::of(Action::Withdraw).app(app).what(&path);
            if self.write_withdrawn((actor, event), &key, revision, &record).await? {
                tracing::info!(app = %app, path, who = actor.name, "a path was withdrawn");
                return Ok(Some(report));
            }
            Ok(None)
        })
        .await
    }

    /// Reverses a withdrawal: stored versions serve the path again. A `dry_run` only reports.
    ///
    /// # Errors
    /// `bad_request` for an invalid path, `not_found` for an unknown app and for a path not withdrawn.
    pub async fn restore(
        &self,
        actor: &Actor,
        app: &AppName,
        path: &str,
        dry_run: bool,
    ) -> Result<RestoreReport, Error> {
        self.ledger.must_exist(app).await?;
        let path = self.normal_path(path)?;
        self.ledger.live.loaded_of(app).await;
        let key = records::withdrawn_key(app);
        update(&key, || async {
            let (revision, mut record) = self.withdrawn_record(app).await?;
            let Some(WithdrawnEntry { at_ms, .. }) = record.paths.remove(&path) else {
                return Err(Problem::new(
                    Code::NotFound,
                    format!("The path {path} of the app {app} is not withdrawn."),
                )
                .hint("a page is withdrawn by one of its addresses: GET /v1/apps/{app}/withdrawn lists them")
                .into());
            };
            let report = |answers| RestoreReport { dry_run, app: app.clone(), path: path.clone(), at_ms, answers };
            if dry_run {
                return Ok(Some(report(self.ledger.live.would_answer(app, &path))));
            }
            let event = AuditEvent::of(Action::Restore).app(app).what(&path);
            if self.write_withdrawn((actor, event), &key, revision, &record).await? {
                tracing::info!(app = %app, path, who = actor.name, "a withdrawal was taken back");
                return Ok(Some(report(self.ledger.live.answers(app, &path))));
            }
            Ok(None)
        })
        .await
    }

    /// Writes the withdrawn paths. Returns false if another commit won the race.
    async fn write_withdrawn(
        &self,
        (actor, event): (&Actor, AuditEvent),
        key: &str,
        revision: Option<Revision>,
        record: &WithdrawnRecord,
    ) -> Result<bool, Error> {
        let check = Check::of(key.to_owned(), revision);
        let changes = vec![Change::Put(key.to_owned(), records::write(record)?)];
        self.ledger.commit(actor, event, Commit { checks: vec![check], changes }).await
    }

    /// Returns the withdrawn paths of a stored version.
    pub(crate) async fn withdrawn_of(
        &self,
        app: &AppName,
        version: &VersionId,
        manifest: &Manifest,
    ) -> Result<Vec<String>, Error> {
        let (_, record) = self.withdrawn_record(app).await?;
        let key = records::version_key(app, version);
        let Some(found) = self.ledger.catalog.get(&key).await? else { return Ok(Vec::new()) };
        let stored_ms = records::read::<VersionRecord>(&key, &found)?.stored_ms;
        let is_of_version = |path: &str| {
            let name = path.trim_matches('/');
            let page = if name.is_empty() { "index.html".to_owned() } else { format!("{name}/index.html") };
            [name, &format!("{name}.html"), &page].iter().any(|name| manifest.files.contains_key(*name))
        };
        let hidden = record.paths.into_iter().filter(|(_, entry)| stored_ms <= entry.at_ms);
        Ok(hidden.map(|(path, _)| path).filter(|path| is_of_version(path)).collect())
    }

    /// Returns a page of an app's withdrawn paths, in order.
    ///
    /// # Errors
    /// `not_found` for an unknown app; `bad_request` for an invalid cursor.
    pub async fn withdrawn(&self, app: &AppName, page: &Page) -> Result<WithdrawnList, Error> {
        self.ledger.must_exist(app).await?;
        let (_, record) = self.withdrawn_record(app).await?;
        if page.after.as_ref().is_some_and(|after| !after.starts_with('/')) {
            return Err(page.bad_cursor());
        }
        let paths = record.paths.into_iter();
        let paths = paths.map(|(path, WithdrawnEntry { at_ms, who })| WithdrawnPath { path, at_ms, who }).collect();
        let (withdrawn, next) = page.of(paths, |entry| entry.path.clone());
        Ok(WithdrawnList { app: app.clone(), withdrawn, next })
    }

    /// Returns the storage time of a version stored now: after all withdrawals, whatever the clock. A gone version
    /// stored at `before_ms` keeps that time if paths were withdrawn since: its id and signatures are unchanged.
    pub(crate) async fn counts_as_stored_ms(
        &self,
        app: &AppName,
        before_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<u64, Error> {
        let Some(last_ms) = self.last_withdrawal_ms(app).await? else { return Ok(now_ms) };
        let before_ms = before_ms.filter(|before_ms| *before_ms <= last_ms);
        Ok(before_ms.unwrap_or_else(|| now_ms.max(last_ms.saturating_add(1))))
    }

    /// Returns the time of the latest withdrawal in force, if any.
    pub(super) async fn last_withdrawal_ms(&self, app: &AppName) -> Result<Option<u64>, Error> {
        let (_, record) = self.withdrawn_record(app).await?;
        Ok(record.paths.values().map(|entry| entry.at_ms).max())
    }

    async fn withdrawn_record(&self, app: &AppName) -> Result<(Option<Revision>, WithdrawnRecord), Error> {
        let key = records::withdrawn_key(app);
        match self.ledger.catalog.get(&key).await? {
            Some(record) => Ok((Some(record.revision), records::read(&key, &record)?)),
            None => Ok((None, WithdrawnRecord::default())),
        }
    }

    /// Returns the storage times of an app's versions.
    async fn stored_between(&self, app: &AppName) -> Result<StoredBetween, Error> {
        let mut stored = StoredBetween { oldest_ms: u64::MAX, oldest_known_ms: u64::MAX, newest_ms: 0 };
        for (key, record) in self.ledger.catalog.list(&records::versions_prefix(app), None, false, usize::MAX).await? {
            stored.add(records::read::<VersionRecord>(&key, &record)?.stored_ms, true);
        }
        for (key, record) in self.ledger.catalog.list(&gone::gone_prefix(app), None, false, usize::MAX).await? {
            let gone: GoneVersion = records::read(&key, &record)?;
            // Restorable versions would serve the path, too.
            let is_there = gone.record.is_some() && gone.until_ms > clock::now_ms();
            stored.add(gone.stored_since_ms(), is_there);
        }
        Ok(stored)
    }

    /// Normalizes the path as request look-ups do.
    fn normal_path(&self, path: &str) -> Result<String, Error> {
        let bytes_max = usize::try_from(self.ledger.limits().path_bytes_max.saturating_mul(3)).unwrap_or(usize::MAX);
        let refuse = |error: TargetError| -> Error {
            Problem::new(Code::BadRequest, format!("This is no path of a site: {error}."))
                .hint("give it as it stands in an address, such as /files/prices.pdf, without host, `?` and `#`")
                .into()
        };
        if !path.starts_with('/') {
            return Err(refuse(TargetError::NotAPath));
        }
        match target::normalise(path, bytes_max) {
            Target::Normal(path) => Ok(path.into_owned()),
            Target::Redirect(to) => match target::normalise(&to, usize::MAX) {
                Target::Normal(path) => Ok(path.into_owned()),
                // A normalized path never redirects.
                Target::Redirect(_) => Err(refuse(TargetError::NotAPath)),
                Target::Refuse(error) => Err(refuse(error)),
            },
            Target::Refuse(error) => Err(refuse(error)),
        }
    }
}
