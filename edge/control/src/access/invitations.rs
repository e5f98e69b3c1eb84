//! Invitations: single-use secrets that set the password of an account.
//!
//! An account has at most one open invitation, in its own record: a new invitation replaces the old, and every change
//! of the password ends the invitation. The text names the account, which avoids an index, and holds 256 random bits,
//! stored as a hash.

use std::net::IpAddr;

use devanture_config::Digest;
use devanture_config::api::{
    AcceptRequest, AccountName, AccountPrediction, INVITATION_PREFIX, InvitationAccepted, InvitationMade,
    InvitationRequest, Secret,
};
use devanture_config::problem::{Code, Problem};
use metrics::counter;

use super::accounts::{missing, must_manage_accounts, of_account, prediction};
use super::passwords::PasswordOf;
use super::{Credentials, is_hex, is_secret, random_hex, tokens};
use crate::ledger::{Action, Actor, AuditEvent, Credential, Error, from_text, unless_conflict, update};
use devanture_base::clock;
use devanture_store::catalog::{Change, Check, Commit, Revision};
use devanture_store::records;
use devanture_store::records::identities::{self, AccountRecord, Invitation};

impl Credentials {
    /// Creates an invitation for an account, replacing an earlier one. Until its acceptance, password and logins stay.
    ///
    /// # Errors
    /// `forbidden` as for a new account, `not_found`, `bad_request` for a lifetime beyond `invitation_ms_max`.
    pub async fn invite(
        &self,
        actor: &Actor,
        name: &AccountName,
        request: &InvitationRequest,
    ) -> Result<InvitationMade, Error> {
        let (expires_ms, secret) = (self.invitation_end(actor, request)?, random_hex(tokens::SECRET_BYTES));
        let invitation = Invitation { hash: Digest::of(secret.as_bytes()), expires_ms };
        self.change_account(actor, name, |account| {
            account.invitation = Some(invitation.clone());
            Ok(of_account(Action::Invite, account).what(name))
        })
        .await?;
        let text = format!("{INVITATION_PREFIX}_{}_{secret}", hex::encode(name.as_str()));
        Ok(InvitationMade { account: name.clone(), invitation: Secret::new(text), expires_ms })
    }

    /// Predicts [`Credentials::invite`] with its refusals; creates no invitation.
    ///
    /// # Errors
    /// As [`Credentials::invite`].
    pub async fn predict_invitation(
        &self,
        actor: &Actor,
        name: &AccountName,
        request: &InvitationRequest,
    ) -> Result<AccountPrediction, Error> {
        let expires_ms = self.invitation_end(actor, request)?;
        let (_, account) = self.account(name).await?.ok_or_else(|| missing(name))?;
        Ok(prediction(name, account, Some(expires_ms)))
    }

    /// Revokes the open invitation of an account.
    ///
    /// # Errors
    /// `forbidden`; `not_found` for an unknown account, or without an invitation.
    pub async fn revoke_invitation(&self, actor: &Actor, name: &AccountName) -> Result<(), Error> {
        must_manage_accounts(actor)?;
        self.change_account(actor, name, |account| {
            account.invitation.take().ok_or_else(|| not_invited(name))?;
            Ok(of_account(Action::RevokeInvitation, account).what(name))
        })
        .await
    }

    /// Predicts [`Credentials::revoke_invitation`]; revokes nothing.
    ///
    /// # Errors
    /// As [`Credentials::revoke_invitation`].
    pub async fn predict_invitation_revoked(
        &self,
        actor: &Actor,
        name: &AccountName,
    ) -> Result<AccountPrediction, Error> {
        must_manage_accounts(actor)?;
        let (_, account) = self.account(name).await?.ok_or_else(|| missing(name))?;
        let ends_ms = account.invitation.as_ref().map(|open| open.expires_ms).ok_or_else(|| not_invited(name))?;
        Ok(prediction(name, account, Some(ends_ms)))
    }

    /// Accepts an invitation: sets the account's password, and ends all its logins.
    ///
    /// # Errors
    /// `bad_token` for an unknown, used, replaced or expired invitation, without distinction; `bad_request` for a short
    /// password, which keeps the invitation; `too_many_attempts`, `busy`.
    pub async fn accept(&self, request: &AcceptRequest, from: Option<IpAddr>) -> Result<InvitationAccepted, Error> {
        let text = request.invitation.expose();
        // Counted by the whole text, so that guesses for an account cannot block its true invitation.
        let attempt = self.attempts.begin(&format!("invitation {text}"), from);
        let attempt = attempt.map_err(|wait| self.limited("(invitation)", from, wait))?;
        let Some((name, secret)) = parts(text) else {
            self.attempts.failed(&attempt);
            return Err(self.bad_invitation(from));
        };
        // Argon2 runs only for holders of an invitation.
        if self.invited(&name, secret).await?.is_none() {
            self.attempts.failed(&attempt);
            return Err(self.bad_invitation(from));
        }
        let kept = self.passwords.keep(PasswordOf::Account, &request.password).await;
        // The invitation is valid whatever the password, so a second attempt reveals nothing.
        let password = kept.inspect_err(|_| self.attempts.take_back(&attempt))?;
        let key = identities::account_key(&name);
        let accepted = update(&key, || async {
            // Of two concurrent acceptances, the second finds no invitation.
            let Some((revision, mut account)) = self.invited(&name, secret).await? else {
                return Err(self.bad_invitation(from));
            };
            let changes = self.with_password(&key, &mut account, &password).await?;
            let commit = Commit { checks: vec![Check::At(key.clone(), revision)], changes };
            let event = of_account(Action::AcceptInvitation, &account).what(&name);
            let actor = guest(&name, &account, from);
            Ok(unless_conflict(self.audit.commit(&actor, event, commit).await)?.map(|_| account))
        });
        let account = accepted.await?;
        self.attempts.succeeded(&attempt);
        Ok(InvitationAccepted {
            account: name,
            app: account.app,
            environment: account.environment,
            scope: account.scope.into(),
        })
    }

    /// Returns the account of a valid invitation.
    async fn invited(&self, name: &AccountName, secret: &str) -> Result<Option<(Revision, AccountRecord)>, Error> {
        let found = self.account(name).await?;
        let open = found.as_ref().and_then(|(_, account)| account.invitation.clone());
        // Compared even without an invitation, so that the response time does not reveal accounts.
        let open = open.unwrap_or_else(|| Invitation { hash: Digest::of(INVITATION_PREFIX.as_bytes()), expires_ms: 0 });
        let is_good = is_secret(secret, &open.hash) && open.expires_ms > clock::now_ms();
        Ok(found.filter(|_| is_good))
    }

    /// Returns the expiry of an invitation by the actor.
    fn invitation_end(&self, actor: &Actor, request: &InvitationRequest) -> Result<u64, Error> {
        must_manage_accounts(actor)?;
        let longest_ms = self.limits.invitation_ms_max;
        let lifetime_ms = request.expires_in_s.map_or(longest_ms, |seconds| seconds.saturating_mul(1_000));
        if lifetime_ms == 0 || lifetime_ms > longest_ms {
            let detail = format!("An invitation is good for 1 to {} seconds.", longest_ms / 1_000);
            return Err(Problem::new(Code::BadRequest, detail)
                .hint("`invitation_ms_max` in edge.toml is the limit")
                .into());
        }
        Ok(clock::now_ms().saturating_add(lifetime_ms))
    }

    /// Changes the record of an account, keeping its logins.
    async fn change_account(
        &self,
        actor: &Actor,
        name: &AccountName,
        change: impl Fn(&mut AccountRecord) -> Result<AuditEvent, Error>,
    ) -> Result<(), Error> {
        let key = identities::account_key(name);
        update(&key, || async {
            let (revision, mut account) = self.account(name).await?.ok_or_else(|| missing(name))?;
            let event = change(&mut account)?;
            let commit = Commit {
                checks: vec![Check::At(key.clone(), revision)],
                changes: vec![Change::Put(key.clone(), records::write(&account)?)],
            };
            Ok(unless_conflict(self.audit.commit(actor, event, commit).await)?.map(|_| ()))
        })
        .await
    }

    fn bad_invitation(&self, from: Option<IpAddr>) -> Error {
        counter!("devanture_tokens_refused_total").increment(1);
        if self.log_quota.take(&()).is_ok() {
            tracing::warn!(target: "audit", from = from_text(from), "an invitation was refused");
        }
        Problem::new(Code::BadToken, "The invitation is unknown, expired, or was used already.")
            .hint("an admin makes another one with `devanture account invite`")
            .into()
    }
}

/// Splits an invitation into account and secret.
fn parts(text: &str) -> Option<(AccountName, &str)> {
    let (name, secret) = text.strip_prefix(INVITATION_PREFIX)?.strip_prefix('_')?.split_once('_')?;
    let name = String::from_utf8(hex::decode(name).ok()?).ok()?;
    is_hex(secret, tokens::SECRET_BYTES).then_some(())?;
    Some((name.parse().ok()?, secret))
}

/// The actor of an acceptance: the account itself, before any login.
fn guest(name: &AccountName, account: &AccountRecord, from: Option<IpAddr>) -> Actor {
    Actor {
        name: name.to_string(),
        app: account.app.clone(),
        environment: account.environment.clone(),
        scope: account.scope.into(),
        from,
        credential: Credential::Login(account.id.clone()),
        root: None,
        expires_ms: Some(clock::now_ms()),
        unconfirmed: false,
    }
}

fn not_invited(name: &AccountName) -> Error {
    Problem::new(Code::NotFound, format!("The account {name} has no open invitation.")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_invitation_names_its_account() {
        let secret = "0".repeat(64);
        let text = format!("dvi_{}_{secret}", hex::encode("ada@example.org"));
        assert_eq!(parts(&text), Some(("ada@example.org".parse().unwrap(), secret.as_str())));
        let other = ["", "dvi", "dvi_", "dvi__", "dvi_616461_00", "dvt_616461_00", "dvi_ff_", "dvi_2e2e_"];
        for text in other.map(|text| format!("{text}{}", if text.ends_with('_') { &secret } else { "" })) {
            assert_eq!(parts(&text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(dvi_)?\\PC{0,20}_?[0-9a-f]{0,70}") {
            parts(&text);
        }
    }
}
