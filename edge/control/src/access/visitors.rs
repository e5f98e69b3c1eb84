//! Visitors of protected previews and environments: passwords, with limits like those of logins, accounts for logging
//! in, and tokens of an app.

use std::net::IpAddr;

use async_trait::async_trait;
use devanture_config::api::{Scope, Secret};
use devanture_config::problem::Problem;
use devanture_config::{AppName, PlaceName};

use super::Credentials;
use super::logins::{count, limited};
use super::passwords::PasswordOf;
use crate::ledger::{Error, from_text};
use devanture_serve::handler::{Confirmed, KnownBy, LoggedInPerson, LoginSecret, Person, Unconfirmed, VisitorAccounts};

impl Credentials {
    /// Hashes a password for visitors.
    ///
    /// # Errors
    /// `bad_request` for a short or overlong password, `busy`.
    pub(crate) async fn hash_for_visitors(&self, app: &AppName, password: &Secret) -> Result<String, Error> {
        self.passwords.keep(PasswordOf::Visitors(app), password).await
    }

    /// Checks a visitor's password for `what`, the name of a protected part of the app.
    ///
    /// # Errors
    /// `too_many_attempts`, `busy`.
    async fn check_visitor(
        &self,
        (app, what): (&AppName, &str),
        hash: &str,
        password: &Secret,
        from: Option<IpAddr>,
    ) -> Result<bool, Error> {
        let attempts = &self.visitor_attempts;
        let attempt = attempts.begin(what, from).map_err(|wait| {
            self.log_visitor(what, from, "too many attempts");
            limited(wait)
        })?;
        let verified = match self.passwords.verify(PasswordOf::Visitors(app), Some(hash), password).await {
            Ok(verified) => verified,
            Err(error) => {
                attempts.take_back(&attempt);
                return Err(error);
            }
        };
        if verified.is_right {
            attempts.succeeded(&attempt);
        } else {
            attempts.failed(&attempt);
            self.log_visitor(what, from, "wrong");
        }
        Ok(verified.is_right)
    }

    /// Logs the refusal of a visitor, within the quota for strangers.
    fn log_visitor(&self, what: &str, from: Option<IpAddr>, why: &str) {
        if self.log_quota.take(&()).is_ok() {
            tracing::warn!(target: "audit", what, from = from_text(from), why, "a visitor was refused");
        }
    }

    /// Returns the person of an account and password; `None` without rights in the app.
    ///
    /// # Errors
    /// As [`Credentials::login`].
    async fn check_account_of_visitor(
        &self,
        login: &str,
        password: &Secret,
        app: &AppName,
        from: Option<IpAddr>,
    ) -> Result<Option<Person>, Error> {
        let proven = self.prove(PasswordOf::Visitors(app), login, password, from).await?;
        let (_, account, _) = self.proven_account(&proven, from).await?;
        count("ok");
        let has_rights = account.may_visit(app);
        let person = has_rights.then(|| Person {
            name: proven.name.to_string(),
            known_by: KnownBy::Account { mark: account.visitor_mark() },
        });
        let (app, login, from) = (app.as_str(), proven.name.as_str(), from_text(from));
        if has_rights {
            tracing::info!(target: "audit", app, login, from, "a visitor logged in");
        } else if self.log_quota.take(&()).is_ok() {
            tracing::warn!(target: "audit", app, login, from, "an account that has no rights in an app may not see it");
        }
        Ok(person)
    }
}

#[async_trait]
impl VisitorAccounts for Credentials {
    async fn check_password(
        &self,
        name: (&AppName, &str),
        hash: &str,
        password: &Secret,
        from: IpAddr,
    ) -> Result<bool, Box<Problem>> {
        self.check_visitor(name, hash, password, Some(from)).await.map_err(|error| error.0)
    }

    async fn check_account(
        &self,
        login: &str,
        password: &Secret,
        app: &AppName,
        from: IpAddr,
    ) -> Result<Option<Person>, Box<Problem>> {
        self.check_account_of_visitor(login, password, app, Some(from)).await.map_err(|error| error.0)
    }

    async fn may_visit(&self, token: &str, app: &AppName, environment: &PlaceName, from: IpAddr) -> bool {
        match self.recognise(token, Some(from)).await {
            Ok(actor) => actor.may(Scope::Read, app, Some(environment)).is_ok(),
            Err(_refused) => false,
        }
    }

    async fn provider_address(&self, callback: &str, secret: &LoginSecret) -> Result<String, Unconfirmed> {
        self.address_at_provider(callback, secret).await
    }

    async fn confirm(
        &self,
        code: (&str, Option<&str>),
        callback: &str,
        secret: &LoginSecret,
        app: &AppName,
        from: IpAddr,
    ) -> Result<Confirmed, Unconfirmed> {
        self.confirm_visitor(code, callback, secret, app, Some(from)).await
    }

    fn deny(&self, error: Option<&str>, app: &AppName, from: IpAddr) -> Unconfirmed {
        self.denied_visitor(error, app, Some(from))
    }

    async fn seal_person(&self, person: &Person, host: &str, ends_s: u64) -> Option<String> {
        self.sealed_person(person, host, ends_s).await
    }

    async fn logged_in_person(
        &self,
        text: &[u8],
        host: &str,
        now_s: u64,
        app: Option<&AppName>,
    ) -> Option<LoggedInPerson> {
        self.person_of_text(text, host, now_s, app).await
    }
}
