//! A Django site behind the edge: correct own address, working sessions and CSRF protection, intact uploads, and
//! unchanged answers.

use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::frameworks::HOST;
use crate::frameworks::http::{Visitor, digest, digest_of_noise, form, is_the_backends_own};
use crate::frameworks::servers::{Django, django};
use crate::support::edge::{Edge, edge};

const UPLOAD_BYTES: u64 = 3_000_001;
const LARGE_UPLOAD_BYTES: u64 = 64 << 20;

/// Starts the edge, with the site's paths in its routes.
fn start() -> Option<(Edge, Django)> {
    let site = django()?;
    let edge = edge().start();
    crate::frameworks::push(&edge, &["/admin/*", "/api/*", "/static/*"].map(|path| (path, site.server.address())));
    Some((edge, site))
}

/// Returns the token in a form of the admin.
fn token_in(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"csrfmiddlewaretoken\" value=\"").expect("the form has a token");
    rest.split('"').next().unwrap().to_owned()
}

/// Logs in by the admin's form, as a browser would.
pub(super) async fn log_in(visitor: &mut Visitor<'_>, password: &str) -> Vec<String> {
    let page = visitor.send(visitor.request("GET", "/admin/login/?next=/admin/")).await;
    assert_eq!(page.status(), 200);
    let token = token_in(&page.text().await.unwrap());
    let request = visitor
        .request("POST", "/admin/login/?next=/admin/")
        .header("origin", visitor.origin())
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("csrfmiddlewaretoken={token}&username=keeper&password={password}&next=%2Fadmin%2F"));
    let answer = visitor.send(request).await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["location"]), (302, &"/admin/".parse().unwrap()));
    answer.headers().get_all("set-cookie").iter().map(|set| set.to_str().unwrap().to_owned()).collect()
}

fn fields(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_knows_its_public_address_and_its_sessions_hold() {
    let Some((edge, site)) = start() else { return };
    for http2 in [true, false] {
        let mut visitor = Visitor::new(&edge, http2);
        let origin = visitor.origin();
        // A client with forged headers changes nothing.
        let lies = visitor
            .request("GET", "/api/session?a=1&b=%2F")
            .header("x-forwarded-host", "elsewhere.example")
            .header("x-forwarded-proto", "http")
            .header("x-forwarded-for", "192.0.2.1");
        let session: Value = visitor.send(lies).await.json().await.unwrap();
        assert_eq!(session["secure"], true);
        assert_eq!(session["host"], format!("{HOST}:{}", edge.https().port()));
        assert_eq!(session["url"], format!("{origin}/api/session?a=1&b=%2F"));
        let host = origin.trim_start_matches("https://");
        let forwarded = serde_json::json!({"For": "127.0.0.1", "Host": host, "Proto": "https"});
        assert_eq!(session["forwarded"], forwarded);
        assert_eq!(session["user"], "");

        for (path, location) in [
            ("/api/latest", format!("{origin}/api/session?from=latest")),
            ("/admin/", "/admin/login/?next=/admin/".to_owned()),
            ("/admin", "/admin/".to_owned()),
        ] {
            let answer = visitor.send(visitor.request("GET", path)).await;
            assert!(answer.status().is_redirection(), "{path}");
            assert_eq!(answer.headers()["location"], location, "{path}");
        }

        let set = log_in(&mut visitor, &site.password).await;
        assert_eq!(set.len(), 2, "{set:?}");
        for (name, attributes) in
            [("csrftoken", &["Secure", "SameSite=Lax"][..]), ("sessionid", &["Secure", "SameSite=Lax", "HttpOnly"])]
        {
            let cookie = set.iter().find(|set| set.starts_with(name)).unwrap();
            let text: Vec<_> = cookie.split("; ").collect();
            assert!(attributes.iter().all(|attribute| text.contains(attribute)), "{cookie}");
        }
        assert_eq!(visitor.json("/api/session").await["user"], "keeper");

        // Permission for a change depends on the request's token, and on its stated origin.
        let token = visitor.cookies["csrftoken"].clone();
        for (name, value, token, status) in [
            ("origin", origin.clone(), token.as_str(), 400),
            ("referer", format!("{origin}/shop"), &token, 400),
            ("origin", origin.clone(), "", 403),
            ("origin", format!("https://{HOST}"), &token, 403),
            ("origin", format!("http://{HOST}:{}", edge.https().port()), &token, 403),
            ("origin", "null".to_owned(), &token, 403),
            ("referer", "https://elsewhere.example/".to_owned(), &token, 403),
            ("x-nothing", "no origin and no referrer".to_owned(), &token, 403),
        ] {
            let request = visitor.request("POST", "/api/products").header(name, &value).header("x-csrftoken", token);
            let answer = visitor.send(request).await;
            assert_eq!(answer.status(), status, "{name}: {value}");
            let text = answer.text().await.unwrap();
            assert!(text.contains(if status == 403 { "CSRF verification failed" } else { "needs a sheet" }), "{text}");
        }

        let token = token_in(&visitor.send(visitor.request("GET", "/admin/")).await.text().await.unwrap());
        let request = visitor
            .request("POST", "/admin/logout/")
            .header("origin", &origin)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("csrfmiddlewaretoken={token}"));
        assert_eq!(visitor.send(request).await.status(), 200);
        assert_eq!(visitor.json("/api/session").await["user"], "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_come_back_byte_for_byte() {
    let Some((edge, site)) = start() else { return };
    let mut keeper = Visitor::new(&edge, true);
    log_in(&mut keeper, &site.password).await;
    for (http2, length) in
        [(true, UPLOAD_BYTES), (false, UPLOAD_BYTES), (true, LARGE_UPLOAD_BYTES), (false, LARGE_UPLOAD_BYTES)]
    {
        let mut visitor = Visitor::new(&edge, http2);
        visitor.cookies.clone_from(&keeper.cookies);
        let name = format!("plant no. {length} {http2}");
        let (content_type, whole, body) = form(&[("name", &name), ("price", "12.50")], length);
        let request = visitor
            .request("POST", "/api/products")
            .header("origin", visitor.origin())
            .header("x-csrftoken", &visitor.cookies["csrftoken"])
            .header("content-type", content_type)
            .header("content-length", whole)
            .body(body);
        let answer = visitor.send(request).await;
        assert_eq!(answer.status(), 201, "{name}");
        let place = answer.headers()["location"].to_str().unwrap().to_owned();
        let made: Value = answer.json().await.unwrap();
        assert_eq!((&made["bytes"], &made["price"]), (&length.into(), &"12.50".into()));
        let path = place.strip_prefix(&visitor.origin()).unwrap();
        assert_eq!(visitor.json(path).await, made);

        let sheet = made["sheet"].as_str().unwrap().strip_prefix(&visitor.origin()).unwrap().to_owned();
        let head = visitor.send(visitor.request("HEAD", &sheet)).await;
        assert_eq!((head.status().as_u16(), &head.headers()["content-length"]), (200, &length.into()));
        let answer = visitor.send(visitor.request("GET", &sheet)).await;
        assert_eq!(answer.headers()["content-length"], length.to_string().as_str());
        let disposition = answer.headers()["content-disposition"].to_str().unwrap();
        assert!(disposition.starts_with("attachment; filename*=utf-8''Bl%C3%A4tter%20plant"), "{disposition}");
        assert_eq!(digest(answer).await, digest_of_noise(length));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_site_answers_is_passed_on_as_it_is() {
    let Some((edge, site)) = start() else { return };
    let mut visitor = Visitor::new(&edge, true);
    log_in(&mut visitor, &site.password).await;
    let session = format!("sessionid={}", visitor.cookies["sessionid"]);
    let backend = site.server.address();
    let ask = async |method, path, pairs: &[(&'static str, &str)]| {
        is_the_backends_own(&edge, backend, method, path, &fields(pairs)).await
    };
    let says = |body: &[u8], words: &str| {
        let body = String::from_utf8_lossy(body);
        assert!(body.contains(words), "{body}");
    };
    let navigation = [("accept", "text/html"), ("sec-fetch-mode", "navigate")];

    for pairs in [&navigation[..], &[("accept", "application/json")]] {
        let (status, _, body) = ask("GET", "/api/missing", pairs).await;
        assert_eq!(status, 404);
        says(&body, "nothing is at /api/missing");
        let (status, _, body) = ask("GET", "/api/broken", pairs).await;
        assert_eq!(status, 500);
        says(&body, "the site failed");
    }
    assert_eq!(ask("HEAD", "/api/broken", &[]).await.0, 500);
    let (status, _, body) = ask("GET", "/api/products", &[]).await;
    assert_eq!(status, 403);
    says(&body, "log in first");
    let (status, _, body) = ask("GET", "/api/products", &[("cookie", &session), ("accept", "image/png")]).await;
    assert_eq!(status, 406);
    says(&body, "told in JSON");
    for method in ["DELETE", "POST", "PROPFIND", "QUERY"] {
        let (status, answered, body) = ask(method, "/api/catalogue", &[]).await;
        assert_eq!((status, &answered["allow"]), (405, &"GET, HEAD".parse().unwrap()));
        says(&body, &format!("{method} is not for /api/catalogue"));
    }
    let (status, answered, body) = ask("DELETE", "/api/latest", &[("cookie", &session)]).await;
    // The check of the token comes before the view.
    assert_eq!((status, answered.get("allow")), (403, None));
    says(&body, "CSRF");
    let (status, answered, body) = ask("OPTIONS", "/api/products", &[]).await;
    assert_eq!((status, &answered["allow"]), (200, &"GET, HEAD, POST".parse().unwrap()));
    says(&body, "methods");
    let (status, answered, body) = ask("TRACK", "/api/session", &[]).await;
    assert_eq!((status, answered.contains_key("allow")), (403, false), "{body:?}");
    let (status, answered, body) = ask("HEAD", "/api/latest", &[]).await;
    assert_eq!((status, &answered["allow"], body.len()), (405, &"GET, POST".parse().unwrap(), 0));

    let (status, answered, body) = ask("GET", "/api/cookies", &[("cookie", "a=1; b=\"2\"; c=")]).await;
    assert_eq!((status, answered.get_all("set-cookie").iter().count()), (200, 3));
    let answered_as: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answered_as["cookies"], serde_json::json!({"a": "1", "b": "2", "c": ""}));

    let (_, plain, body) = ask("GET", "/api/catalogue", &[]).await;
    assert!(!plain.contains_key("content-encoding"));
    says(&body, "line 1999 of the catalogue");
    compressed_answers_stay_as_they_are(&edge, &body).await;
    static_files_are_the_sites(&edge, backend).await;
}

/// Checks that compressed answers of the site are not compressed again, nor decoded. The site never compresses twice in
/// the same way.
async fn compressed_answers_stay_as_they_are(edge: &Edge, plain: &[u8]) {
    for http2 in [true, false] {
        let visitor = Visitor::new(edge, http2);
        let request = visitor.request("GET", "/api/catalogue").header("accept-encoding", "br, zstd, gzip");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-encoding"], "gzip");
        assert_eq!(answer.headers()["vary"], "Accept-Encoding");
        let length: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
        let packed = answer.bytes().await.unwrap();
        assert_eq!(packed.len(), length);
        let mut unpacked = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut unpacked).unwrap();
        assert_eq!(unpacked, plain);
    }
}

/// Checks the admin's style sheet by its fingerprinted name, as served by the site's own static files server.
async fn static_files_are_the_sites(edge: &Edge, backend: std::net::SocketAddr) {
    let page = Visitor::new(edge, true).request("GET", "/admin/login/").send().await.unwrap().text().await.unwrap();
    let (_, rest) = page.split_once("href=\"/static/admin/css/base.").unwrap();
    let path = format!("/static/admin/css/base.{}", rest.split('"').next().unwrap());
    let ask =
        async |pairs: &[(&'static str, &str)]| is_the_backends_own(edge, backend, "GET", &path, &fields(pairs)).await;
    let (status, whole, body) = ask(&[]).await;
    assert_eq!(status, 200);
    assert!(whole["cache-control"].to_str().unwrap().contains("immutable"), "{whole:?}");
    let modified = whole["last-modified"].to_str().unwrap();
    assert_eq!(ask(&[("if-modified-since", modified)]).await.0, 304);
    let (status, part, bytes) = ask(&[("range", "bytes=100-299")]).await;
    assert_eq!((status, &bytes[..]), (206, &body[100..300]));
    assert_eq!(part["content-range"], format!("bytes 100-299/{}", body.len()));
    assert_eq!(ask(&[("range", "bytes=99999999-")]).await.0, 416);
    let (_, packed, _) = ask(&[("accept-encoding", "br, gzip")]).await;
    assert_eq!(packed["content-encoding"], "gzip");
    assert_eq!(is_the_backends_own(edge, backend, "GET", "/static/gone.css", &HeaderMap::new()).await.0, 404);
}
