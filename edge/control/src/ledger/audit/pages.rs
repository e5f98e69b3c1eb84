//! Pages of the audit log, newest first, restricted to the rights of the reader.

use devanture_config::AppName;
use devanture_config::api::{AuditEntry, AuditLog, Scope};
use devanture_config::problem::{Code, Problem};

use super::{Audit, number_of};
use crate::ledger::{Actor, Error};
use devanture_store::records::identities::AuditRecord;
use devanture_store::records::{self, identities};

/// Entries per page.
const PAGE_MAX: usize = 1_000;
/// Entries examined for a page restricted to one app.
const LOOKED_AT_MAX: usize = 10_000;

impl Audit {
    /// Returns the start of the readable log: the owner of an app must not see entries of a previous owner of the name.
    async fn began_ms(&self, actor: &Actor) -> Result<u64, Error> {
        let Some(app) = &actor.app else { return Ok(0) };
        let key = records::app_key(app);
        let Some(record) = self.0.catalog.get(&key).await? else { return Ok(0) };
        Ok(records::read::<records::AppRecord>(&key, &record)?.created_ms)
    }

    /// Returns a page of the log, newest first, for all apps or one; only entries before `before`.
    ///
    /// # Errors
    /// `forbidden` without the scope admin, `not_found` for an app outside the token; `bad_request` for an invalid
    /// `before`.
    pub async fn page(
        &self,
        actor: &Actor,
        app: Option<&AppName>,
        limit: usize,
        before: Option<&str>,
    ) -> Result<AuditLog, Error> {
        // The admin of one app always reads the log of the app.
        let app = app.or(actor.app.as_ref());
        match app {
            Some(app) => actor.may(Scope::Admin, app, actor.environment.as_ref())?,
            None => actor.must_be_admin()?,
        }
        let mut after = match before {
            Some(number) if (1..=20).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit()) => {
                // A number too large is beyond every entry.
                Some(identities::audit_key(number.parse().unwrap_or(u64::MAX)))
            }
            Some(_) => return Err(Problem::new(Code::BadRequest, "`before` is not what a page gave as `next`.").into()),
            None => None,
        };
        let limit = limit.clamp(1, PAGE_MAX);
        let (mut log, mut looked_at) = (AuditLog::default(), 0);
        let since_ms = self.since_ms().max(self.began_ms(actor).await?);
        while looked_at < LOOKED_AT_MAX {
            let page = self.0.catalog.list(identities::AUDIT_PREFIX, after.as_deref(), true, PAGE_MAX).await?;
            let is_last = page.len() < PAGE_MAX;
            for (key, record) in page {
                let entry = AuditEntry::from(records::read::<AuditRecord>(&key, &record)?);
                if entry.at_ms < since_ms {
                    return Ok(log);
                }
                let number = entry.number;
                looked_at += 1;
                let is_there = app.is_none_or(|app| entry.app.as_ref() == Some(app));
                let is_here = actor.environment.as_ref().is_none_or(|own| entry.environment.as_ref() == Some(own));
                if is_there && is_here {
                    log.entries.push(entry);
                    if log.entries.len() == limit {
                        log.next = Some(number.to_string());
                        return Ok(log);
                    }
                }
                after = Some(key);
            }
            if is_last {
                return Ok(log);
            }
        }
        log.next = after.as_deref().and_then(number_of).map(|number| number.to_string());
        Ok(log)
    }
}
