//! Confirmations: a session's user authenticates again, as required by apps for chosen actions.
//!
//! Tokens sent by programs are exempt: no stranger can take over an unattended browser there.

use std::collections::BTreeSet;

use devanture_config::AppName;
use devanture_config::api::{
    Assertion, ConfirmRequest, Confirmations, ConfirmedAction, Purpose, Scope, Secret, Session, TokenRequest,
};
use devanture_config::problem::{Code, Problem};

use super::challenges::Use;
use super::passkeys::PasskeySite;
use super::passwords::PasswordOf;
use super::sessions::{InForce, Owner, ended_session};
use super::{Credentials, bad_token};
use crate::ledger::{self, Action, Actor, AuditEvent, Credential, Error, unless_conflict, update};
use devanture_base::clock;
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{Change, Check, Commit};
use devanture_store::records;
use devanture_store::records::identities::account_key;
use devanture_store::records::sessions::{CONFIRMATIONS_PREFIX, ConfirmationsRecord, confirmations_key, session_key};

impl InForce {
    /// Returns true without a valid confirmation.
    pub(super) fn is_unconfirmed(&self) -> bool {
        self.found.record.confirmed_until_ms <= clock::now_ms()
    }

    /// # Errors
    /// `confirmation_required`.
    pub(super) fn must_be_confirmed(&self) -> Result<(), Error> {
        if self.is_unconfirmed() { Err(ledger::confirmation_required().into()) } else { Ok(()) }
    }
}

impl Credentials {
    /// Confirms a session for a while, with a credential that could begin the session.
    ///
    /// # Errors
    /// `forbidden` for other credentials; `bad_login` or `bad_token` for a wrong proof; `bad_request` for a proof
    /// unavailable to the session; `too_many_attempts`, `busy`.
    pub async fn confirm(
        &self,
        actor: &Actor,
        wanted: &ConfirmRequest,
        site: Option<&PasskeySite>,
    ) -> Result<Session, Error> {
        let Credential::Session(id, _) = &actor.credential else {
            return Err(Problem::new(Code::Forbidden, "This is for the session of a browser alone.").into());
        };
        let session = self.session_in_force(id).await?.ok_or_else(ended_session)?;
        let proof = match (&session.owner, wanted) {
            (Owner::Account(..), ConfirmRequest { password: Some(password), passkey: None, token: None }) => {
                self.proof_by_password(actor, password).await?
            }
            (Owner::Account(..), ConfirmRequest { password: None, passkey: Some(passkey), token: None }) => {
                self.proof_by_passkey(actor, &session, passkey, site).await?
            }
            (Owner::Token(own, _), ConfirmRequest { password: None, passkey: None, token: Some(token) }) => {
                self.proof_by_token(actor, own, token).await?
            }
            _ => {
                let detail = "A session is confirmed by the password or a passkey of its account, or by its token.";
                return Err(Problem::new(Code::BadRequest, detail).hint("send one of them").into());
            }
        };
        self.confirmed(actor, id, proof).await
    }

    /// Confirms the session, if the proof's basis is unchanged, and records the proof.
    async fn confirmed(&self, actor: &Actor, id: &str, proof: Commit) -> Result<Session, Error> {
        update(&session_key(id), || async {
            let mut session = self.session_in_force(id).await?.ok_or_else(ended_session)?;
            let until_ms = clock::now_ms().saturating_add(self.limits.confirmation_ms_max);
            session.found.record.confirmed_until_ms = until_ms;
            let mut commit = proof.clone();
            commit.checks.push(Check::At(session_key(id), session.found.revision));
            commit.changes.push(Change::Put(session_key(id), records::write(&session.found.record)?));
            let mut event = AuditEvent::of(Action::Confirm);
            event = match (&actor.app, &actor.environment) {
                (Some(app), Some(environment)) => event.place(app, environment),
                (Some(app), None) => event.app(app),
                (None, _) => event,
            };
            match unless_conflict(self.audit.commit(actor, event, commit).await)? {
                Some(_) => Ok(Some(self.session_report(&session).await?)),
                None => Ok(None),
            }
        })
        .await
    }

    async fn proof_by_password(&self, actor: &Actor, password: &Secret) -> Result<Commit, Error> {
        let proven = self.prove(PasswordOf::Account, &actor.name, password, actor.from).await?;
        let (revision, _, rehashed) = self.proven_account(&proven, actor.from).await?;
        let checks = vec![Check::At(account_key(&proven.name), revision)];
        Ok(Commit { checks, changes: rehashed.into_iter().collect() })
    }

    async fn proof_by_passkey(
        &self,
        actor: &Actor,
        session: &InForce,
        passkey: &Assertion,
        site: Option<&PasskeySite>,
    ) -> Result<Commit, Error> {
        let attempt = self.attempts.begin(&format!("passkey {}", passkey.signature), actor.from);
        let attempt = attempt.map_err(|wait| self.limited("(passkey)", actor.from, wait))?;
        let of = Use { purpose: Purpose::Confirm, session: Some(&session.found.id) };
        let proven = match (&session.owner, site) {
            (Owner::Account(_, account), Some(site)) => self.prove_passkey(passkey, &account.id, of, site).await?,
            _ => None,
        };
        let Some(proven) = proven else {
            self.attempts.failed(&attempt);
            self.refuse_login("(passkey)", actor.from);
            return Err(Problem::new(Code::BadLogin, "The passkey was not taken.").hint("use the password").into());
        };
        self.attempts.succeeded(&attempt);
        Ok(Commit { checks: proven.checks, changes: vec![proven.used] })
    }

    async fn proof_by_token(&self, actor: &Actor, own: &str, token: &Secret) -> Result<Commit, Error> {
        let attempt = self.attempts.begin(&format!("token {}", token.expose()), actor.from);
        let attempt = attempt.map_err(|wait| self.limited("(token)", actor.from, wait))?;
        let holder = self.recognise(token.expose(), actor.from).await;
        if !matches!(&holder, Ok(holder) if holder.credential == Credential::Token(own.to_owned())) {
            self.attempts.failed(&attempt);
            return Err(bad_token().into());
        }
        self.attempts.succeeded(&attempt);
        Ok(Commit::default())
    }

    /// Returns the confirmation settings of an app.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub async fn confirmations(&self, app: &AppName) -> Result<Confirmations, Error> {
        ledger::confirmations(&*self.catalog, app).await
    }

    /// Sets the confirmation settings of an app. A session that weakens the settings must itself be confirmed.
    ///
    /// # Errors
    /// `not_found` for an unknown app, `confirmation_required`.
    pub async fn set_confirmations(&self, actor: &Actor, app: &AppName, wanted: &Confirmations) -> Result<(), Error> {
        let key = confirmations_key(app);
        update(&key, || async {
            let app_key = records::app_key(app);
            let Some(app_record) = self.catalog.get(&app_key).await? else {
                let problem = Problem::new(Code::NotFound, format!("There is no app {app}."));
                return Err(problem.hint("the first push makes it").into());
            };
            let record = self.catalog.get(&key).await?;
            let before =
                record.as_ref().map(|record| records::read::<ConfirmationsRecord>(&key, record)).transpose()?;
            let before = Confirmations::from(before.unwrap_or_default());
            if before == *wanted {
                return Ok(Some(()));
            }
            if before.confirm.difference(&wanted.confirm).next().is_some() {
                self.must_be_confirmed(actor).await?;
            }
            let at = record.map_or_else(|| Check::Absent(key.clone()), |found| Check::At(key.clone(), found.revision));
            let commit = Commit {
                checks: vec![at, Check::At(app_key, app_record.revision)],
                changes: vec![Change::Put(key.clone(), records::write(&ConfirmationsRecord::from(wanted.clone()))?)],
            };
            let event = AuditEvent::of(Action::SetConfirmations).app(app).what(listed(&wanted.confirm));
            Ok(unless_conflict(self.audit.commit(actor, event, commit).await)?.map(|_| ()))
        })
        .await
    }

    /// Checks that a session is confirmed, if the app requires confirmation of `action`, or of any action if `None`.
    ///
    /// # Errors
    /// `confirmation_required`.
    pub async fn check_confirmed(
        &self,
        actor: &Actor,
        app: &AppName,
        action: Option<ConfirmedAction>,
    ) -> Result<(), Error> {
        ledger::check_confirmed(&*self.catalog, actor, app, action).await
    }

    /// Returns true for a session without a valid confirmation.
    ///
    /// # Errors
    /// `bad_token` for a session ended meanwhile; errors of the catalog.
    pub async fn is_unconfirmed(&self, actor: &Actor) -> Result<bool, Error> {
        let Credential::Session(id, _) = &actor.credential else { return Ok(false) };
        Ok(self.session_in_force(id).await?.ok_or_else(ended_session)?.is_unconfirmed())
    }

    /// Checks that a session is confirmed, if required by any app reached by a new token. A token with write access
    /// needs the confirmation for any confirmed action of an app: the token would bypass the confirmation required of
    /// the session.
    ///
    /// # Errors
    /// As [`Credentials::create`]; `confirmation_required`.
    pub async fn check_token_confirmed(&self, actor: &Actor, wanted: &TokenRequest) -> Result<(), Error> {
        if !matches!(actor.credential, Credential::Session(..)) {
            return Ok(());
        }
        // Checked first: an unauthorized actor must learn nothing of a hidden app.
        self.predict_creation(actor, wanted.clone()).await?;
        let needs = |set: &Confirmations| {
            set.confirm.contains(&ConfirmedAction::Token) || wanted.scope != Scope::Read && !set.confirm.is_empty()
        };
        if let Some(app) = &wanted.app {
            return if needs(&self.confirmations(app).await?) { self.must_be_confirmed(actor).await } else { Ok(()) };
        }
        let mut all = Scan::new(&*self.catalog, CONFIRMATIONS_PREFIX);
        loop {
            let page = all.next_page().await?;
            if page.is_empty() {
                return Ok(());
            }
            for (key, record) in page {
                if needs(&records::read::<ConfirmationsRecord>(&key, &record)?.into()) {
                    return self.must_be_confirmed(actor).await;
                }
            }
        }
    }

    /// # Errors
    /// `confirmation_required` for an unconfirmed session.
    async fn must_be_confirmed(&self, actor: &Actor) -> Result<(), Error> {
        match &actor.credential {
            Credential::Session(id, _) => {
                self.session_in_force(id).await?.ok_or_else(ended_session)?.must_be_confirmed()
            }
            _ => Ok(()),
        }
    }
}

fn listed(actions: &BTreeSet<ConfirmedAction>) -> String {
    match actions.is_empty() {
        true => "nothing".to_owned(),
        false => actions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}
