//! `account`: the accounts of people, and the links for setting their passwords.

use std::io::{IsTerminal as _, Read as _};

use devanture_config::api::{
    AccountInfo, AccountList, AccountName, AccountPrediction, AccountRequest, InvitationMade, InvitationRequest, Role,
    RoleRights, Scope, Secret,
};
use devanture_config::problem::Code;
use reqwest::Method;
use serde_json::json;

use super::access::{place_text, rights};
use super::dry_run;
use crate::args::{AccountCommand, InviteArgs};
use crate::context::Context;
use crate::edge::client::{ANSWER_TIME_MAX, Link};
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::prompt;
use crate::output::report::{counted, time_text};

/// Upper bound of bytes read for a password.
const PASSWORD_BYTES_MAX: u64 = 4_096;

impl Link {
    async fn accounts(&self) -> Result<AccountList, Failure> {
        let request = || self.request_at(Method::GET, &["accounts"], &[]).timeout(ANSWER_TIME_MAX);
        self.repeated(request).await
    }
}

/// `account`.
///
/// # Errors
/// The error of the edge; `usage` if no password can be read.
pub(crate) async fn account(context: &Context, command: &AccountCommand) -> Result<(), Failure> {
    let link = context.link()?;
    match command {
        AccountCommand::List => {
            let list = link.accounts().await?;
            context.output.write(&list, || account_lines(context.output.style, &list));
        }
        AccountCommand::Create { name, scope, role, all_apps, dry_run } => {
            let mut wanted = wanted_account(context, name, (*scope, *role), *all_apps)?;
            if *dry_run {
                let predicted = link.post_at(&["accounts"], &wanted, true).await?;
                print_prediction(context, &predicted, "would_create", "create the account");
                return Ok(());
            }
            wanted.password = Some(password().await?);
            let made: AccountInfo = link.post_at(&["accounts"], &wanted, false).await?;
            let place = place_text(made.app.as_ref(), made.environment.as_ref());
            let line = format!("The account {} is there, {} for {place}.", made.name, made.scope);
            context.output.report(&made, || vec![line]);
        }
        AccountCommand::Invite(args) => invite(context, &link, args).await?,
        AccountCommand::Delete { name, yes, dry_run } => {
            let segments = ["accounts", name.as_str()];
            if *dry_run {
                let predicted = link.predict_deletion(&segments).await?;
                print_prediction(context, &predicted, "would_delete", "end all logins and delete the account");
                return Ok(());
            }
            let what = format!("`account delete {name}` would end all logins of the account and delete it.");
            let way_back = "it cannot be restored, and its tokens stay";
            prompt::confirm(name.as_str(), &what, way_back, "--yes", *yes, context.output.is_json).await?;
            link.delete_at(&segments).await?;
            context.output.report(&json!({ "deleted": name }), || vec![format!("The account {name} is deleted.")]);
        }
    }
    Ok(())
}

async fn invite(context: &Context, link: &Link, args: &InviteArgs) -> Result<(), Failure> {
    let name = &args.name;
    let segments = ["accounts", name.as_str(), "invitation"];
    if args.revoke {
        if args.dry_run {
            let predicted = link.predict_deletion(&segments).await?;
            print_prediction(context, &predicted, "would_revoke", "revoke the invitation of the account");
            return Ok(());
        }
        link.delete_at(&segments).await?;
        let line = format!("The invitation of {name} is revoked.");
        context.output.report(&json!({ "revoked": name }), || vec![line]);
        return Ok(());
    }
    let wanted = InvitationRequest { expires_in_s: args.expires };
    if args.scope.is_some() || args.role.is_some() {
        let account = wanted_account(context, name, (args.scope, args.role), args.all_apps)?;
        let scope = account.scope;
        if args.dry_run {
            let predicted = link.post_at(&["accounts"], &account, true).await?;
            print_prediction(context, &predicted, "would_create", "create and invite the account");
            return Ok(());
        }
        let made: AccountInfo = link.post_at(&["accounts"], &account, false).await?;
        let place = place_text(made.app.as_ref(), made.environment.as_ref());
        context.progress.note(&format!("the account {name} is there, {scope} for {place}, without a password yet"));
    } else if args.dry_run {
        let predicted = link.post_at(&segments, &wanted, true).await?;
        print_prediction(context, &predicted, "would_invite", "invite again the account");
        return Ok(());
    }
    let made: InvitationMade = link.post_at(&segments, &wanted, false).await?;
    let url = link.person_address(&["invitations"], made.invitation.expose());
    let until = time_text(made.expires_ms);
    context.progress.note(&format!("the link is shown this once, and sets the password of {name} once, until {until}"));
    let value = json!({ "account": name, "link": url, "expires_ms": made.expires_ms });
    context.output.write(&value, || vec![url.clone()]);
    Ok(())
}

fn wanted_account(
    context: &Context,
    name: &AccountName,
    (scope, role): (Option<Scope>, Option<Role>),
    all_apps: bool,
) -> Result<AccountRequest, Failure> {
    let RoleRights { app, environment, scope } = rights(context, scope, role, all_apps)?;
    Ok(AccountRequest { name: name.clone(), app, environment, scope, password: None })
}

/// A new password: typed twice on a terminal, or the only line of stdin.
pub(super) async fn password() -> Result<Secret, Failure> {
    if std::io::stdin().is_terminal() {
        let first = prompt::hidden_line("Password (not shown): ").await?;
        if prompt::hidden_line("Once more: ").await? != first {
            return Err(Failure::new(Code::Usage, "The two are not the same; nothing has changed."));
        }
        return Ok(Secret::new(first.trim_end_matches(['\r', '\n'])));
    }
    let read = tokio::task::spawn_blocking(|| {
        let mut text = String::new();
        std::io::stdin().lock().take(PASSWORD_BYTES_MAX).read_to_string(&mut text).map(|_bytes| text)
    });
    let text = read.await.ok().and_then(Result::ok).unwrap_or_default();
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(Failure::new(Code::Usage, "Stdin holds no password.")
            .hint("pipe it to the command, or run the command on a terminal"));
    }
    Ok(Secret::new(text))
}

fn print_prediction(context: &Context, account: &AccountPrediction, member: &str, would: &str) {
    let place = place_text(account.app.as_ref(), account.environment.as_ref());
    let text = format!("{would} {}, {} for {place}", account.name, account.scope);
    dry_run::print_foreseen_as(context, account, member, &text);
}

fn account_lines(style: Style, list: &AccountList) -> Vec<String> {
    if list.accounts.is_empty() {
        return vec!["There is no account.".to_owned()];
    }
    let width = list.accounts.iter().fold(0, |width, account| width.max(account.name.as_str().len()));
    list.accounts.iter().map(|account| account_line(style, account, width)).collect()
}

fn account_line(style: Style, account: &AccountInfo, width: usize) -> String {
    let place = place_text(account.app.as_ref(), account.environment.as_ref());
    let state = match (account.last_login_ms, account.password_ms) {
        (Some(at_ms), _) => format!("{}, the newest {}", counted(account.logins, "login"), time_text(at_ms)),
        (None, 0) => "no password yet".to_owned(),
        (None, _) => "no login".to_owned(),
    };
    let invited =
        account.invited_until_ms.map_or_else(String::new, |at_ms| format!(" · invited until {}", time_text(at_ms)));
    let (name, scope) = (account.name.as_str(), account.scope.to_string());
    format!("  {name:<width$}  {scope:<7}  {place}  {}", style.dim(&format!("{state}{invited}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::{AppName, PlaceName};

    #[test]
    fn a_list_says_of_each_account_whether_somebody_uses_it() {
        let account = |name: &str, password_ms, invited_until_ms, last_login_ms: Option<u64>| AccountInfo {
            name: name.parse().unwrap(),
            app: Some("shop".parse::<AppName>().unwrap()),
            environment: Some(PlaceName::prod()),
            scope: Scope::Push,
            created_ms: 0,
            password_ms,
            logins: u64::from(last_login_ms.is_some()),
            last_login_ms,
            invited_until_ms,
        };
        let accounts = vec![account("ada", 1, None, Some(0)), account("eve@example.org", 0, Some(0), None)];
        let style = Style::of(&std::collections::BTreeMap::new(), false);
        let lines = account_lines(style, &AccountList { accounts });
        let words: Vec<&str> = lines[0].split_whitespace().take(9).collect();
        assert_eq!(words, ["ada", "push", "prod", "of", "shop", "1", "login,", "the", "newest"]);
        assert!(lines[1].contains("no password yet · invited until 1970"), "{lines:?}");
    }
}
