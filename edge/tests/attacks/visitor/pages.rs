//! What visitors without a browser get of a site.

use http::{Method, StatusCode};

use crate::support::{edge, got, on_each_engine};
use crate::world::push;

const HOST: &str = "shop.localhost";

on_each_engine! {
    a_deep_link_of_an_application_answers_who_is_no_browser
}

async fn a_deep_link_of_an_application_answers_who_is_no_browser() {
    let edge = edge().start().await;
    let files = &[("index.html", b"app".as_slice())];
    push(&edge, "shop", files, "not_found = \"single-page-application\"").await;
    push(&edge, "rules", files, "[[rewrites]]\nfrom = \"/*\"\nto = \"/index.html\"").await;
    for host in [HOST, "rules.localhost"] {
        let status = async |method: Method, path: &str, fields: &[(&str, &str)]| {
            let visit = edge.visit(method, host, path);
            let visit = fields.iter().fold(visit, |visit, (name, value)| visit.header(*name, *value));
            got(visit).await.status
        };
        for (path, fields) in [
            ("/users/5", &[][..]),
            ("/users/5", &[("accept", "*/*")]),
            ("/users/j.doe", &[("accept", "*/*")]),
            ("/users/5", &[("accept", "text/html")]),
            ("/a.js", &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("accept", "text/html")]),
        ] {
            for method in [Method::GET, Method::HEAD] {
                assert_eq!(status(method, path, fields).await, StatusCode::OK, "{host} {path} {fields:?}");
            }
        }
        for (path, fields) in [
            ("/gone.js", &[("accept", "*/*")][..]),
            ("/gone.PNG", &[]),
            ("/users/5", &[("accept", "application/json")]),
            ("/users/5", &[("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image"), ("accept", "*/*")]),
            ("/users/5", &[("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty"), ("accept", "*/*")]),
        ] {
            assert_eq!(status(Method::GET, path, fields).await, StatusCode::NOT_FOUND, "{host} {path} {fields:?}");
        }
    }
    edge.stop().await;
}
