//! Passkeys of accounts: registered in a session, and used in place of the password.
//!
//! A passkey's record holds the origin of its registration. For an authenticator, a page on another port of the host is
//! the same relying party and gets signatures; here the page is another origin.

use devanture_config::api::{
    AccountName, Assertion, Challenge, PasskeyCredential, PasskeyInfo, PasskeyList, PasskeyRequest, PasskeyUser,
    Purpose,
};
use devanture_config::problem::{Code, Problem};

use super::accounts::{ID_BYTES, of_account};
use super::challenges::{Use, answered_ms, record_answer};
use super::sessions::{Browser, InForce, Owner, SessionMade, StoredSession, ended_session};
use super::webauthn::{self, Ceremony, Refusal, Site};
use super::{Credentials, is_hex};
use crate::ledger::{Action, Actor, Credential, Error, unless_conflict, update};
use devanture_base::clock;
use devanture_store::catalog::{self, Change, Check, Commit, Record, Revision};
use devanture_store::records;
use devanture_store::records::identities::{AccountRecord, account_key};
use devanture_store::records::sessions::{PASSKEYS_PREFIX, PasskeyRecord, passkey_key, session_key};

/// Bytes of the hash of an authenticator's id, after the account id.
const HASH_BYTES: usize = 16;
/// Longest name of a passkey, in characters.
const NAME_CHARACTERS_MAX: usize = 100;

/// Site of a request about a passkey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasskeySite {
    /// Hostname.
    pub rp: String,
    /// Origin, as written by browsers.
    pub origin: String,
}

impl PasskeySite {
    fn site(&self) -> Site<'_> {
        Site { rp: &self.rp, origin: &self.origin }
    }
}

/// Passkey with a verified signature.
pub(super) struct ProvenPasskey {
    pub(super) name: AccountName,
    pub(super) account: AccountRecord,
    /// Checks that the state of the verification is unchanged.
    pub(super) checks: Vec<Check>,
    /// Records the use.
    pub(super) used: Change,
}

impl Credentials {
    /// Creates a challenge, bound to the account of the actor's session unless for a login.
    ///
    /// # Errors
    /// `forbidden` without a session of an account, `confirmation_required` for a registration; errors of the catalog.
    pub async fn challenge(
        &self,
        purpose: Purpose,
        actor: Option<&Actor>,
        site: &PasskeySite,
    ) -> Result<Challenge, Error> {
        let session = match (purpose, actor) {
            (Purpose::Login, _) => None,
            // Checked before an authenticator creates a passkey in vain.
            (Purpose::Register, Some(actor)) => Some(self.confirmed_account_session(actor).await?),
            (Purpose::Confirm, Some(actor)) => Some(self.account_session(actor).await?),
            (_, None) => return Err(no_session()),
        };
        let id = session.as_ref().map(|(session, ..)| session.found.id.as_str());
        let (challenge, expires_ms) = self.new_challenge(Use { purpose, session: id }).await?;
        let mut answer = Challenge { challenge, rp: site.rp.clone(), user: None, credentials: Vec::new(), expires_ms };
        if let Some((_, name, account)) = &session {
            answer.user = Some(PasskeyUser { id: webauthn::text(account.id.as_bytes()), name: name.to_string() });
            let own = self.passkeys_of(account).await?.into_iter();
            answer.credentials = own.map(|(_, passkey)| PasskeyCredential { id: passkey.credential }).collect();
        }
        Ok(answer)
    }

    /// Registers a passkey for the account of a confirmed session.
    ///
    /// # Errors
    /// `forbidden` without a session of an account, `confirmation_required`; `bad_request` for data not made by an
    /// authenticator for the site and challenge; `conflict` for a registered passkey; `too_many`.
    pub async fn add_passkey(
        &self,
        actor: &Actor,
        wanted: &PasskeyRequest,
        site: &PasskeySite,
    ) -> Result<PasskeyInfo, Error> {
        let (session, name, account) = self.confirmed_account_session(actor).await?;
        let label = wanted.name.trim();
        if label.is_empty() || label.chars().count() > NAME_CHARACTERS_MAX || label.chars().any(char::is_control) {
            let detail = format!("A passkey needs a name of 1 to {NAME_CHARACTERS_MAX} characters.");
            return Err(Problem::new(Code::BadRequest, detail).into());
        }
        let read = || {
            let client_data = webauthn::bytes(&wanted.client_data_json)?;
            let challenge = webauthn::challenge(&client_data, Ceremony::Create, &site.site())?;
            let made = webauthn::registered(&webauthn::bytes(&wanted.attestation_object)?, &site.site())?;
            Ok::<_, Refusal>((challenge, made))
        };
        let (challenge, made) = read().map_err(not_taken)?;
        let of = Use { purpose: Purpose::Register, session: Some(&session.found.id) };
        let Some(challenge_ms) = self.challenge_ms(&challenge, of).await? else { return Err(stale_challenge()) };
        let id = passkey_id(&account, &made.credential);
        let now_ms = clock::now_ms();
        let record = PasskeyRecord {
            account: name.clone(),
            stamp: account.stamp.clone(),
            name: label.to_owned(),
            credential: webauthn::text(&made.credential),
            public_key: hex::encode(&made.public_key),
            rp: site.rp.clone(),
            origin: site.origin.clone(),
            counter: made.counter,
            challenge_ms,
            ahead_ms: 0,
            created_ms: now_ms,
            used_ms: None,
        };
        update(&passkey_key(&id), || async {
            let count_max = usize::try_from(self.limits.passkeys_per_account_max).unwrap_or(usize::MAX);
            let account_now = self.account(&name).await?.filter(|(_, now)| now.stamp == account.stamp);
            let Some((revision, _)) = account_now else { return Err(ended_session()) };
            let StoredSession { id: of, record: mut own, revision: own_revision, .. } =
                self.session_in_force(&session.found.id).await?.ok_or_else(ended_session)?.found;
            // Single use, whatever authenticator answers.
            if challenge_ms <= own.registered_ms {
                return Err(stale_challenge());
            }
            own.registered_ms = challenge_ms;
            if self.passkeys_of(&account).await?.len() >= count_max {
                let detail = format!("The account has {count_max} passkeys already.");
                return Err(Problem::new(Code::TooMany, detail)
                    .hint("remove one that is no longer used; `passkeys_per_account_max` in edge.toml is the limit")
                    .into());
            }
            let commit = Commit {
                checks: vec![
                    Check::Absent(passkey_key(&id)),
                    Check::At(account_key(&name), revision),
                    Check::At(session_key(&of), own_revision),
                ],
                changes: vec![
                    Change::Put(passkey_key(&id), records::write(&record)?),
                    Change::Put(session_key(&of), records::write(&own)?),
                ],
            };
            let event = of_account(Action::AddPasskey, &account).what(label);
            match self.audit.commit(actor, event, commit).await {
                Ok(_) => Ok(Some(info(&id, &record))),
                Err(catalog::Error::Conflict { key }) if key == passkey_key(&id) => {
                    Err(Problem::new(Code::Conflict, "The account has this passkey already.").into())
                }
                Err(catalog::Error::Conflict { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Returns the passkeys of a session's account.
    ///
    /// # Errors
    /// `forbidden` without a session of an account; errors of the catalog.
    pub async fn passkeys(&self, actor: &Actor) -> Result<PasskeyList, Error> {
        let (_, _, account) = self.account_session(actor).await?;
        let own = self.passkeys_of(&account).await?;
        Ok(PasskeyList { passkeys: own.iter().map(|(id, passkey)| info(id, passkey)).collect() })
    }

    /// Deletes a passkey of a confirmed session's account.
    ///
    /// # Errors
    /// `forbidden` without a session of an account, `confirmation_required`, `not_found`.
    pub async fn remove_passkey(&self, actor: &Actor, id: &str) -> Result<(), Error> {
        let (_, _, account) = self.confirmed_account_session(actor).await?;
        update(PASSKEYS_PREFIX, || async {
            let found = if is_hex(id, ID_BYTES + HASH_BYTES) && id.starts_with(&account.id) {
                self.passkey(id).await?
            } else {
                None
            };
            let Some((revision, passkey)) = found else {
                return Err(Problem::new(Code::NotFound, "The account has no such passkey.").into());
            };
            let key = passkey_key(id);
            let commit = Commit { checks: vec![Check::At(key.clone(), revision)], changes: vec![Change::Delete(key)] };
            let event = of_account(Action::RemovePasskey, &account).what(passkey.name);
            Ok(unless_conflict(self.audit.commit(actor, event, commit).await)?.map(|_| ()))
        })
        .await
    }

    /// Begins a session with a passkey.
    ///
    /// # Errors
    /// `bad_login` for any fault, without distinction; `too_many_attempts`.
    pub async fn begin_by_passkey(
        &self,
        assertion: &Assertion,
        site: &PasskeySite,
        browser: &Browser,
    ) -> Result<SessionMade, Error> {
        // Counted by the signature, so that guesses cannot block the true passkey.
        let attempt = self.attempts.begin(&format!("passkey {}", assertion.signature), browser.from);
        let attempt = attempt.map_err(|wait| self.limited("(passkey)", browser.from, wait))?;
        let of = Use { purpose: Purpose::Login, session: None };
        let begun = update(PASSKEYS_PREFIX, || async {
            let Some(account) = owner_named_by(assertion) else { return Err(self.refused_passkey(browser)) };
            let Some(proven) = self.prove_passkey(assertion, &account, of, site).await? else {
                return Err(self.refused_passkey(browser));
            };
            let event = of_account(Action::Login, &proven.account);
            let owner = Owner::Account(proven.name, proven.account.clone());
            let mut begun = self.begin(&proven.account.id, owner, browser).await?;
            begun.commit.checks.extend(proven.checks);
            begun.commit.changes.push(proven.used);
            self.commit_begun(begun, event, browser).await
        });
        let begun = begun.await;
        match &begun {
            Ok(_) => self.attempts.succeeded(&attempt),
            Err(_) => self.attempts.failed(&attempt),
        }
        begun
    }

    /// Verifies the signature of a passkey of the account with the id `account`; `None` for any fault.
    pub(super) async fn prove_passkey(
        &self,
        assertion: &Assertion,
        account: &str,
        of: Use<'_>,
        site: &PasskeySite,
    ) -> Result<Option<ProvenPasskey>, Error> {
        let log = |reason: &dyn std::fmt::Display| tracing::debug!(%reason, "a passkey was refused");
        let Ok(credential) = webauthn::bytes(&assertion.id) else { return Ok(None) };
        let id = format!("{account}{}", hash_of(&credential));
        let Some((revision, mut passkey)) = self.passkey(&id).await? else { return Ok(None) };
        let Some((account_revision, account)) = self.account(&passkey.account).await? else { return Ok(None) };
        if !id.starts_with(&account.id) || passkey.stamp != account.stamp {
            return Ok(None);
        }
        // The site of the registration, and the site of the use as reported by the client.
        let own = PasskeySite { rp: passkey.rp.clone(), origin: passkey.origin.clone() };
        if own != *site {
            log(&"it is of another site");
            return Ok(None);
        }
        let read = || {
            let client_data = webauthn::bytes(&assertion.client_data_json)?;
            let challenge = webauthn::challenge(&client_data, Ceremony::Get, &own.site())?;
            let data = webauthn::bytes(&assertion.authenticator_data)?;
            let key = hex::decode(&passkey.public_key).map_err(|_error| Refusal::Key)?;
            let signature = webauthn::bytes(&assertion.signature)?;
            let counter = webauthn::asserted(&data, &client_data, &signature, &own.site(), (&key, passkey.counter))?;
            Ok::<_, Refusal>((challenge, counter))
        };
        let (challenge, counter) = match read() {
            Ok(read) => read,
            Err(reason) => {
                log(&reason);
                return Ok(None);
            }
        };
        let Some(challenge_ms) = self.challenge_ms(&challenge, of).await? else {
            log(&"its challenge is over, or of another use");
            return Ok(None);
        };
        let now_ms = clock::now_ms();
        let mut checks =
            vec![Check::At(passkey_key(&id), revision), Check::At(account_key(&passkey.account), account_revision)];
        let mut last_ms = answered_ms(&passkey, now_ms);
        for (key, record) in self.catalog.list(&passkey_key(&account.id), None, false, usize::MAX).await? {
            let other: PasskeyRecord = records::read(&key, &record)?;
            // Until the first use, the challenge of the registration.
            if other.used_ms.is_some() {
                last_ms = last_ms.max(answered_ms(&other, now_ms));
            }
            if key != passkey_key(&id) {
                checks.push(Check::At(key, record.revision));
            }
        }
        // Single use: rejects challenges up to the last answered by any passkey of the account. A passkey registered
        // after the challenge does not count, since the challenge was not meant for it.
        if challenge_ms <= last_ms {
            log(&"a later challenge was answered already");
            return Ok(None);
        }
        record_answer(&mut passkey, challenge_ms, now_ms);
        passkey.counter = counter;
        passkey.used_ms = Some(now_ms);
        let used = Change::Put(passkey_key(&id), records::write(&passkey)?);
        Ok(Some(ProvenPasskey { name: passkey.account, account, checks, used }))
    }

    /// Returns the session of an actor, and its account.
    pub(super) async fn account_session(&self, actor: &Actor) -> Result<(InForce, AccountName, AccountRecord), Error> {
        let Credential::Session(id, _) = &actor.credential else { return Err(no_session()) };
        let session = self.session_in_force(id).await?.ok_or_else(ended_session)?;
        match &session.owner {
            Owner::Account(name, account) => {
                let (name, account) = (name.clone(), account.clone());
                Ok((session, name, account))
            }
            Owner::Token(..) => Err(no_session()),
        }
    }

    async fn confirmed_account_session(&self, actor: &Actor) -> Result<(InForce, AccountName, AccountRecord), Error> {
        let found = self.account_session(actor).await?;
        found.0.must_be_confirmed()?;
        Ok(found)
    }

    async fn passkey(&self, id: &str) -> Result<Option<(Revision, PasskeyRecord)>, Error> {
        let key = passkey_key(id);
        let Some(record) = self.catalog.get(&key).await? else { return Ok(None) };
        Ok(Some((record.revision, records::read(&key, &record)?)))
    }

    /// Returns the passkeys of an account, by id.
    pub(super) async fn passkeys_of(&self, account: &AccountRecord) -> Result<Vec<(String, PasskeyRecord)>, Error> {
        let mut own = Vec::new();
        for (key, record) in self.catalog.list(&passkey_key(&account.id), None, false, usize::MAX).await? {
            let passkey: PasskeyRecord = records::read(&key, &record)?;
            if passkey.stamp == account.stamp {
                own.push((key.strip_prefix(PASSKEYS_PREFIX).unwrap_or_default().to_owned(), passkey));
            }
        }
        Ok(own)
    }

    /// Returns true if the passkey's account exists with an unchanged password.
    pub(super) async fn is_passkey_in_force(&self, id: &str, record: &Record) -> Result<bool, Error> {
        let passkey: PasskeyRecord = records::read(&passkey_key(id), record)?;
        let account = self.account(&passkey.account).await?;
        Ok(account.is_some_and(|(_, account)| id.starts_with(&account.id) && passkey.stamp == account.stamp))
    }

    fn refused_passkey(&self, browser: &Browser) -> Error {
        self.refuse_login("(passkey)", browser.from);
        Problem::new(Code::BadLogin, "The passkey was not taken.")
            .hint("log in with the password; another password removes the passkeys of an account")
            .into()
    }
}

/// Returns the id of an account's passkey.
fn passkey_id(account: &AccountRecord, credential: &[u8]) -> String {
    format!("{}{}", account.id, hash_of(credential))
}

fn hash_of(credential: &[u8]) -> String {
    let hash = blake3::hash(credential);
    hex::encode(hash.as_bytes().iter().take(HASH_BYTES).copied().collect::<Vec<_>>())
}

/// Returns the account id named by an authenticator.
fn owner_named_by(assertion: &Assertion) -> Option<String> {
    let handle = webauthn::bytes(assertion.user_handle.as_deref()?).ok()?;
    String::from_utf8(handle).ok().filter(|id| is_hex(id, ID_BYTES))
}

fn info(id: &str, passkey: &PasskeyRecord) -> PasskeyInfo {
    PasskeyInfo {
        id: id.to_owned(),
        name: passkey.name.clone(),
        created_ms: passkey.created_ms,
        used_ms: passkey.used_ms,
    }
}

fn no_session() -> Error {
    Problem::new(Code::Forbidden, "This is for the session of an account alone.")
        .hint("log in with an account in a browser")
        .into()
}

fn not_taken(refusal: Refusal) -> Error {
    Problem::new(Code::BadRequest, format!("The passkey cannot be registered: {refusal}."))
        .hint("passkeys are made at this address, with ES256, by an authenticator that verifies its user")
        .into()
}

fn stale_challenge() -> Error {
    Problem::new(Code::BadRequest, "The challenge is unknown, for something else, or too old.")
        .hint("ask for another one")
        .into()
}
