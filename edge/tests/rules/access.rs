//! Basic authentication by rules.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::rules::site::{holds, site};

/// Netlify's documentation, "Password protection with basic auth headers".
#[tokio::test]
async fn a_guarded_path_is_for_those_who_have_the_password() {
    let edge = site(&["index.html", "secret/index.html", "secret/plan.html", "notes.html"])
        .with_headers(&["/secret/*", "  Basic-Auth: ann:one bob:two", "/notes.html", "  Basic-Auth: ann:one"])
        .with_redirects(&["/way /secret/plan.html 200", "/away /secret/plan 301"])
        .start()
        .await;
    let basic = |user: &str| format!("authorization: Basic {}", STANDARD.encode(user));
    let (ann, bob, wrong) = (basic("ann:one"), basic("bob:two"), basic("ann:two"));
    let refused = "401 | www-authenticate: Basic realm=\"site\", charset=\"UTF-8\" | cache-control: no-store";
    let let_in = "200 | secret/plan.html | cache-control: private, max-age=0, must-revalidate";
    holds(
        &edge,
        &[
            ("/", "200 | cache-control: public, max-age=0, must-revalidate"),
            ("/secret", refused),
            ("/secret/", refused),
            ("/secret/plan", refused),
            ("/secret/plan.html", refused),
            ("/secret/missing", refused),
            ("/SECRET/plan", refused),
            (&format!("/secret/plan | {wrong}"), refused),
            (&format!("/secret/plan | {ann}"), let_in),
            (&format!("/secret/plan | {bob}"), let_in),
            // Another path to the same file is protected, too.
            ("/way", refused),
            ("/notes", refused),
            (&format!("/notes | {bob}"), refused),
            (&format!("/notes | {ann}"), "200 | notes.html"),
            ("/away", "301 | /secret/plan"),
        ],
    )
    .await;
    edge.stop().await;
}

/// A rule for one spelling of a page protects the page under every spelling.
#[tokio::test]
async fn no_spelling_of_a_page_leads_around_its_guard() {
    let edge = site(&["index.html", "admin.html", "team/index.html", "open.html"])
        .with_headers(&["/admin", "  Basic-Auth: u:p", "/team", "  Basic-Auth: u:p"])
        .with_redirects(&["/way /admin.html 200", "/x/* /team/index.html 200"])
        .start()
        .await;
    let refused =
        ["/admin", "/admin/", "/admin.html", "/team", "/team/", "/team/index", "/team/index.html", "/way", "/x/y"];
    let mut rows: Vec<(&str, &str)> = refused.iter().map(|path| (*path, "401")).collect();
    // As-is, a page has no final slash.
    rows.retain(|(path, _)| *path != "/admin/");
    rows.extend([("/open", "200"), ("/", "200")]);
    holds(&edge, &rows).await;
    edge.stop().await;
}

/// A spelling other than the normal form is redirected to the normal form; to the canonical path of the page only for
/// authorized visitors.
#[tokio::test]
async fn no_redirect_shows_a_stranger_which_guarded_pages_there_are() {
    let edge = site(&["index.html", "secret/plan.html", "secret/team/index.html"])
        .with_toml("html_handling = \"auto-trailing-slash\"")
        .with_headers(&["/secret/*", "  Basic-Auth: u:p"])
        .start()
        .await;
    let known = format!("authorization: Basic {}", STANDARD.encode("u:p"));
    holds(
        &edge,
        &[
            ("/secret//plan.html", "308 | /secret/plan.html"),
            ("/secret//missing.html", "308 | /secret/missing.html"),
            ("/secret//team", "308 | /secret/team"),
            ("/secret//missing", "308 | /secret/missing"),
            ("/secret/%70lan.html", "308 | /secret/plan.html"),
            (&format!("/secret//plan.html | {known}"), "307 | /secret/plan"),
            (&format!("/secret//team | {known}"), "307 | /secret/team/"),
        ],
    )
    .await;
    edge.stop().await;
}

#[tokio::test]
async fn what_the_edge_reports_about_a_guarded_site_is_guarded_too() {
    let edge = site(&["index.html"]).with_headers(&["/*", "  Basic-Auth: u:p"]).start().await;
    let known = format!("authorization: Basic {}", STANDARD.encode("u:p"));
    for path in ["/.well-known/devanture/release.json", "/.well-known/devanture/env.json"] {
        holds(&edge, &[(path, "401"), (&format!("{path} | {known}"), "200")]).await;
    }
    edge.stop().await;
}
