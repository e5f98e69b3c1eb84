//! Rules that forward requests to another server, in each provider's semantics: the path is preserved.

use http::StatusCode;

use crate::deploying::backend::Backend;
use crate::rules::site::{Site, ask, holds, site};

/// Rest of a path, and the rest forwarded to another server: RFC 3986 §2.2, §3.3 and §6.2.2.2, and Netlify's engine.
const RESTS: [(&str, &str); 17] = [
    ("", ""),
    ("x", "x"),
    ("x/", "x/"),
    ("x/y/", "x/y/"),
    ("group%2Fproject/issues", "group%2Fproject/issues"),
    ("@scope%2fname", "@scope%2fname"),
    ("%40scope%2Fname/", "%40scope%2Fname/"),
    ("a%26b%2Bc%3D%3B%2C%3A%24%21%27%28%29%2A", "a%26b%2Bc%3D%3B%2C%3A%24%21%27%28%29%2A"),
    ("a&b+c=d;e,f:g$h!(i)*", "a&b+c=d;e,f:g$h!(i)*"),
    ("a%3Fb%23c%5Bd%5D", "a%3Fb%23c%5Bd%5D"),
    ("[x]%2F", "%5Bx%5D%2F"),
    ("%2F", "%2F"),
    ("a%2F%2Fb", "a%2F%2Fb"),
    ("100%25%2F", "100%25%2F"),
    ("a%252Fb", "a%252Fb"),
    ("caf%c3%a9%20%7E%61", "caf%c3%a9%20%7E%61"),
    ("u%CC%88", "u%CC%88"),
];

/// Requests every rest below `/gl/`, which redirects to another site, and below each of `rewritten`, which forwards to
/// a folder of the backend.
async fn check(meaning: &str, site: Site, rewritten: &[(&str, &str)]) {
    let edge = site.start().await;
    for (rest, passed) in RESTS {
        let got = ask(&edge, &format!("/gl/{rest}?q=%2F")).await;
        let expected = format!("https://git.example/projects/{passed}?q=%2F");
        assert_eq!((got.status, got.header("location")), (StatusCode::FOUND, &*expected), "{meaning} {rest}");
        for (from, to) in rewritten {
            let got = ask(&edge, &format!("{from}{rest}")).await;
            let expected = format!("{{\"path\":\"{to}{passed}\"}}");
            assert_eq!((got.status, got.text()), (StatusCode::OK, expected), "{meaning} {from}{rest}");
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn what_goes_to_another_server_is_what_came() {
    let backend = Backend::start();
    let to = format!("http://{}", backend.address);
    let toml = format!("[upstreams]\napi = \"{to}\"\n[[routes]]\npath = \"/routed/*\"\nto = \"{to}\"\n");
    let gl = "/gl/* https://git.example/projects/:splat 302";
    let own = "/to/* /routed/:splat 200";
    let elsewhere = format!("/px/* {to}/v/:splat 200");
    let pages = site(&["index.html"]).with_toml(&format!("rules = \"netlify\"\n{toml}"));
    let pages = pages.with_redirects(&[gl, own, &elsewhere]);
    check("netlify", pages, &[("/px/", "/v/"), ("/to/", "/routed/")]).await;
    let pages = site(&["index.html"]).with_toml(&format!("rules = \"cloudflare\"\n{toml}")).with_redirects(&[gl, own]);
    check("cloudflare", pages, &[("/to/", "/routed/")]).await;
    let tables = format!(
        "{toml}[[redirects]]\nfrom = \"/gl/*\"\nto = \"https://git.example/projects/:splat\"\nstatus = 302\n\
         [[rewrites]]\nfrom = \"/px/*\"\nto = \"{to}/v/:splat\"\n\
         [[rewrites]]\nfrom = \"/to/*\"\nto = \"/routed/:splat\"\n"
    );
    let pages = site(&["index.html"]).with_toml(&tables);
    check("tables", pages, &[("/px/", "/v/"), ("/to/", "/routed/")]).await;
}

#[tokio::test]
async fn an_encoded_slash_divides_no_segments_elsewhere_and_is_a_slash_here() {
    let edge = site(&["index.html", "new/there/a b.txt"])
        .with_toml("rules = \"netlify\"")
        .with_redirects(&[
            "/one/:project/issues https://git.example/:project/issues",
            "/part-* https://git.example/:splat/end",
            "/find path=:path https://git.example/:path?p=:path 302",
            "/own path=:path /found/:path?p=:path 302",
            "/old/* /new/:splat",
            "https://shop.localhost/host/* https://shop.localhost/host/:splat 301!",
        ])
        .start()
        .await;
    holds(
        &edge,
        &[
            ("/one/group%2Fproject/issues", "301 | https://git.example/group%2Fproject/issues"),
            ("/one/group/project/issues", "404"),
            ("/part-a%2Fb/c", "301 | https://git.example/a%2Fb/c/end"),
            // A rule's path in another spelling is the same path.
            ("/p%61rt%2Da%2fb", "301 | https://git.example/a%2fb/end"),
            ("/find?path=a%2Fb%26c+d%2B", "302 | https://git.example/a%2Fb%26c%20d%2B?p=a%2Fb%26c%20d%2B"),
            ("/find?path=a/b%zz", "302 | https://git.example/a/b%25zz?p=a/b%25zz"),
            ("/own?path=a%2Fb", "302 | /found/a%2Fb?p=a%2Fb"),
            // To a file, which has one name, and to a path that may be forwarded.
            ("/old/there%2Fa%20b.tx%74", "301 | /new/there/a%20b.txt"),
            ("/old/a%2Fb/", "301 | /new/a%2Fb/"),
            // To the requested path, in any spelling.
            ("/host/a%2Fb", "308 | /host/a/b"),
            ("/host/a/b", "404"),
            // The edge collapses repeated slashes.
            ("/part-x//a%2Fb", "301 | https://git.example/x/a%2Fb/end"),
        ],
    )
    .await;
    edge.stop().await;
}

/// A redirect to a path of the site counts as a redirect to another server if a rule or a route forwards the path,
/// directly or after another redirect.
#[tokio::test]
async fn what_came_reaches_a_backend_also_by_redirects_to_paths_of_the_site() {
    let backend = Backend::start();
    let to = format!("http://{}", backend.address);
    let toml =
        format!("rules = \"netlify\"\n[upstreams]\napi = \"{to}\"\n[[routes]]\npath = \"/r/*\"\nto = \"{to}\"\n");
    let edge = site(&["index.html", "b/there/x.txt", "b/secret/x.txt"])
        .with_toml(&toml)
        .with_redirects(&[
            "/a/* /b/:splat 301",
            "/one/:name /b/:name 302",
            "/far/* /a/:splat 307",
            "/to/* /r/:splat 308",
            &format!("/b/* {to}/v/:splat 200"),
        ])
        .with_headers(&["/b/secret/*", "  Basic-Auth: ann:one"])
        .start()
        .await;
    for (rest, passed) in RESTS.iter().filter(|(rest, _)| rest.contains('%')) {
        holds(
            &edge,
            &[
                (&*format!("/a/{rest}"), &*format!("301 | /b/{passed}")),
                (&*format!("/far/{rest}"), &*format!("307 | /a/{passed}")),
                (&*format!("/to/{rest}"), &*format!("308 | /r/{passed}")),
            ],
        )
        .await;
        let got = ask(&edge, &format!("/b/{passed}")).await;
        assert_eq!(got.text(), format!("{{\"path\":\"/v/{passed}\"}}"), "{rest}");
    }
    holds(
        &edge,
        &[
            ("/one/x%2Fy", "302 | /b/x%2Fy"),
            ("/a/x%2fy?q=%2F", "301 | /b/x%2fy?q=%2F"),
            ("/a//x%2Fy", "301 | /b/x%2Fy"),
            // A file has one name, and no redirect reveals a file to a stranger.
            ("/a/there%2Fx.txt", "301 | /b/there/x.txt"),
            ("/a/secret%2Fx.txt", "301 | /b/secret%2Fx.txt"),
            ("/a/secret%2Fy.txt", "301 | /b/secret%2Fy.txt"),
            ("/a/..%2Fx", "400"),
        ],
    )
    .await;
    edge.stop().await;
}

#[tokio::test]
async fn no_spelling_passes_by_a_guard_a_rule_or_a_file_before_a_backend() {
    let backend = Backend::start();
    let to = format!("http://{}", backend.address);
    let edge = site(&["index.html", "sorry.html", "px/there/a.txt"])
        .with_toml(&format!("rules = \"netlify\"\n[upstreams]\napi = \"{to}\""))
        .with_redirects(&["/px/admin/* /sorry.html 404!", &format!("/px/* {to}/v/:splat 200")])
        .with_headers(&["/px/secret/*", "  Basic-Auth: ann:one"])
        .start()
        .await;
    holds(
        &edge,
        &[
            ("/px/admin%2Fusers", "308 | /px/admin/users"),
            ("/px/admin/a%2Fb", "308 | /px/admin/a/b"),
            ("/px/admin/users", "404 | sorry.html"),
            ("/px/secret%2Fx", "308 | /px/secret/x"),
            ("/px/%73ecret/a%2Fb", "308 | /px/secret/a/b"),
            ("/px/secret/x", "401"),
            ("/px/there%2Fa.txt", "308 | /px/there/a.txt"),
            ("/px/there/a.txt", "200 | px/there/a.txt"),
            ("/px//a%2Fb", "308 | /px/a%2Fb"),
            ("/px/..%2Fx", "400"),
            ("/px/a%2F..%2F..%2Fx", "400"),
            ("/px/a%5Cb", "400"),
            ("/px/%00", "400"),
        ],
    )
    .await;
    let got = ask(&edge, "/px/a%2Fb").await;
    assert_eq!(got.text(), "{\"path\":\"/v/a%2Fb\"}");
    edge.stop().await;
}
