//! The hostname where visitors of protected content log in, `[names] login`: takes the passwords of accounts, or sends
//! browsers to the provider of `[oidc]` and back.
//!
//! A cookie of the login hostname makes a logged-in person known at the next protected hostname: see
//! `access/people.rs`.
//!
//! No app sees a password typed there. The provider knows only the login hostname, and no hostname of an app receives
//! codes. A login belongs to the browser with the login hostname's cookie, which holds the secret and the purpose of
//! the login.

use std::net::IpAddr;

use devanture_config::AppName;
use devanture_config::api::{LOGIN_COOKIE, PERSON_COOKIE, Protection};
use devanture_config::problem::Code;
use http::header::{SET_COOKIE, STRICT_TRANSPORT_SECURITY};
use http::{HeaderMap, HeaderValue, Request};

use super::Handler;
use super::decision::Decision;
use super::refused::Refused;
use super::visitor::{AtLogin, CALLBACK_PATH, LOGIN_PATH};
use super::visitor_accounts::{Confirmed, LoggedInPerson, LoginSecret, PERSON_BYTES_MAX, Person, Unconfirmed};
use super::visitor_cookie::cookie_values;
use super::visitor_form::{self, VisitorForm};
use super::visitor_login::{COOKIE_BYTES_MAX, LOGIN_S, cookie, cookie_named, login_url, parameter};
use super::visitor_page::{Form, GO_ON, LOG_OUT, entered, logout_page, page, page_again};
use super::visitor_ticket::{Purpose, Ticket};
use super::visitors::{Visitors, is_of_own_page};
use crate::live::Restriction;
use devanture_base::clock;
use devanture_http::Fields;

/// Seconds for which the way back to the protected hostname is valid.
const ENTRY_S: u64 = 60;
const ENDED: &str = "This login has ended, or never began here.";
const NOT_LOGGED_IN: &str = "The login did not succeed.";
const NO_ROLE: &str = "You are logged in, and none of your groups may see this site.";
const NO_RIGHTS: &str = "This account may not see this site.";
const LOGGED_OUT: &str =
    "You are logged out here. What you have opened stays open in this browser until its login ends.";
const WRONG: &str = "The account or the password is wrong.";
const NO_PROVIDER: &str = "The service that people log in at cannot be reached just now. Try again in a moment.";

impl Handler {
    /// The response to a step of a login.
    pub(super) async fn logging_in<B>(
        &self,
        visitors: &Visitors,
        step: AtLogin,
        request: &mut Request<B>,
        (authority, from): (&str, IpAddr),
    ) -> Decision
    where
        B: http_body::Body<Data = bytes::Bytes> + Unpin,
    {
        let Some(url) = login_url(&self.live) else {
            tracing::error!("an app has the hostname where visitors log in: nobody logs in there");
            return page(Form::Elsewhere(None), Some(NO_PROVIDER), Refused::Unavailable);
        };
        let (query, callback) = (request.uri().query(), format!("{url}{CALLBACK_PATH}"));
        match step {
            AtLogin::Begin => self.begun_login(visitors, query, (request.headers(), from), &callback).await,
            AtLogin::Back => self.back_from_provider(visitors, query, (request.headers(), from), &callback).await,
            AtLogin::Form => {
                let is_own = is_of_own_page(request.headers(), authority);
                match visitor_form::read(request).await {
                    Ok(form) => self.entered_account(visitors, &form, (request.headers(), is_own), from).await,
                    Err(refused) => Decision::Refuse(refused.into()),
                }
            }
            AtLogin::Logout if is_of_own_page(request.headers(), authority) => {
                with_cookie(logout_page(None, Some(LOGGED_OUT)), cookie_named(PERSON_COOKIE, "", 0))
            }
            // A page of another site must not log a person out.
            AtLogin::Person | AtLogin::Logout => {
                let person = self.person(visitors, request.headers(), None).await;
                logout_page(person.as_ref().map(|person| person.name.as_str()), None)
            }
        }
    }

    /// Makes browsers use HTTPS for the login hostname, if its certificate is publicly trusted, as for custom
    /// hostnames: passwords are typed there.
    pub(super) fn keep_to_https(&self, decision: &mut Decision, host: &str) {
        if let Decision::Small(answer) = decision
            && (self.trusted)(host)
        {
            answer.headers.insert(STRICT_TRANSPORT_SECURITY, self.hsts.value().clone());
        }
    }

    async fn begun_login(
        &self,
        visitors: &Visitors,
        query: Option<&str>,
        (headers, from): (&HeaderMap, IpAddr),
        callback: &str,
    ) -> Decision {
        let text = parameter(query, "request").unwrap_or_default();
        let Some((ticket, restriction)) = self.requested(&text) else {
            return page(Form::Elsewhere(None), Some(ENDED), Refused::Protected);
        };
        // A page that frames the login page, or reads the page by a script, must not learn the logged-in person.
        let person = match opens_page(headers) {
            true => self.person(visitors, headers, Some(&ticket.app)).await,
            false => None,
        };
        let person = person.filter(|person| person.mode == restriction.mode);
        if restriction.mode == Protection::Accounts {
            return match person {
                // A click is required, so that no site learns unseen that a member of its team visits.
                Some(person) if person.may_see => self.person_page((&text, &ticket), &person.name),
                Some(_) => self.account_page((&text, &ticket), Some(NO_RIGHTS), Refused::Protected, None),
                None => self.account_page((&text, &ticket), None, Refused::Protected, None),
            };
        }
        if let Some(person) = person.filter(|person| person.may_see) {
            log_going_on(&person, &ticket, from);
            return self.sent_back(ticket, &restriction, (None, person.ends_s));
        }
        let secret = LoginSecret::new();
        match visitors.accounts.provider_address(callback, &secret).await {
            Ok(address) => match cookie(&format!("{}.{text}", secret.text()), LOGIN_S) {
                Some(cookie) => entered(&address, [cookie]),
                None => Decision::Refuse(Refused::Unavailable.into()),
            },
            Err(unconfirmed) => self.not_let_in(unconfirmed, &ticket),
        }
    }

    async fn back_from_provider(
        &self,
        visitors: &Visitors,
        query: Option<&str>,
        (headers, from): (&HeaderMap, IpAddr),
        callback: &str,
    ) -> Decision {
        let state = parameter(query, "state").and_then(|state| blake3::Hash::from_hex(state).ok());
        let known = cookie_values(Fields::Map(headers), LOGIN_COOKIE, COOKIE_BYTES_MAX).find_map(|value| {
            let (secret, text) = str::from_utf8(value).ok()?.split_once('.')?;
            let secret = LoginSecret::parse(secret)?;
            // Compared in constant time.
            (Some(secret.state()) == state).then_some((secret, text))
        });
        let found = known.and_then(|(secret, text)| Some((secret, self.requested(text)?)));
        // The browser could forge the cookie: a request for an account login must not pass to the provider.
        let found = found.filter(|(_, (_, restriction))| restriction.mode == Protection::Oidc);
        let Some((secret, (ticket, restriction))) = found else {
            // A login that the browser has begun stays valid.
            return page(Form::Elsewhere(None), Some(ENDED), Refused::Protected);
        };
        let Some(code) = parameter(query, "code") else {
            let error = parameter(query, "error");
            let denied = visitors.accounts.deny(error.as_deref(), &ticket.app, from);
            return ended(self.not_let_in(denied, &ticket));
        };
        let issuer = parameter(query, "iss");
        let code = (code.as_str(), issuer.as_deref());
        match visitors.accounts.confirm(code, callback, &secret, &ticket.app, from).await {
            Ok(Confirmed { person, lifetime_s }) => {
                let ends_s = ends_in(lifetime_s.min(visitors.login_ms_max / 1_000));
                let cookie = self.person_cookie(visitors, &person, ends_s).await;
                with_cookie(ended(self.sent_back(ticket, &restriction, (None, ends_s))), cookie)
            }
            // The code was not sent to the provider, so the same code can be sent again.
            Err(unconfirmed @ (Unconfirmed::Unavailable | Unconfirmed::Limited { .. })) => {
                self.not_let_in(unconfirmed, &ticket)
            }
            Err(unconfirmed) => ended(self.not_let_in(unconfirmed, &ticket)),
        }
    }

    /// The response to the name and password of an account, or to the button of a logged-in person. A form of another
    /// site's page is not read.
    async fn entered_account(
        &self,
        visitors: &Visitors,
        form: &VisitorForm,
        (headers, is_own): (&HeaderMap, bool),
        from: IpAddr,
    ) -> Decision {
        let requested = self.requested(&form.request);
        let Some((ticket, restriction)) = requested.filter(|(_, of)| of.mode == Protection::Accounts) else {
            return page(Form::Elsewhere(None), Some(ENDED), Refused::Protected);
        };
        let again = |notice, refused| self.account_page((&form.request, &ticket), notice, refused, None);
        if !is_own {
            return again(None, Refused::Protected);
        }
        match form.step.as_str() {
            GO_ON => {
                let person = self.person(visitors, headers, Some(&ticket.app)).await;
                // The person named on the page.
                let person = person.filter(|person| person.name == form.login && person.may_see);
                return match person.filter(|person| person.mode == Protection::Accounts) {
                    Some(person) => {
                        log_going_on(&person, &ticket, from);
                        self.sent_back(ticket, &restriction, (person.mark, person.ends_s))
                    }
                    None => again(None, Refused::Protected),
                };
            }
            LOG_OUT => return with_cookie(again(None, Refused::Protected), cookie_named(PERSON_COOKIE, "", 0)),
            _ => {}
        }
        match visitors.accounts.check_account(&form.login, &form.password, &ticket.app, from).await {
            Ok(Some(person)) => {
                let ends_s = ends_in(visitors.login_ms_max / 1_000);
                let cookie = self.person_cookie(visitors, &person, ends_s).await;
                with_cookie(self.sent_back(ticket, &restriction, (person.mark(), ends_s)), cookie)
            }
            Ok(None) => again(Some(NO_RIGHTS), Refused::Protected),
            Err(problem) => match problem.code {
                Code::BadLogin => again(Some(WRONG), Refused::Protected),
                Code::TooManyAttempts => {
                    let (refused, request) = (Refused::TooManyAttempts, (form.request.as_str(), &ticket));
                    self.account_page(request, Some(refused.row().1), refused, problem.retry_after_s)
                }
                _ => again(Some(Refused::Unavailable.row().1), Refused::Unavailable),
            },
        }
    }

    /// The page for the name and password of an account, with the seconds until the next attempt.
    fn account_page(
        &self,
        (text, ticket): (&str, &Ticket),
        notice: Option<&str>,
        refused: Refused,
        retry_s: Option<u64>,
    ) -> Decision {
        let origin = self.live.domains().url(&ticket.host);
        page_again(Form::Account { request: text, host: &ticket.host, origin: &origin }, notice, refused, retry_s)
    }

    /// The page where a logged-in person continues by a click.
    fn person_page(&self, (text, ticket): (&str, &Ticket), name: &str) -> Decision {
        let origin = self.live.domains().url(&ticket.host);
        page(Form::Person { request: text, host: &ticket.host, origin: &origin, name }, None, Refused::Protected)
    }

    /// The person logged in with the browser, and whether the person may see the app.
    async fn person(&self, visitors: &Visitors, headers: &HeaderMap, app: Option<&AppName>) -> Option<LoggedInPerson> {
        let (host, now_s) = (self.live.domains().login()?, clock::now_ms() / 1_000);
        for text in cookie_values(Fields::Map(headers), PERSON_COOKIE, PERSON_BYTES_MAX) {
            if let Some(person) = visitors.accounts.logged_in_person(text, host, now_s, app).await {
                return Some(person);
            }
        }
        None
    }

    /// The cookie that keeps a person logged in at the login hostname. If the cookie cannot be made, each hostname
    /// needs its own login, and the browser's previous person is logged out.
    async fn person_cookie(&self, visitors: &Visitors, person: &Person, ends_s: u64) -> Option<HeaderValue> {
        match visitors.accounts.seal_person(person, self.live.domains().login()?, ends_s).await {
            Some(text) => cookie_named(PERSON_COOKIE, &text, ends_s.saturating_sub(clock::now_ms() / 1_000)),
            None => cookie_named(PERSON_COOKIE, "", 0),
        }
    }

    /// The request of a text, if its hostname still exists.
    fn requested(&self, text: &str) -> Option<(Ticket, std::sync::Arc<Restriction>)> {
        let now_s = clock::now_ms() / 1_000;
        Ticket::open(Purpose::Request, text, &self.live, now_s).filter(|(ticket, _)| ticket.is_there(&self.live))
    }

    /// Redirects a logged-in visitor to the protected hostname: with an account of the given mark, or by the provider.
    fn sent_back(
        &self,
        ticket: Ticket,
        restriction: &Restriction,
        (account, session_ends_s): (Option<String>, u64),
    ) -> Decision {
        let entry = Ticket { expires_s: ends_in(ENTRY_S), session_ends_s, account, ..ticket };
        let sealed = restriction.cookie_key(&self.live).and_then(|key| entry.seal(Purpose::Entry, &key));
        let Some(sealed) = sealed else { return Decision::Refuse(Refused::Unavailable.into()) };
        let url = self.live.domains().url(&entry.host);
        entered(&format!("{url}{LOGIN_PATH}?ticket={sealed}"), [])
    }

    /// The page for a visitor without access, with the way back to the start of the login.
    fn not_let_in(&self, unconfirmed: Unconfirmed, ticket: &Ticket) -> Decision {
        let (refused, notice) = match unconfirmed {
            Unconfirmed::Limited { .. } => (Refused::TooManyAttempts, Refused::TooManyAttempts.row().1),
            Unconfirmed::NoRole => (Refused::Protected, NO_ROLE),
            Unconfirmed::Refused => (Refused::Protected, NOT_LOGGED_IN),
            Unconfirmed::Unavailable | Unconfirmed::Unusable => (Refused::Unavailable, NO_PROVIDER),
        };
        let url = format!("{}{}", self.live.domains().url(&ticket.host), ticket.to);
        let retry_s = match unconfirmed {
            Unconfirmed::Limited { retry_s } => Some(retry_s),
            _ => None,
        };
        page_again(Form::Elsewhere(Some(&url)), Some(notice), refused, retry_s)
    }
}

/// Logs that a logged-in person opens a further hostname.
fn log_going_on(person: &LoggedInPerson, ticket: &Ticket, from: IpAddr) {
    let (app, person) = (ticket.app.as_str(), person.name.as_str());
    tracing::info!(target: "audit", app, person, %from, "a visitor who is logged in goes on");
}

/// The decision, ending the login that the browser has begun.
fn ended(decision: Decision) -> Decision {
    with_cookie(decision, cookie("", 0))
}

/// The decision with a cookie, if any.
fn with_cookie(mut decision: Decision, cookie: Option<HeaderValue>) -> Decision {
    if let (Decision::Small(answer), Some(cookie)) = (&mut decision, cookie) {
        answer.headers.append(SET_COOKIE, cookie);
    }
    decision
}

/// The time in `seconds` seconds, in seconds since 1970 UTC.
fn ends_in(seconds: u64) -> u64 {
    (clock::now_ms() / 1_000).saturating_add(seconds)
}

/// Returns true if a browser opens the page in a window of its own, by its fetch metadata.
fn opens_page(headers: &HeaderMap) -> bool {
    let is = |name: &str, expected: &[u8]| headers.get(name).is_none_or(|value| value.as_bytes() == expected);
    is("sec-fetch-mode", b"navigate") && is("sec-fetch-dest", b"document")
}
