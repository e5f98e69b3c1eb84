//! PHP-FPM behind the proxy, as a FastCGI backend.
#![allow(clippy::disallowed_methods, reason = "the test makes the files of a backend")]

use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tempfile::TempDir;

use crate::proxy::support::{ChannelBody, Front, Setup, eventually, run, text};

/// Scripts: report of the request as seen by PHP, files of every kind, and a session.
const SCRIPTS: &[(&str, &str)] = &[
    (
        "index.php",
        r#"<?php
        $path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
        if ($path === '/login') {
            session_start();
            $_SESSION['name'] = $_POST['name'] ?? $_SESSION['name'] ?? 'nobody';
            echo $_SESSION['name'];
        } elseif ($path === '/upload') {
            $file = $_FILES['photo'];
            echo $file['name'], ' ', $file['size'], ' ', md5_file($file['tmp_name']);
        } elseif ($path === '/body') {
            echo strlen(file_get_contents('php://input'));
        } elseif ($path === '/large') {
            for ($i = 0; $i < 1000; $i++) { echo str_repeat('x', 8000); }
        } elseif ($path === '/moved') {
            header('Location: /elsewhere?page=2');
        } elseif ($path === '/fields') {
            http_response_code(404);
            header('Set-Cookie: a=1'); header('Set-Cookie: b=2', false); header('X-Powered-By: me');
            echo 'no such page';
        } elseif ($path === '/same') {
            http_response_code(304); header('ETag: "1"');
        } elseif ($path === '/known') {
            header('Content-Length: 5'); echo 'hello';
        } elseif ($path === '/fails') {
            error_log("first\nsecond");
            throw new Exception('oh');
        } elseif ($path === '/pid') {
            echo getmypid();
        } else {
            echo json_encode($_SERVER + ['get' => $_GET]);
        }"#,
    ),
    ("admin/tool.php", "<?php echo 'tool', $_SERVER['PATH_INFO'] ?? '';"),
    ("photo.jpg", "<?php echo 'executed';"),
    (".hidden/x.php", "<?php echo 'executed';"),
];

/// PHP-FPM with one pool on a socket, ended on drop.
struct Fpm {
    child: Child,
    folder: TempDir,
}

impl Drop for Fpm {
    fn drop(&mut self) {
        drop(Command::new("kill").arg(self.child.id().to_string()).status());
        drop(self.child.wait());
    }
}

/// Name of the program, which differs by distribution.
fn program() -> &'static str {
    const NAMES: [&str; 5] = ["php-fpm", "php-fpm8.4", "php-fpm8.3", "php-fpm8.2", "php-fpm8.1"];
    let is_there = |name: &&&str| Command::new(name).arg("-v").stdout(Stdio::null()).status().is_ok();
    NAMES.iter().find(is_there).expect("php-fpm is missing: tools/needs installs it")
}

impl Fpm {
    async fn start(workers: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in SCRIPTS {
            let path = folder.path().join("public").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        // Outside of the document root: must never run.
        std::fs::write(folder.path().join("secret.php"), "<?php echo 'executed';").unwrap();
        std::fs::create_dir(folder.path().join("sessions")).unwrap();
        let text = format!(
            "[global]\ndaemonize = no\nerror_log = /dev/null\n[www]\nuser = root\ngroup = root\nlisten = {0}/fpm.sock\npm = static\n\
             pm.max_children = {workers}\nphp_value[session.save_path] = {0}/sessions\n\
             php_value[upload_max_filesize] = 20M\nphp_value[post_max_size] = 21M\n",
            folder.path().display()
        );
        let file = folder.path().join("fpm.conf");
        std::fs::write(&file, text).unwrap();
        let child = Command::new(program()).args(["-R", "-F", "-O", "-y"]).arg(&file).stderr(Stdio::null()).spawn();
        let fpm = Self { child: child.unwrap(), folder };
        eventually("php-fpm listens", || fpm.socket().exists()).await;
        fpm
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("fpm.sock")
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("public")
    }

    /// Front for the socket, with more keys of the pool.
    async fn front(&self, more: serde_json::Value) -> Front {
        front(&self.socket(), &self.root(), more).await
    }
}

async fn front(socket: &Path, root: &Path, more: serde_json::Value) -> Front {
    let mut declared = serde_json::json!({ "root": root });
    declared.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let sockets = vec![socket.parent().unwrap().to_owned()];
    let setup = Setup { declared, sockets, ..Setup::default() };
    Front::start(&format!("fastcgi+unix:{}", socket.display()), setup).await
}

fn none() -> serde_json::Value {
    serde_json::json!({})
}

async fn ask(front: &Front, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Response<Incoming> {
    let mut request = Request::builder().method(method).uri(path).header("host", "shop.example");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    front.ask(request.body(Full::new(Bytes::copy_from_slice(body))).unwrap()).await
}

#[test]
fn php_sees_a_request_as_behind_any_other_server() {
    run(async {
        let fpm = Fpm::start(2).await;
        let front = fpm.front(none()).await;
        let fields =
            [("proxy", "http://evil"), ("x-a", "1"), ("x-a", "2"), ("x_a", "3"), ("x-forwarded-for", "1.2.3.4")];
        let seen = text(ask(&front, "GET", "/articles/7?page=2&q=a%20b", &fields, b"").await).await;
        let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
        for (name, expected) in [
            ("SCRIPT_NAME", "/index.php"),
            ("REQUEST_URI", "/articles/7?page=2&q=a%20b"),
            ("QUERY_STRING", "page=2&q=a%20b"),
            ("DOCUMENT_URI", "/index.php"),
            ("REMOTE_ADDR", "127.0.0.1"),
            ("SERVER_NAME", "shop.example"),
            ("SERVER_PORT", "443"),
            ("HTTPS", "on"),
            ("HTTP_HOST", "shop.example"),
            ("HTTP_X_A", "1, 2"),
            ("HTTP_X_FORWARDED_FOR", "127.0.0.1"),
            ("REDIRECT_STATUS", "200"),
        ] {
            assert_eq!(seen[name], expected, "{name}: {seen}");
        }
        assert_eq!(seen["get"], serde_json::json!({ "page": "2", "q": "a b" }));
        assert_eq!(seen["SCRIPT_FILENAME"].as_str(), fpm.root().join("index.php").to_str());
        assert!(seen.get("HTTP_PROXY").is_none() && seen.get("PATH_INFO").is_none(), "{seen}");
        let seen = front.get("/index.php/a/b").await.1;
        assert!(seen.contains(r#""PATH_INFO":"\/a\/b""#), "{seen}");
        assert_eq!(front.get("/admin/tool.php/x").await.1, "tool/x");
    });
}

#[test]
fn a_script_says_status_and_fields() {
    run(async {
        let fpm = Fpm::start(2).await;
        let front = fpm.front(none()).await;
        let moved = ask(&front, "GET", "/moved", &[], b"").await;
        assert_eq!(
            (moved.status().as_u16(), &moved.headers()["location"]),
            (302, &"/elsewhere?page=2".parse().unwrap())
        );
        let missing = ask(&front, "GET", "/fields", &[], b"").await;
        assert_eq!((missing.status().as_u16(), missing.headers().get_all("set-cookie").iter().count()), (404, 2));
        assert_eq!(text(missing).await, "no such page");
        let same = ask(&front, "GET", "/same", &[], b"").await;
        assert_eq!((same.status().as_u16(), text(same).await.as_str()), (304, ""));
        let known = ask(&front, "GET", "/known", &[], b"").await;
        assert_eq!(
            (&known.headers()["content-length"], known.headers().contains_key("transfer-encoding")),
            (&"5".parse().unwrap(), false)
        );
        assert_eq!(text(known).await, "hello");
        assert_eq!(front.method("HEAD", "/known").await, (200, String::new()));
        assert_eq!(front.get("/fails").await.0, 500);
        assert_eq!(front.get("/missing.php").await.0, 404);
    });
}

#[test]
fn bodies_are_streamed_both_ways() {
    run(async {
        let fpm = Fpm::start(2).await;
        let front = fpm.front(none()).await;
        let photo: Vec<u8> = (0..5_000_000_u32).map(|number| (number % 251) as u8).collect();
        let mut form = b"--X\r\ncontent-disposition: form-data; name=\"photo\"; filename=\"a.jpg\"\r\n\r\n".to_vec();
        form.extend_from_slice(&photo);
        form.extend_from_slice(b"\r\n--X--\r\n");
        let fields = [("content-type", "multipart/form-data; boundary=X")];
        let uploaded = text(ask(&front, "POST", "/upload", &fields, &form).await).await;
        let sum = Command::new("md5sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut sum = sum.unwrap();
        std::io::Write::write_all(&mut sum.stdin.take().unwrap(), &photo).unwrap();
        let sum = String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap();
        assert_eq!(uploaded, format!("a.jpg 5000000 {}", sum.split(' ').next().unwrap()));
        assert_eq!(front.get("/large").await.1.len(), 8_000_000);
        // A script needs the length of the body, so that a body without a length is buffered, within a limit.
        for (length, expected) in [(0, (200, "0")), (60_000, (200, "60000")), (70_000, (413, ""))] {
            let (sender, body) = ChannelBody::new();
            let request = Request::post("/body").header("host", "shop.example").body(body).unwrap();
            tokio::task::spawn_local(async move {
                for piece in vec![b'a'; length].chunks(7_000) {
                    drop(sender.send(Bytes::copy_from_slice(piece)).await);
                }
            });
            let response = front.ask(request).await;
            let status = response.status().as_u16();
            let body = text(response).await;
            assert_eq!((status, if status == 200 { body.as_str() } else { "" }), expected, "{length}: {body}");
        }
        eventually("nothing is in use", || front.client.counts().in_use == 0).await;
    });
}

#[test]
fn a_session_lives_in_its_cookie() {
    run(async {
        let fpm = Fpm::start(2).await;
        let front = fpm.front(none()).await;
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let first = ask(&front, "POST", "/login", &form, b"name=Ann").await;
        let cookie = first.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        assert_eq!(text(first).await, "Ann");
        let again = ask(&front, "GET", "/login", &[("cookie", &cookie)], b"").await;
        assert_eq!(text(again).await, "Ann");
        assert_eq!(front.get("/login").await.1, "nobody");
    });
}

#[test]
fn no_path_runs_what_is_no_script_of_the_root() {
    run(async {
        let fpm = Fpm::start(2).await;
        let front = fpm.front(none()).await;
        for path in [
            "/photo.jpg/x.php",
            "/photo.jpg%00.php",
            "/photo.jpg",
            "/../secret.php",
            "/%2e%2e/secret.php",
            "/..%2fsecret.php",
            "/admin/..%2f..%2fsecret.php",
            "/admin/../../secret.php",
            "/.hidden/x.php",
            "//secret.php",
        ] {
            let (_, body) = front.get(path).await;
            assert!(!body.contains("executed"), "{path}: {body}");
        }
        let listed = fpm.front(serde_json::json!({ "scripts": ["other.php"] })).await;
        assert!(listed.get("/admin/tool.php").await.1.contains("REQUEST_URI"), "it goes to the front controller");
    });
}

#[test]
fn a_worker_is_free_after_each_request_unless_connections_are_kept() {
    run(async {
        let fpm = Fpm::start(1).await;
        let plain = fpm.front(none()).await;
        for _ in 0..20 {
            assert_eq!(plain.get("/pid").await.0, 200);
        }
        eventually("nothing is in use", || plain.client.counts().in_use == 0).await;
        assert_eq!((plain.client.counts().idle, plain.client.counts().reused), (0, 0));
        let kept = fpm.front(serde_json::json!({ "keep_alive": true })).await;
        for path in ["/pid", "/known", "/large", "/pid"] {
            assert_eq!(kept.get(path).await.0, 200);
            eventually("the connection is back", || kept.client.counts().idle == 1).await;
        }
        assert_eq!((kept.client.counts().connected, kept.client.counts().reused), (1, 3));
        drop(kept);
        assert_eq!(plain.get("/pid").await.0, 200, "the only worker is free again");
    });
}

#[test]
fn a_client_that_goes_away_frees_the_worker() {
    run(async {
        let fpm = Fpm::start(1).await;
        let front = fpm.front(none()).await;
        let mut response = ask(&front, "GET", "/large", &[], b"").await;
        assert!(response.body_mut().frame().await.is_some());
        drop(response);
        assert_eq!(front.get("/pid").await.0, 200);
    });
}
