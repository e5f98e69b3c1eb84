//! `login`, `logout`, `token` and `audit`: rights of people and programs, and the log of their actions.

use devanture_config::api::{
    AuditEntry, AuditLog, Role, RoleRights, Scope, TokenInfo, TokenList, TokenMade, TokenPrediction, TokenRequest,
    rights_of,
};
use devanture_config::problem::Code;
use devanture_config::{AppName, PlaceName};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{dry_run, person};
use crate::args::{AuditArgs, TokenCommand};
use crate::context::Context;
use crate::edge::client::{self, ANSWER_TIME_MAX, DRY_RUN, Link, Refusal};
use crate::edge::credential::{EdgeCredential, Login};
pub(super) use crate::edge::person::place_text;
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::report::{Again, counted, time_text};
use crate::settings::{Credential, Source};

/// Tokens requested at once.
const PAGE: &str = "1000";
/// Upper bound of the width of the column of changed objects; a longer text moves the rest of its line.
const WHAT_WIDTH_MAX: usize = 40;

impl Link {
    async fn tokens(&self, app: Option<&AppName>) -> Result<TokenList, Failure> {
        let mut all = TokenList::default();
        loop {
            let after = all.next.take();
            let mut query = vec![("limit", PAGE)];
            query.extend(app.map(|app| ("app", app.as_str())));
            query.extend(after.as_deref().map(|after| ("after", after)));
            let request = || self.request_at(Method::GET, &["tokens"], &query).timeout(ANSWER_TIME_MAX);
            let page: TokenList = self.repeated(request).await?;
            all.tokens.extend(page.tokens);
            all.next = page.next;
            if all.next.is_none() {
                return Ok(all);
            }
        }
    }

    /// Makes a token, an account or an invitation; with `is_dry_run` the edge only reports the effect.
    pub(super) async fn post_at<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        wanted: &impl Serialize,
        is_dry_run: bool,
    ) -> Result<T, Failure> {
        let query: &[_] = if is_dry_run { &DRY_RUN } else { &[] };
        let request = self.request_at(Method::POST, segments, query).header(CONTENT_TYPE, "application/json");
        let request = request.timeout(ANSWER_TIME_MAX).body(client::encoded(wanted)?);
        self.once(request).await.map_err(Refusal::into_failure)
    }

    pub(super) async fn predict_deletion<T: DeserializeOwned>(&self, segments: &[&str]) -> Result<T, Failure> {
        let request = || self.request_at(Method::DELETE, segments, &DRY_RUN).timeout(ANSWER_TIME_MAX);
        self.repeated(request).await
    }

    pub(super) async fn delete_at(&self, segments: &[&str]) -> Result<(), Failure> {
        let request = self.request_at(Method::DELETE, segments, &[]).timeout(ANSWER_TIME_MAX);
        self.send(request).await.map(drop).map_err(Refusal::into_failure)
    }
}

/// `login`.
///
/// # Errors
/// The error of the edge, or `usage` if the settings have no login.
pub(crate) async fn login(context: &Context) -> Result<(), Failure> {
    let link = context.link()?;
    let (answer, is_kept) = login_of(&link)?.log_in_again(&link).await?;
    let value = json!({
        "account": answer.account,
        "app": answer.app,
        "environment": answer.environment,
        "scope": answer.scope,
        "expires_in_s": answer.refresh_expires_in_s,
        "kept": is_kept,
    });
    context.output.report(&value, || {
        let place = place_text(answer.app.as_ref(), answer.environment.as_ref());
        let days = counted(answer.refresh_expires_in_s.div_ceil(86_400), "day");
        let kept = match is_kept {
            true => format!("The login is kept for at most {days}; `devanture logout` ends it."),
            false => "There is no folder to keep the login in: each command logs in for itself.".to_owned(),
        };
        vec![format!("Logged in as {}, {} for {place}.", answer.account, answer.scope), kept]
    });
    Ok(())
}

/// `logout`.
///
/// # Errors
/// The error of the edge, or `usage` if the settings have no login.
pub(crate) async fn logout(context: &Context) -> Result<(), Failure> {
    let access = context.settings.edge_access()?;
    let was_there = match &access.credential {
        Credential::Person(_) => person::logout(context, &access).await?,
        _ => {
            let link = context.link()?;
            login_of(&link)?.log_out(&link).await?
        }
    };
    context.output.report(&json!({ "logged_out": was_there }), || {
        vec![match was_there {
            true => "Logged out; nothing that came of that login is good any more.".to_owned(),
            false => "No login was kept; nothing has changed.".to_owned(),
        }]
    });
    Ok(())
}

fn login_of(link: &Link) -> Result<&Login, Failure> {
    match link.pass() {
        EdgeCredential::Login(login) => Ok(login),
        EdgeCredential::Identity(_) | EdgeCredential::None | EdgeCredential::Token(_) => Err(Failure::new(Code::Usage, "There is a token, which needs no login.")
            .hint("set DEVANTURE_LOGIN to the name of an account and DEVANTURE_PASSWORD to its password, and no DEVANTURE_TOKEN")),
    }
}

/// `token`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn token(context: &Context, command: &TokenCommand) -> Result<(), Failure> {
    let link = context.link()?;
    let style = context.output.style;
    match command {
        TokenCommand::List { all_apps } => {
            let app = app_of(context, *all_apps)?;
            let list = link.tokens(app.as_ref()).await?;
            context.output.write(&list, || token_lines(style, &list));
        }
        TokenCommand::Create { name, scope, role, expires, all_apps, dry_run } => {
            let RoleRights { app, environment, scope } = rights(context, *scope, *role, *all_apps)?;
            let wanted = TokenRequest { name: name.clone(), app, environment, scope, expires_in_s: *expires };
            if *dry_run {
                let foreseen: TokenPrediction = link.post_at(&["tokens"], &wanted, true).await?;
                print_foreseen(context, &foreseen, "would_create", "make a token");
                return Ok(());
            }
            let made: TokenMade = link.post_at(&["tokens"], &wanted, false).await?;
            context.progress.note("the token is shown this once; `devanture token revoke` ends it");
            context.output.write(&made, || vec![made.token.clone()]);
        }
        TokenCommand::Revoke { id, dry_run } => {
            let id = public_id(id);
            if *dry_run {
                let foreseen = link.predict_deletion(&["tokens", id]).await?;
                print_foreseen(context, &foreseen, "would_revoke", &format!("revoke at once the token {id},"));
                return Ok(());
            }
            link.delete_at(&["tokens", id]).await?;
            context.output.report(&json!({ "revoked": id }), || vec![format!("The token {id} is revoked.")]);
        }
    }
    Ok(())
}

/// `audit`.
///
/// # Errors
/// The error of the edge.
pub(crate) async fn audit(context: &Context, args: &AuditArgs) -> Result<(), Failure> {
    let link = context.link()?;
    let app = app_of(context, args.all_apps)?;
    let limit = args.limit.to_string();
    let mut query = vec![("limit", limit.as_str())];
    query.extend(app.as_ref().map(|app| ("app", app.as_str())));
    query.extend(args.before.as_deref().map(|before| ("before", before)));
    let request = || link.request_at(Method::GET, &["audit"], &query).timeout(ANSWER_TIME_MAX);
    let log: AuditLog = link.repeated(request).await?;
    let again = if args.all_apps { Again(" --all-apps".to_owned()) } else { context.again_of_app() };
    context.output.write(&log, || audit_lines(context.output.style, &log, &again));
    Ok(())
}

/// Returns the selected app; `None` for all apps.
pub(super) fn app_of(context: &Context, all_apps: bool) -> Result<Option<AppName>, Failure> {
    if all_apps { Ok(None) } else { Ok(Some(context.settings.app()?.value)) }
}

/// Returns the scope, the app and the environment selected by a scope or a role.
pub(super) fn rights(
    context: &Context,
    scope: Option<Scope>,
    role: Option<Role>,
    all_apps: bool,
) -> Result<RoleRights, Failure> {
    let app = app_of(context, all_apps || role == Some(Role::Ops))?;
    rights_of(scope, role, app, environment_of(context)?)
        .map_err(|error| Failure::new(Code::Usage, format!("--role: {error}.")))
}

/// Returns the selected environment; `None` without a flag.
pub(super) fn environment_of(context: &Context) -> Result<Option<PlaceName>, Failure> {
    let environment = context.settings.environment()?;
    Ok((environment.source == Source::Flag).then_some(environment.value))
}

/// Returns the public id of a token, even if the whole token was typed: the rest is not sent.
fn public_id(typed: &str) -> &str {
    typed.strip_prefix("dvt_").and_then(|rest| rest.split('_').next()).unwrap_or(typed)
}

fn print_foreseen(context: &Context, token: &TokenPrediction, member: &str, would: &str) {
    let place = place_text(token.app.as_ref(), token.environment.as_ref());
    let ends = token.expires_ms.map_or_else(String::new, |at_ms| format!(", until {}", time_text(at_ms)));
    let text = format!("{would} `{}`, {} for {place}{ends}", token.name, token.scope);
    dry_run::print_foreseen_as(context, token, member, &text);
}

fn token_lines(style: Style, list: &TokenList) -> Vec<String> {
    if list.tokens.is_empty() {
        return vec!["There is no token here.".to_owned()];
    }
    list.tokens.iter().map(|token| token_line(style, token)).collect()
}

fn token_line(style: Style, token: &TokenInfo) -> String {
    let place = place_text(token.app.as_ref(), token.environment.as_ref());
    let used = match (token.last_used_ms, &token.last_used_from) {
        (Some(at_ms), Some(from)) => format!("used {} from {from}", time_text(at_ms)),
        (Some(at_ms), None) => format!("used {}", time_text(at_ms)),
        (None, _) => "never used".to_owned(),
    };
    let ends = token.expires_ms.map_or_else(|| "never ends".to_owned(), |at_ms| format!("ends {}", time_text(at_ms)));
    format!(
        "  {}  {:<7}  {place}  {}  {}",
        token.id,
        token.scope.to_string(),
        token.name,
        style.dim(&format!("{used} · {ends}"))
    )
}

fn audit_lines(style: Style, log: &AuditLog, again: &Again) -> Vec<String> {
    if log.entries.is_empty() {
        return vec!["Nothing was changed here yet.".to_owned()];
    }
    let places: Vec<String> = log.entries.iter().map(audit_place).collect();
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.fold(0, usize::max);
    let action_width = width(&mut log.entries.iter().map(|entry| entry.action.chars().count()));
    let place_width = width(&mut places.iter().map(|place| place.chars().count()));
    let what_width = width(&mut log.entries.iter().map(|entry| entry.what.chars().count())).min(WHAT_WIDTH_MAX);
    let row = |(entry, place): (&AuditEntry, &String)| {
        let node = entry.node.as_ref().map_or_else(String::new, |node| format!(" on {node}"));
        let who = style.dim(&format!("by {} from {}{node}", entry.who, entry.from));
        let (action, what) = (&entry.action, &entry.what);
        let when = time_text(entry.at_ms);
        format!("  {when}  {action:<action_width$}  {place:<place_width$}  {what:<what_width$}  {who}")
    };
    let mut lines: Vec<String> = log.entries.iter().zip(&places).map(row).collect();
    let more = |next: &String| style.dim(&format!("  more: devanture audit --before {next}{}", again.0));
    lines.extend(log.next.as_ref().map(more));
    lines
}

fn audit_place(entry: &AuditEntry) -> String {
    match (&entry.app, &entry.environment) {
        (Some(app), Some(environment)) => format!("{app}/{environment}"),
        (Some(app), None) => app.to_string(),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_of_the_audit_log_is_of_the_same_apps() {
        let entry =
            json!({ "number": 7, "at_ms": 0, "action": "switch", "who": "ada", "by": "token", "from": "local" });
        let log: AuditLog = serde_json::from_value(json!({ "entries": [entry], "next": "7" })).unwrap();
        let plain = Style::of(&[("NO_COLOR".to_owned(), "1".to_owned())].into(), false);
        let lines = audit_lines(plain, &log, &Again(" --all-apps".to_owned()));
        assert_eq!(lines.last().unwrap(), "  more: devanture audit --before 7 --all-apps");
    }

    #[test]
    fn of_a_token_that_was_typed_whole_only_the_id_is_sent() {
        assert_eq!(public_id("dvt_0123456789ab_secret"), "0123456789ab");
        assert_eq!(public_id("0123456789ab"), "0123456789ab");
    }
}
