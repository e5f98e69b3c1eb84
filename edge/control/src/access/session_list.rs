//! List of sessions, their end on request, and deletion of ended sessions and logins.

use devanture_config::api::{SessionInfo, SessionList};
use devanture_config::problem::{Code, Problem};

use super::accounts::of_account;
use super::logins::ID_BYTES;
use super::sessions::{InForce, Owner, StoredSession, id_of, owner_id, removal};
use super::{Credentials, is_hex};
use crate::ledger::{
    Action, Actor, AuditEvent, Credential, Error, Page, SessionOf, SystemWrite, commit_in_parts, unless_conflict,
    update,
};
use devanture_base::clock;
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{Change, Check, Commit};
use devanture_store::records::identities::LOGINS_PREFIX;
use devanture_store::records::sessions::{PASSKEYS_PREFIX, SESSIONS_PREFIX, session_key};

/// Time before an ended session is deleted, in milliseconds.
const REMOVED_AFTER_MS: u64 = 60_000;
/// Default page size of sessions.
pub const SESSIONS_PAGE: usize = 100;

impl Credentials {
    /// Returns a page of valid sessions: all for an admin of every app, else those of the actor's own account or token.
    ///
    /// # Errors
    /// `bad_request` for an invalid `after`; errors of the catalog.
    pub async fn sessions(&self, actor: &Actor, page: &Page) -> Result<SessionList, Error> {
        if page.after.as_deref().is_some_and(|after| !is_hex(after, ID_BYTES)) {
            return Err(page.bad_cursor());
        }
        let prefix = match own_id(actor) {
            _ if actor.is_admin_of_all() => SESSIONS_PREFIX.to_owned(),
            Some(id) => session_key(id),
            None => return Ok(SessionList::default()),
        };
        let mut scan = Scan::new(&*self.catalog, prefix).after(page.after.as_deref().map(session_key));
        let mut list = SessionList::default();
        loop {
            let records = scan.next_page().await?;
            if records.is_empty() {
                return Ok(list);
            }
            for (key, _) in records {
                let Some(session) = self.session_in_force(id_of(&key)).await? else { continue };
                if !actor.is_admin_of_all() && !is_own(actor, &session) {
                    continue;
                }
                if list.sessions.len() == page.limit {
                    list.next = list.sessions.last().map(|session| session.id.clone());
                    return Ok(list);
                }
                list.sessions.push(info(session, actor));
            }
        }
    }

    /// Ends a session: the actor's own, one of its account or token, or any for an admin of every app.
    ///
    /// # Errors
    /// `not_found` for an unknown session, or one hidden from the actor.
    pub async fn end_session(&self, actor: &Actor, id: &str) -> Result<(), Error> {
        update(SESSIONS_PREFIX, || async {
            let session = self.session_in_force(id).await?;
            let session = session.filter(|session| actor.is_admin_of_all() || is_own(actor, session));
            let Some(session) = session else {
                let hint = "`GET /v1/sessions` lists the sessions";
                return Err(Problem::new(Code::NotFound, "There is no such session.").hint(hint).into());
            };
            let is_current = matches!(&actor.credential, Credential::Session(own, _) if own == id);
            let action = if is_current { Action::Logout } else { Action::EndSession };
            let event = match &session.owner {
                Owner::Account(name, account) => of_account(action, account).what(format!("{id} {name}")),
                Owner::Token(_, token) => match &token.app {
                    Some(app) => AuditEvent::of(action).app(app),
                    None => AuditEvent::of(action),
                }
                .what(format!("{id} {}", token.name)),
            };
            let commit =
                Commit { checks: vec![Check::At(session_key(id), session.found.revision)], changes: removal(id) };
            let is_ended = unless_conflict(self.audit.commit(actor, event, commit).await)?.is_some();
            if is_ended {
                self.used.forget(id);
            }
            Ok(is_ended.then_some(()))
        })
        .await
    }

    /// Deletes ended logins and sessions, and logins, sessions and passkeys of deleted accounts or tokens.
    pub async fn remove_ended_sessions(&self) {
        if let Err(error) = self.remove_ended_by(clock::settled_ms()).await {
            tracing::warn!(%error, "logins and sessions that have ended could not be removed");
        }
    }

    /// Deletes records ended by `now_ms`.
    async fn remove_ended_by(&self, now_ms: u64) -> Result<(), Error> {
        // Sessions ended a while ago never resume, neither by a concurrent change nor by a yet unknown use on another
        // node.
        let ended_ms = now_ms.saturating_sub(REMOVED_AFTER_MS);
        for prefix in [SESSIONS_PREFIX, PASSKEYS_PREFIX, LOGINS_PREFIX] {
            let mut scan = Scan::new(&*self.catalog, prefix);
            loop {
                let page = scan.next_page().await?;
                if page.is_empty() {
                    break;
                }
                let mut gone = Vec::new();
                for (key, record) in page {
                    let id = key.strip_prefix(prefix).unwrap_or_default();
                    if prefix == LOGINS_PREFIX && self.login_in_force_at(id, ended_ms).await?.is_none() {
                        self.used.forget(id);
                        gone.push(Change::Delete(key));
                    } else if prefix == PASSKEYS_PREFIX && !self.is_passkey_in_force(id, &record).await? {
                        gone.push(Change::Delete(key));
                    } else if prefix == SESSIONS_PREFIX && self.session_in_force_at(id, ended_ms).await?.is_none() {
                        self.used.forget(id);
                        gone.extend(removal(id));
                    }
                }
                commit_in_parts(&*self.catalog, SystemWrite::Collection, gone).await?;
            }
        }
        Ok(())
    }
}

/// Returns the id of the actor's own account or token.
fn own_id(actor: &Actor) -> Option<&str> {
    actor.credential.id().map(owner_id)
}

/// Returns true for sessions of the actor's own account or token.
fn is_own(actor: &Actor, session: &InForce) -> bool {
    let is_of_kind = match (&actor.credential, &session.owner) {
        (Credential::Login(_) | Credential::Session(_, SessionOf::Account), Owner::Account(name, _)) => {
            name.as_str() == actor.name
        }
        (Credential::Token(_) | Credential::Session(_, SessionOf::Token(_)), Owner::Token(..)) => true,
        _ => false,
    };
    is_of_kind && own_id(actor) == Some(owner_id(&session.found.id))
}

fn info(session: InForce, actor: &Actor) -> SessionInfo {
    let StoredSession { id, record, used_ms, .. } = session.found;
    let (account, token, ends_ms) = match session.owner {
        Owner::Account(name, _) => (Some(name), None, None),
        Owner::Token(_, token) => (None, Some(token.name), token.expires_ms),
    };
    SessionInfo {
        current: actor.credential.id() == Some(&id),
        id,
        account,
        token,
        created_ms: record.created_ms,
        used_ms,
        expires_ms: ends_ms.map_or(record.expires_ms, |at_ms| at_ms.min(record.expires_ms)),
        from: record.from,
        browser: record.browser,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use devanture_config::limits::Limits;
    use serde_json::json;

    use super::*;
    use crate::access::logins::new_id;
    use crate::ledger::Audit;
    use devanture_store::catalog::{self, Catalog};

    #[tokio::test]
    async fn logins_and_sessions_go_once_they_have_ended_by_the_clock_that_is_given() {
        let folder = tempfile::tempdir().unwrap();
        let catalog: Arc<dyn Catalog> = catalog::open(&folder.path().join("catalog.redb")).unwrap();
        let limits = Limits::default();
        let credentials = Credentials::new(Arc::clone(&catalog), Audit::new(Arc::clone(&catalog), &limits), &limits);
        let (own, digest) = ("aa".repeat(6), devanture_config::Digest::of(b""));
        let account = json!({
            "id": own, "password": "", "stamp": "s", "app": null, "environment": null, "scope": "admin",
            "created_ms": 1, "password_ms": 1, "made_by": "me",
        });
        let ends_ms = 10_000_000;
        let session = json!({
            "hash": digest, "account": "ada", "stamp": "s", "created_ms": ends_ms, "expires_ms": ends_ms, "from": "",
            "browser": "",
        });
        let login = |stamp: &str| {
            json!({
                "account": "ada", "stamp": stamp, "family": digest, "refresh": digest, "generation": 1,
                "previous": null, "access": [], "created_ms": 1, "expires_ms": ends_ms, "from": "",
            })
        };
        let (good, of_other, lost) = (new_id(&own), new_id(&"bb".repeat(6)), new_id(&own));
        let records = [
            ("accounts/ada".to_owned(), account),
            (session_key(&good), session),
            (format!("{LOGINS_PREFIX}{good}"), login("s")),
            (format!("{LOGINS_PREFIX}{of_other}"), login("s")),
            (format!("{LOGINS_PREFIX}{lost}"), login("of an earlier password")),
        ];
        let put = |(key, value): (String, serde_json::Value)| Change::Put(key, value.to_string().into_bytes().into());
        let changes = records.map(put).into();
        catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
        let left_by = async |now_ms| {
            credentials.remove_ended_by(now_ms).await.unwrap();
            let mut left = catalog.list(LOGINS_PREFIX, None, false, 9).await.unwrap();
            left.extend(catalog.list(SESSIONS_PREFIX, None, false, 9).await.unwrap());
            left.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        // The machine's clock is far ahead of the test's times.
        assert_eq!(left_by(ends_ms).await, [format!("{LOGINS_PREFIX}{good}"), session_key(&good)]);
        assert_eq!(left_by(ends_ms + REMOVED_AFTER_MS).await, Vec::<String>::new());
    }
}
