//! Visitors of protected previews and environments: their passwords, whose attempts are limited as logins are, and the
//! tokens of an app that they come with.

use std::net::IpAddr;

use devanture_config::api::{Scope, Secret};
use devanture_config::{AppName, PlaceName};

use super::Credentials;
use crate::ledger::Error;

impl Credentials {
    /// Hashes a password for visitors.
    ///
    /// # Errors
    /// `bad_request` for one that is too short or too long, `busy`.
    pub(crate) async fn hash_for_visitors(&self, password: &Secret) -> Result<String, Error> {
        self.passwords.keep(password).await
    }

    /// Whether a visitor's password is the right one for `what`, a name that no account has.
    ///
    /// # Errors
    /// `too_many_attempts`, `busy`.
    pub(crate) async fn check_visitor(
        &self,
        what: &str,
        hash: &str,
        password: &Secret,
        from: Option<IpAddr>,
    ) -> Result<bool, Error> {
        let attempt = self.attempts.begin(what, from).map_err(|wait| self.limited(what, from, wait))?;
        let verified = match self.passwords.verify(Some(hash), password).await {
            Ok(verified) => verified,
            Err(error) => {
                self.attempts.take_back(&attempt);
                return Err(error);
            }
        };
        if verified.is_right {
            self.attempts.succeeded(&attempt);
        } else {
            self.attempts.failed(&attempt);
            self.refuse_login(what, from);
        }
        Ok(verified.is_right)
    }

    /// Whether a token may read an environment of an app, `preview` for its previews.
    pub(crate) async fn may_visit(
        &self,
        token: &str,
        app: &AppName,
        environment: &PlaceName,
        from: Option<IpAddr>,
    ) -> bool {
        match self.recognise(token, from).await {
            Ok(actor) => actor.may(Scope::Read, app, Some(environment)).is_ok(),
            Err(_refused) => false,
        }
    }
}
