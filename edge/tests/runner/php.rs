//! PHP applications run by PHP-FPM: their environment, state across switches, and attacks on the choice of scripts.

use devanture_control::runner::Error;
use serde_json::json;

use crate::runner::world::{Version, World, ask, eventually, limits, run};
use crate::support;

/// Front controller: user report, a session counter, written files, and log lines.
const INDEX: &str = r#"<?php
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$data = getenv('DEVANTURE_DATA');
if ($path === '/count') {
    if (isset($_GET['id'])) session_id($_GET['id']);
    session_start();
    $_SESSION['count'] = ($_SESSION['count'] ?? 0) + 1;
    echo session_id(), ' ', $_SESSION['count'];
} elseif ($path === '/write') {
    file_put_contents("$data/evil.php", '<?php echo "executed";');
    file_put_contents("$data/photo.jpg", '<?php echo "executed";');
    file_put_contents("$data/.user.ini", "output_handler = str_repeat\nauto_append_file = $data/photo.jpg\n");
    echo is_writable(__FILE__) ? 'writable' : 'read-only';
} elseif ($path === '/temporary') {
    foreach (['guard.php', 'php-fpm.conf', '.user.ini', 'php.ini', '.php/guard.php'] as $name) {
        $file = sys_get_temp_dir() . "/$name";
        @file_put_contents($file, '<?php echo "executed";');
        if (function_exists('opcache_invalidate')) opcache_invalidate($file, true);
    }
    echo 'written';
} elseif ($path === '/settings') {
    echo json_encode(array_map('ini_get', ['memory_limit', 'error_reporting', 'upload_max_filesize', 'post_max_size',
        'auto_append_file', 'output_handler', 'user_ini.filename', 'display_errors']));
} elseif ($path === '/log') {
    error_log('a line of PHP');
    fwrite(fopen('php://stderr', 'w'), "another line\n");
    echo 'logged';
} elseif ($path === '/fails') {
    throw new Exception('oh');
} else {
    echo json_encode(['build' => BUILD, 'root' => $_SERVER['DOCUMENT_ROOT'], 'variable' => getenv('GAME_PASSWORD'),
        'temporary' => sys_get_temp_dir(), 'version' => getenv('DEVANTURE_VERSION'), 'user' => posix_geteuid()]);
}"#;

fn php() -> serde_json::Value {
    json!({ "kind": "php", "workers": 2, "start_ms": 30_000, "drain_ms": 10_000, "persist": "public/uploads" })
}

/// PHP settings of the bundle, partly harmless.
const USER_INI: &str = "memory_limit = 77M\nerror_reporting = E_ALL & ~E_DEPRECATED\nupload_max_filesize = \"9M\"\n\
    auto_append_file = public/photo.jpg\noutput_handler = str_repeat\n";

async fn version(world: &World, build: &str) -> Version {
    let code = INDEX.replace("BUILD", &format!("'{build}'"));
    let files = [
        ("public/.user.ini", USER_INI, false),
        ("public/index.php", code.as_str(), false),
        ("public/tool.php", "<?php require __DIR__ . '/../lib/tool.php';", false),
        ("lib/tool.php", "<?php echo 'tool', $_SERVER['PATH_INFO'] ?? '';", false),
        ("public/photo.jpg", "<?php echo 'executed';", false),
    ];
    world.version_of(build, &files, &php()).await
}

#[test]
fn an_application_of_php_runs_without_a_command_of_its_own() {
    run(async {
        let world = World::start(limits()).await;
        world.set("prod", 0, "GAME_PASSWORD", "sesame");
        let one = version(&world, "one").await;
        world.switch(&one).await;
        let seen = world.json("/any/path").await;
        assert_eq!((&seen["build"], &seen["variable"]), (&json!("one"), &json!("sesame")), "{seen}");
        assert_eq!(seen["version"], one.id.to_string());
        assert!(seen["root"].as_str().unwrap().ends_with("/public"), "{seen}");
        assert_eq!(world.get("/tool.php/x").await.1, "tool/x");
        assert_eq!(world.get("/log").await.1, "logged");
        assert_eq!(world.get("/fails").await.0, 500);
        for wanted in ["a line of PHP", "another line", "oh"] {
            let is_there = async || world.lines("web.1").await.iter().any(|line| line.contains(wanted));
            support::eventually(wanted, is_there).await;
        }
        world.end().await;
    });
}

#[test]
fn a_session_outlasts_a_switch_and_a_new_version_answers_at_once() {
    run(async {
        let world = World::start(limits()).await;
        world.switch(&version(&world, "one").await).await;
        let (_, first) = world.get("/count").await;
        let (id, count) = first.split_once(' ').unwrap();
        assert_eq!(count, "1");
        world.switch(&version(&world, "two").await).await;
        assert_eq!(world.json("/").await["build"], "two");
        assert_eq!(world.get(&format!("/count?id={id}")).await.1, format!("{id} 2"));
        world.end().await;
    });
}

#[test]
fn what_an_application_wrote_is_never_run() {
    run(async {
        let world = World::start(limits()).await;
        world.switch(&version(&world, "one").await).await;
        assert_eq!(world.get("/write").await.1, "read-only");
        for path in [
            "/uploads/evil.php",
            "/uploads/evil.php/x",
            "/uploads/photo.jpg",
            "/uploads/photo.jpg/x.php",
            "/photo.jpg/x.php",
            "/photo.jpg%00.php",
            "/tool.php/../uploads/evil.php",
            "/..%2f..%2fuploads/evil.php",
        ] {
            let (_, body) = world.get(path).await;
            assert!(!body.contains("executed"), "{path}: {body}");
        }
        world.end().await;
    });
}

#[test]
fn no_script_is_named_to_php_that_the_bundle_has_not_and_no_upload_changes_a_setting() {
    run(async {
        let world = World::start(limits()).await;
        world.switch(&version(&world, "one").await).await;
        assert_eq!(world.get("/write").await.1, "read-only");
        // A `.user.ini` applies to scripts beside and below, before any code runs.
        let front = world.get("/").await;
        assert_eq!(front.0, 200, "{front:?}");
        for path in ["/uploads/evil.php", "/uploads/evil.php/x", "/uploads/none.php", "/none.php"] {
            assert_eq!(world.get(path).await, front, "{path} is the front controller's");
        }
        // A temporary file named by a visitor replaces no other file.
        assert_eq!(world.get("/temporary").await.1, "written");
        for path in ["/", "/tool.php", "/uploads/evil.php"] {
            let (status, body) = world.get(path).await;
            assert!(status == 200 && !body.contains("executed"), "{path}: {body}");
        }
        world.end().await;
    });
}

#[test]
fn what_is_harmless_in_the_user_ini_of_a_bundle_counts() {
    run(async {
        let world = World::start(limits()).await;
        world.switch(&version(&world, "one").await).await;
        let expected = json!(["77M", "24575", "9M", "65M", "", "", "", "0"]);
        assert_eq!(world.json("/settings").await, expected);
        for wanted in ["line 4: `auto_append_file`", "line 5: `output_handler`"] {
            let is_there = async || world.lines("web.1").await.iter().any(|line| line.contains(wanted));
            support::eventually(wanted, is_there).await;
        }
        world.end().await;
    });
}

#[test]
fn switches_under_requests_lose_none() {
    run(async {
        let world = World::start(limits()).await;
        let (one, two) = (version(&world, "one").await, version(&world, "two").await);
        world.switch(&one).await;
        let front = world.front;
        let stop = tokio_util::sync::CancellationToken::new();
        let stopped = stop.clone();
        let asking = tokio::task::spawn_local(async move {
            let mut count = 0;
            while !stopped.is_cancelled() {
                let (status, text) = ask(front, "/", None).await;
                assert_eq!(status, 200, "{text}");
                count += 1;
            }
            count
        });
        for _ in 0..50 {
            world.switch(&two).await;
            world.switch(&one).await;
        }
        stop.cancel();
        assert!(asking.await.unwrap() > 0);
        world.end().await;
    });
}

#[test]
fn a_backend_that_is_not_well_is_not_switched_to() {
    run(async {
        let world = World::start(limits()).await;
        world.switch(&version(&world, "one").await).await;
        let files = [("public/index.php", "<?php this is no php", false)];
        let broken = world.version_of("two", &files, &json!({ "kind": "php", "start_ms": 1_500 })).await;
        let error = world.prepare(&broken).await.map(drop).unwrap_err();
        assert!(matches!(&error, Error::NotHealthy { reason, .. } if reason.contains("500")), "{error}");
        assert_eq!(world.json("/").await["build"], "one");
        eventually("only the first runs", || world.instances().len() == 1).await;
        world.end().await;
    });
}
