//! `login --oidc`, `logout` of such a login, and `whoami`.

use devanture_config::api::{DeviceTokenRequest, ExchangeRequest, Exchanged, Scope, Session};
use devanture_config::problem::Code;
use reqwest::Method;
use reqwest::header::WWW_AUTHENTICATE;
use serde_json::json;

use super::access::place_text;
use crate::context::Context;
use crate::edge::client::{ANSWER_TIME_MAX, Link};
use crate::edge::credential::{EdgeCredential, bearer};
use crate::edge::device::Provider;
use crate::edge::person::{self, PersonLogin};
use crate::output::exit::Failure;
use crate::output::report::time_text;
use crate::settings::{Credential, EdgeAccess, PersonAccess};

impl Link {
    /// Returns the provider that the edge names to clients without a token.
    async fn provider(&self) -> Result<Provider, Failure> {
        let request = self.request_at(Method::GET, &["session"], &[]).timeout(ANSWER_TIME_MAX);
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let field = response.headers().get(WWW_AUTHENTICATE).and_then(|field| field.to_str().ok());
        field.and_then(Provider::of_challenge).ok_or_else(|| {
            Failure::new(Code::Usage, format!("The edge at {} has no provider to log in at.", self.address()))
                .hint("`[oidc]` of its edge.toml names one; `devanture login` without --oidc logs in to an account")
        })
    }
}

/// `login --oidc`.
///
/// # Errors
/// The errors of the provider and the edge; `untrusted_source`; `usage` if the login cannot be stored.
pub(crate) async fn login(context: &Context, all_apps: bool) -> Result<(), Failure> {
    let access = context.settings.login_access()?;
    let person = person_of(&access)?;
    let link = Link::with(&access, EdgeCredential::None, context.progress.clone())?;
    let provider = link.provider().await?.trusted_by(access.ca.as_deref());
    let app = person.app.clone().filter(|_| !all_apps);
    let environment = person.environment.clone().filter(|_| !all_apps);
    let show = |address: &str, code: &str| {
        context.progress.note(&format!("open {address} and enter the code {code}"));
    };
    let exchanged: Exchanged = if provider.is_through_edge {
        let prompt = link.begin_device().await?;
        show(&prompt.verification_uri, &prompt.user_code);
        let wanted = DeviceTokenRequest { device_code: prompt.device_code.clone(), app, environment };
        link.wait_device(&prompt, &wanted).await?
    } else {
        let prompt = provider.begin().await?;
        show(&prompt.address, &prompt.code);
        let identity_token = provider.wait(&prompt).await?;
        link.exchange(&ExchangeRequest { identity_token, app, environment }).await?
    };
    let login = PersonLogin::of(&exchanged);
    let (is_kept, before) = person::keep(&access, person, login.clone()).await;
    if !is_kept {
        // No command would use the new login, and the stored login stays valid.
        revoke(&access, context, &login).await.ok();
        return Err(Failure::new(Code::Usage, "The login cannot be stored: the state folder cannot be written.")
            .hint("set XDG_STATE_HOME to a folder that can be written, and log in again"));
    }
    if let Some(before) = before {
        // The earlier login may have ended already.
        revoke(&access, context, &before).await.ok();
    }
    let (name, scope) = (exchanged.person.clone().unwrap_or_default(), exchanged.scope);
    let value = json!({
        "person": exchanged.person,
        "app": exchanged.app,
        "environment": exchanged.environment,
        "scope": scope,
        "expires_ms": exchanged.expires_ms,
        "kept": true,
    });
    context.output.report(&value, || {
        let place = place_text(exchanged.app.as_ref(), exchanged.environment.as_ref());
        let kept = format!("The login is kept until {}; `devanture logout` ends it.", time_text(exchanged.expires_ms));
        vec![format!("Logged in as {name}, {scope} for {place}."), kept]
    });
    Ok(())
}

/// `logout` of a login at the provider; `false` without a stored login.
///
/// # Errors
/// An error if the edge could not be reached.
pub(crate) async fn logout(context: &Context, access: &EdgeAccess) -> Result<bool, Failure> {
    let person = person_of(access)?;
    let Some(login) = person::current(access, person) else {
        if let Some(others) = person::others(access, person) {
            context.progress.note(&others);
        }
        return Ok(false);
    };
    match revoke(access, context, &login).await {
        // The login had ended already.
        Err(failure) if !failure.is(Code::BadToken) => return Err(failure),
        _ => {}
    }
    person::forget(access, person, &login.id).await;
    Ok(true)
}

async fn revoke(access: &EdgeAccess, context: &Context, login: &PersonLogin) -> Result<(), Failure> {
    let link = Link::with(access, EdgeCredential::Token(bearer(login.token.expose())?), context.progress.clone())?;
    link.delete_at(&["tokens", &login.id]).await
}

fn person_of(access: &EdgeAccess) -> Result<&PersonAccess, Failure> {
    match &access.credential {
        Credential::Person(person) => Ok(person),
        _ => {
            Err(Failure::new(Code::Usage, "There is another credential.")
                .hint("unset DEVANTURE_TOKEN and DEVANTURE_LOGIN"))
        }
    }
}

/// `whoami`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn whoami(context: &Context) -> Result<(), Failure> {
    let link = context.link()?;
    let request = || link.request_at(Method::GET, &["session"], &[]).timeout(ANSWER_TIME_MAX);
    let session: Session = link.repeated(request).await?;
    context.output.write(&session, || {
        let account = session.account.as_ref().map(ToString::to_string);
        let name = account.or_else(|| session.token.clone()).unwrap_or_default();
        let rights = session.rights.iter().map(|right| {
            let scope = right.scopes.last().map(Scope::to_string).unwrap_or_default();
            format!("  {scope} for {}", place_text(right.app.as_ref(), right.environment.as_ref()))
        });
        let ends = session.expires_ms.map(|at_ms| format!("  until {}", time_text(at_ms)));
        [name].into_iter().chain(rights).chain(ends).collect()
    });
    Ok(())
}
