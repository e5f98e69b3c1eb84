//! App names reserved for the operator.

use devanture_config::api::{BeginDeploy, DeployOptions, Source};
use devanture_config::edge_toml::RESERVED_NAMES;
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::SiteFile;
use http::Method;

use crate::support::{Files, RunningEdge, edge, got, manifest};

const FILES: Files<'_> = &[("index.html", b"mine")];

async fn push(edge: &RunningEdge, app: &str) -> Result<(), Box<Problem>> {
    let begin = BeginDeploy { manifest: manifest(FILES), source: Source::default(), options: DeployOptions::default() };
    edge.try_push(app, "prod", begin, FILES).await.map(drop)
}

#[tokio::test]
async fn no_app_takes_a_name_that_visitors_take_for_the_operators() {
    let edge = edge().with_toml("[names]\nreserved = [\"intranet\"]\nallow = [\"status\"]").start().await;
    for app in RESERVED_NAMES.iter().copied().filter(|name| *name != "status").chain(["intranet"]) {
        assert_eq!(push(&edge, app).await.unwrap_err().code, Code::NameReserved, "{app}");
    }
    let tar = crate::support::archives::archive("tar", FILES);
    let path = "/v1/apps/www/environments/prod/deploys";
    let archive = edge.api(Method::POST, path).header("content-type", "application/x-tar").body(tar);
    assert_eq!(got(archive).await.code(), Code::NameReserved);
    for app in ["status", "shop", "www2"] {
        push(&edge, app).await.unwrap();
    }
    // A hostname given to one app cannot be the name of another app.
    let path = "/v1/apps/shop/environments/prod/hostnames/landing.localhost";
    assert!(got(edge.api(Method::PUT, path)).await.status.is_success());
    assert_eq!(push(&edge, "landing").await.unwrap_err().code, Code::NameReserved);
    edge.stop().await;
}

/// Browsers send a session cookie to every port of a host: an app on the admin host would receive the console's
/// cookies.
#[tokio::test]
async fn no_app_is_given_a_hostname_of_the_admin_listener_by_anybody() {
    let toml = "[names]\nadmin = [\"edge.example.org\", \"office.localhost\"]";
    let edge = edge().with_toml(toml).start().await;
    push(&edge, "shop").await.unwrap();
    let given = async |host: &str| {
        let path = format!("/v1/apps/shop/environments/prod/hostnames/{host}");
        got(edge.api(Method::PUT, &path)).await
    };
    for host in ["edge.example.org", "EDGE.example.org", "*.example.org", "office.localhost", "localhost"] {
        for query in ["", "?dry_run=true"] {
            let refused = given(&format!("{host}{query}")).await;
            assert_eq!(refused.code(), Code::NameReserved, "{host}{query}: {}", refused.text());
        }
        // Refused in a bundle's list, too, even for an environment outside the push.
        for environment in ["prod", "staging"] {
            let site = SiteFile::parse("devanture.toml", &format!("[env.{environment}]\nhostnames = [\"{host}\"]"));
            let mut manifest = manifest(FILES);
            manifest.env = site.unwrap().env;
            let begin = BeginDeploy { manifest, source: Source::default(), options: DeployOptions::default() };
            let refused = edge.try_push("shop", "prod", begin, FILES).await.unwrap_err();
            assert_eq!(refused.code, Code::NameReserved, "{host} in {environment}");
        }
    }
    assert_eq!(push(&edge, "office").await.unwrap_err().code, Code::NameReserved);
    for host in ["www.example.org", "*.edge.example.org", "example.org"] {
        assert!(given(host).await.status.is_success(), "{host}");
    }
    edge.stop().await;
}

/// `preview_domain` usually lies below `domain`: an app of that name could set cookies for every preview.
#[tokio::test]
async fn no_app_takes_the_domain_of_previews_or_what_lies_above_it() {
    for (preview_domain, app) in [("pages.example.app", "pages"), ("p.view.example.app", "view")] {
        let edge = edge().with_domain("example.app").with_preview_domain(preview_domain).start().await;
        assert_eq!(push(&edge, app).await.unwrap_err().code, Code::NameReserved, "{preview_domain}");
        push(&edge, "shop").await.unwrap();
        edge.stop().await;
    }
}
