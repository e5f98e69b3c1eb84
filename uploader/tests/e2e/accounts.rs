//! Accounts of people, managed with an admin's token: invitations, passwords from stdin, deletion.

use serde_json::{Value, json};

use super::who::quick;
use crate::support::browser::Browser;
use crate::support::edge::{Edge, Ran};

const PASSWORD: &str = "correct horse battery";

/// Runs `devanture account …` with standard input.
fn account(edge: &Edge, arguments: &[&str], input: &str) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&["account"], arguments].concat();
    Ran::fed(&mut edge.command(folder.path(), "shop", &arguments), input)
}

#[track_caller]
fn done(edge: &Edge, arguments: &[&str], input: &str) -> Value {
    let ran = account(edge, &[arguments, &["--json"]].concat(), input);
    assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:#?}");
    ran.json()
}

async fn login(edge: &Edge, name: &str) -> u16 {
    let url = format!("https://{}/v1/login", edge.admin());
    let body = json!({ "login": name, "password": PASSWORD });
    edge.client(true).post(url).json(&body).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_makes_invites_and_deletes_accounts_from_afar() {
    let edge = quick().start();
    let made = done(&edge, &["create", "ada", "--scope", "push"], &format!("{PASSWORD}\n"));
    assert_eq!((made["name"].as_str(), made["app"].as_str()), (Some("ada"), Some("shop")));
    assert_eq!(login(&edge, "ada").await, 200);
    let folder = tempfile::tempdir().unwrap();
    for (arguments, hint) in [
        (&["history", "--app", "other", "--json"][..], "`devanture apps` lists"),
        (&["gc", "--json"], "`devanture account invite NAME --scope admin"),
    ] {
        let mut command = edge.command(folder.path(), "shop", arguments);
        command.env_remove("DEVANTURE_TOKEN").env("DEVANTURE_LOGIN", "ada").env("DEVANTURE_PASSWORD", PASSWORD);
        let error = Ran::fed(&mut command, "").json()["error"].clone();
        assert!(error["hint"].as_str().unwrap().contains(hint), "{arguments:?}: {error}");
        assert!(!error.to_string().contains("token"), "{arguments:?}: {error}");
    }
    let short = account(&edge, &["create", "dan", "--scope", "read", "--json"], "too short");
    assert_eq!((short.code, short.problem()), (Some(1), "bad_request".to_owned()), "{short:#?}");
    let nothing = account(&edge, &["create", "dan", "--scope", "read", "--json"], "");
    assert_eq!((nothing.code, nothing.problem()), (Some(2), "usage".to_owned()), "{nothing:#?}");
    let flag = account(&edge, &["create", "dan", "--scope", "read", "--password", PASSWORD], "");
    assert_eq!(flag.code, Some(2), "there is no such flag");
    for (arguments, member) in [
        (&["create", "dan", "--scope", "read", "--dry-run"][..], "would_create"),
        (&["invite", "dan", "--scope", "read", "--dry-run"][..], "would_create"),
        (&["invite", "ada", "--dry-run"][..], "would_invite"),
        (&["delete", "ada", "--dry-run"][..], "would_delete"),
    ] {
        assert_eq!(done(&edge, arguments, "")[member], true, "{arguments:?}");
    }
    let invited = account(&edge, &["invite", "bob@example.org", "--scope", "admin", "--all-apps"], "");
    assert!(invited.code == Some(0) && invited.stderr.contains("without a password yet"), "{invited:#?}");
    let link = invited.stdout.trim_end();
    assert!(link.starts_with(&format!("https://{}/v1/invitations#dvi_", edge.admin())), "{link}");
    let list = account(&edge, &["list"], "");
    assert!(list.stdout.contains("no password yet · invited until"), "{list:#?}");
    assert_eq!(done(&edge, &["invite", "bob@example.org", "--revoke"], "")["revoked"], "bob@example.org");
    let twice = account(&edge, &["invite", "bob@example.org", "--revoke", "--json"], "");
    assert_eq!(twice.problem(), "not_found");
    let unasked = account(&edge, &["delete", "ada", "--json"], "");
    assert_eq!((unasked.code, unasked.problem()), (Some(2), "usage".to_owned()), "{unasked:#?}");
    assert_eq!(login(&edge, "ada").await, 200, "nobody said that it is meant");
    assert_eq!(done(&edge, &["delete", "ada", "--yes"], "")["deleted"], "ada");
    assert_eq!(login(&edge, "ada").await, 401);
    assert_eq!(done(&edge, &["list"], "")["accounts"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_opens_the_link_in_a_browser_and_sets_the_password() {
    let edge = quick().start();
    let link = done(&edge, &["invite", "ada", "--scope", "push"], "")["link"].as_str().unwrap().to_owned();
    let Some(browser) = Browser::start().await else { return };
    let page = browser.open(&link).await;
    let (_, invitation) = link.split_once('#').unwrap();
    assert_eq!(page.evaluate("document.forms[0].elements.invitation.value").await, invitation);
    assert_eq!(page.evaluate("location.hash").await, "");
    // The page itself comes with 401, as every answer to a client without a token.
    let errors = page.report().await.console_errors;
    assert!(errors.iter().all(|error| error.contains("a status of 401")) && errors.len() <= 1, "{errors:?}");
    page.evaluate(&format!("document.forms[0].elements.password.value = {PASSWORD:?}; document.forms[0].submit()"))
        .await;
    page.wait_for("document.body?.textContent.includes('The password of ada is set')").await;
    assert_eq!(login(&edge, "ada").await, 200);
}
