//! Logins of people at the visitor login hostname, valid for further protected hostnames without a password.
//!
//! The edge stores nothing: a cookie of the login hostname holds person and expiry, signed with a secret shared by all
//! nodes. Each use checks again: the account, which may be deleted or have a new password, or the roles of `[oidc]`,
//! which the operator may have changed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use devanture_config::AppName;
use devanture_config::api::Protection;
use serde::{Deserialize, Serialize};

use super::Credentials;
use devanture_serve::handler::{KnownBy, LoggedInPerson, PERSON_BYTES_MAX, Person};

/// Person as stored in a cookie.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Session {
    person: Person,
    /// Hostname of the login.
    host: String,
    /// In seconds since 1970 UTC.
    ends_s: u64,
}

impl Credentials {
    /// Returns the cookie text for a person at `host` until `ends_s`; `None` if too long, or without a signing key.
    pub(super) async fn sealed_person(&self, person: &Person, host: &str, ends_s: u64) -> Option<String> {
        let session = Session { person: person.clone(), host: host.to_owned(), ends_s };
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&session).ok()?);
        let text = format!("{payload}.{}", signature(&self.person_key().await?, &payload).to_hex());
        (text.len() <= PERSON_BYTES_MAX).then_some(text)
    }

    /// Returns the person of a cookie text for `host`, if the person's basis is unchanged; `app` is the requested app.
    pub(super) async fn person_of_text(
        &self,
        text: &[u8],
        host: &str,
        now_s: u64,
        app: Option<&AppName>,
    ) -> Option<LoggedInPerson> {
        let (payload, mac) = str::from_utf8(text).ok()?.split_once('.')?;
        // Compared in constant time.
        if signature(&self.person_key().await?, payload) != blake3::Hash::from_hex(mac).ok()? {
            return None;
        }
        let session: Session = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        let Session { person: Person { name, known_by }, host: own, ends_s } = session;
        if own != host || ends_s <= now_s {
            return None;
        }
        match known_by {
            KnownBy::Account { mark } => {
                let account = self.account(&name.parse().ok()?).await.ok()??.1;
                if account.visitor_mark() != mark {
                    return None;
                }
                let may_see = app.is_some_and(|app| account.may_visit(app));
                Some(LoggedInPerson { name, mode: Protection::Accounts, ends_s, mark: Some(mark), may_see })
            }
            KnownBy::Provider { client, groups } => {
                let may_see = self.trusts.may_see(&client, &groups, app)?;
                Some(LoggedInPerson { name, mode: Protection::Oidc, ends_s, mark: None, may_see })
            }
        }
    }

    /// Returns the signing key, derived from the challenge secret so that neither is usable as the other.
    async fn person_key(&self) -> Option<[u8; 32]> {
        match self.challenge_key().await {
            Ok(key) => {
                Some(blake3::derive_key("devanture 2026 people who are logged in to see what is protected", &key))
            }
            Err(error) => {
                if self.log_quota.take(&()).is_ok() {
                    tracing::warn!(%error, "nobody stays logged in at the hostname where visitors log in");
                }
                None
            }
        }
    }
}

fn signature(key: &[u8; 32], payload: &str) -> blake3::Hash {
    blake3::keyed_hash(key, payload.as_bytes())
}
