//! Credentials of the edge: a given token, or a token received in exchange for a login and its password.
//!
//! The result of an exchange is stored in the state folder of the user's programs, so that not every command logs in:
//! one file for each address, login, CA and source of the login, so that the `.env` of one project does not open the
//! login of a second one. If the file cannot be written, as often in CI, each command logs in for itself.

use std::time::Duration;

use devanture_config::api::{ExchangeRequest, Exchanged, LoggedIn, LoginRequest, RefreshRequest, Secret};
use devanture_config::problem::Code;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::client::{self, Link, Refusal};
use super::identity::Identity;
use super::person;
use super::session_store::Store;
use super::token_life::{is_worth_showing, now_s};
use crate::output::exit::Failure;
use crate::settings::{Credential, EdgeAccess, LoginAccess, no_token};

/// Longest time for an exchange; on a busy edge the check of a password may wait for its turn.
const EXCHANGE_TIME_MAX: Duration = Duration::from_secs(60);

/// A credential of the edge.
#[derive(Debug)]
pub(crate) enum EdgeCredential {
    /// A given token.
    Token(HeaderValue),
    /// An identity token of a CI system.
    Identity(Box<Identity>),
    /// A login.
    Login(Box<Login>),
    /// No credential, for requests without authentication.
    None,
}

/// A login, and the result of its last exchange.
#[derive(Debug)]
pub(crate) struct Login {
    name: String,
    password: Option<Secret>,
    store: Option<Store>,
    current: Mutex<Option<Session>>,
}

/// The result of an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    access_token: Secret,
    /// End of the access token, in seconds since 1970 UTC.
    access_expires_s: u64,
    refresh_token: Secret,
    /// End of the login.
    refresh_expires_s: u64,
}

impl Session {
    fn of(answer: &LoggedIn, requested_s: u64) -> Self {
        Self {
            access_token: answer.access_token.clone(),
            access_expires_s: requested_s.saturating_add(answer.expires_in_s),
            refresh_token: answer.refresh_token.clone(),
            refresh_expires_s: requested_s.saturating_add(answer.refresh_expires_in_s),
        }
    }

    /// Returns true if the access token is current, and is not the refused one.
    fn is_good(&self, refused: Option<&HeaderValue>) -> bool {
        is_worth_showing(&self.access_token, self.access_expires_s, refused)
    }

    /// The refresh token, for a request.
    pub(crate) fn refresh_request(&self) -> RefreshRequest {
        RefreshRequest { refresh_token: self.refresh_token.clone() }
    }
}

impl EdgeCredential {
    /// Creates the credential of the settings; sends no request.
    ///
    /// # Errors
    /// `usage` if a token cannot be sent.
    pub(crate) fn of(access: &EdgeAccess) -> Result<Self, Failure> {
        match &access.credential {
            Credential::Token(token) => Ok(Self::Token(bearer(token.secret())?)),
            Credential::Identity(identity) => Ok(Self::Identity(Box::new(Identity::of(access, identity)))),
            Credential::Login(login) => Ok(Self::Login(Box::new(Login::of(access, login)))),
            Credential::Person(place) => match person::current(access, place) {
                Some(login) => Ok(Self::Token(bearer(login.token.expose())?)),
                None => Err(person::missing(access, place)),
            },
        }
    }

    /// Returns the value of the `Authorization` field. `refused` is the value that the edge has just refused.
    ///
    /// # Errors
    /// The error of the edge about the login; `unauthenticated` without a password.
    pub(crate) async fn show(&self, link: &Link, refused: Option<&HeaderValue>) -> Result<HeaderValue, Failure> {
        match self {
            Self::Token(token) => Ok(token.clone()),
            Self::None => Err(no_token()),
            Self::Identity(identity) => bearer(Box::pin(identity.token(link, refused)).await?.expose()),
            // Boxed: every request waits for this future, and hardly any request needs the future.
            Self::Login(login) => bearer(Box::pin(login.session(link, refused)).await?.access_token.expose()),
        }
    }

    /// Returns true if a new token can be obtained after a refusal.
    pub(crate) fn is_renewable(&self) -> bool {
        match self {
            Self::Identity(identity) => identity.is_renewable(),
            Self::Login(_) => true,
            Self::None | Self::Token(_) => false,
        }
    }
}

impl Login {
    fn of(access: &EdgeAccess, login: &LoginAccess) -> Self {
        Self {
            name: login.name.clone(),
            password: login.password.as_ref().map(|password| Secret::new(password.secret())),
            store: Store::of(access, login),
            current: Mutex::default(),
        }
    }

    /// Returns a valid session: the current one, the stored one, a refreshed one, or a new one.
    async fn session(&self, link: &Link, refused: Option<&HeaderValue>) -> Result<Session, Failure> {
        // Of many concurrent requests, one does the exchange.
        let mut current = self.current.lock().await;
        if let Some(session) = current.as_ref().filter(|session| session.is_good(refused)) {
            return Ok(session.clone());
        }
        // The same for concurrent commands: two refreshes with the same token would look like a theft.
        let _alone = match &self.store {
            Some(store) => store.lock().await,
            None => None,
        };
        let stored = self.store.as_ref().and_then(Store::read::<Session>);
        // A session that could not be stored is later than the stored one.
        let known = [current.clone(), stored.clone()].into_iter().flatten().max_by_key(|one| one.access_expires_s);
        let session = match known {
            Some(known) if known.is_good(refused) => known,
            // The next command would present the same refresh token once more, which ends the login.
            Some(known) if stored.as_ref() == Some(&known) && !self.write(&known) => {
                self.log_in_beside_stored(link).await?
            }
            Some(known) => match refresh(link, &known).await? {
                Some(session) => self.keep(session),
                None => self.keep(self.log_in(link).await?.0),
            },
            None => self.keep(self.log_in(link).await?.0),
        };
        *current = Some(session.clone());
        Ok(session)
    }

    fn keep(&self, session: Session) -> Session {
        self.write(&session);
        session
    }

    /// Writes `session`. Returns true if the session is stored.
    fn write(&self, session: &Session) -> bool {
        self.store.as_ref().is_some_and(|store| store.write(session))
    }

    /// Logs in for this command alone, if the refreshed session of the stored login could not be stored.
    async fn log_in_beside_stored(&self, link: &Link) -> Result<Session, Failure> {
        if self.password.is_none() {
            let message = format!("The login of {} cannot be renewed: its file cannot be written.", self.name);
            return Err(Failure::new(Code::Unauthenticated, message)
                .hint("let the state folder be written, or set DEVANTURE_PASSWORD, to log in for this command alone"));
        }
        link.progress().note("the file of the login cannot be written: logging in for this command alone");
        Ok(self.log_in(link).await?.0)
    }

    /// Logs in with the password; the stored login ends. Returns also whether the new login is stored.
    ///
    /// # Errors
    /// Like [`EdgeCredential::show`].
    pub(crate) async fn log_in_again(&self, link: &Link) -> Result<(LoggedIn, bool), Failure> {
        let _alone = match &self.store {
            Some(store) => store.lock().await,
            None => None,
        };
        let before = self.store.as_ref().and_then(Store::read::<Session>);
        let (session, answer) = self.log_in(link).await?;
        if let Some(before) = before {
            // The earlier login may have ended already.
            exchange(link, &["logout"], &before.refresh_request()).await.ok();
        }
        let is_kept = self.write(&session);
        Ok((answer, is_kept))
    }

    /// Ends the stored login. Returns true if there was one.
    ///
    /// # Errors
    /// An error if the edge could not be reached.
    pub(crate) async fn log_out(&self, link: &Link) -> Result<bool, Failure> {
        let Some(store) = &self.store else { return Ok(false) };
        let _alone = store.lock().await;
        let Some(kept) = store.read::<Session>() else { return Ok(false) };
        match exchange(link, &["logout"], &kept.refresh_request()).await {
            Ok(_) => {}
            // The login had ended already.
            Err(Refusal::Final(failure)) if is_over(&failure) => {}
            Err(refusal) => return Err(refusal.into_failure()),
        }
        store.remove();
        Ok(true)
    }

    async fn log_in(&self, link: &Link) -> Result<(Session, LoggedIn), Failure> {
        let Some(password) = &self.password else {
            return Err(Failure::new(
                Code::Unauthenticated,
                format!("The login of {} has not begun or is over, and there is no password.", self.name),
            )
            .hint("set DEVANTURE_PASSWORD; `devanture login` keeps what it is exchanged for"));
        };
        let wanted = LoginRequest { login: self.name.clone(), password: password.clone() };
        let requested_s = now_s();
        let attempt = async || match exchange(link, &["login"], &wanted).await {
            // Each repetition would count as an attempt.
            Err(Refusal::Again(failure, _)) if failure.is(Code::TooManyAttempts) => Err(Refusal::Final(failure)),
            other => other,
        };
        let answer = client::repeat(link.waits(), client::QUESTIONS_MAX, attempt).await?;
        let answer: LoggedIn = link.decoded(&answer)?;
        Ok((Session::of(&answer, requested_s), answer))
    }
}

/// The next session; `None` if the login is over.
async fn refresh(link: &Link, session: &Session) -> Result<Option<Session>, Failure> {
    if session.refresh_expires_s <= now_s() {
        return Ok(None);
    }
    let wanted = session.refresh_request();
    let requested_s = now_s();
    // After a lost answer the request is repeated with the same token, which the edge allows for a moment.
    match client::repeat(link.waits(), client::QUESTIONS_MAX, async || exchange(link, &["refresh"], &wanted).await)
        .await
    {
        Ok(answer) => Ok(Some(Session::of(&link.decoded(&answer)?, requested_s))),
        Err(failure) if is_over(&failure) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn is_over(failure: &Failure) -> bool {
    failure.is(Code::BadToken) || failure.is(Code::Unauthenticated)
}

impl Link {
    /// Exchanges the identity token of a person.
    ///
    /// # Errors
    /// The error of the edge about the token.
    pub(crate) async fn exchange(&self, wanted: &ExchangeRequest) -> Result<Exchanged, Failure> {
        let attempt = async || match exchange(self, &["exchange"], wanted).await {
            // Each repetition would count as an attempt.
            Err(Refusal::Again(failure, _)) if failure.is(Code::TooManyAttempts) => Err(Refusal::Final(failure)),
            other => other,
        };
        self.decoded(&client::repeat(self.waits(), client::QUESTIONS_MAX, attempt).await?)
    }
}

/// Sends a request that proves an identity without a token.
pub(super) async fn exchange(link: &Link, segments: &[&str], body: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    let body = client::encoded(body).map_err(Refusal::Final)?;
    let request = link.request_at(Method::POST, segments, &[]).header(CONTENT_TYPE, "application/json");
    let response = link.send_as(request.timeout(EXCHANGE_TIME_MAX).body(body), None).await?;
    link.body(response).await
}

/// The field for a token.
pub(crate) fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|error| Failure::new(Code::Usage, format!("The token cannot be sent: {error}.")))?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

#[cfg(test)]
mod tests {
    use super::super::token_life::LEFT_S_MIN;
    use super::*;

    #[test]
    fn a_session_says_whether_it_is_worth_showing() {
        let session = |expires_s| Session {
            access_token: Secret::new("dva_1"),
            access_expires_s: expires_s,
            refresh_token: Secret::new("dvr_1"),
            refresh_expires_s: u64::MAX,
        };
        let (good, ends) = (session(now_s() + 60), session(now_s() + LEFT_S_MIN / 2));
        assert!(good.is_good(None) && !ends.is_good(None));
        assert!(!good.is_good(Some(&bearer("dva_1").unwrap())));
        assert!(good.is_good(Some(&bearer("dva_0").unwrap())));
        assert!(!format!("{good:?}").contains("dva_1"));
    }
}
