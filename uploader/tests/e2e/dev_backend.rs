//! The backend of the bundle beside `devanture dev`: same and different treatment compared with an instance of an edge.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::dev::{Dev, PAGE, Project, TIME_MAX};

/// A backend that reports its variables and the files of its folder, after the action in the path.
const BACKEND: &str = r#"
import http.server, json, os, pathlib, shutil
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        data = os.environ.get("DEVANTURE_DATA")
        if self.path == "/api/keep":
            pathlib.Path(data, "kept").write_text("mine")
        if self.path == "/api/remove":
            shutil.rmtree(data)
        own = {name: value for name, value in os.environ.items() if name.startswith("DEVANTURE_")}
        files = sorted(os.listdir(data)) if data and os.path.isdir(data) else None
        body = json.dumps({"word": "WORD", "own": own, "files": files}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;
/// The settings, without `persist`.
const SITE: &str = "app = \"shop\"\nwww = \"www\"\n\
                    [server]\ndir = \"server\"\ncommand = [\"python3\", \"main.py\"]\nroutes = [\"/api/*\"]\n";

/// A project with the backend, if runnable here.
fn project() -> Option<Project> {
    if Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("left out: there is no python3");
        return None;
    }
    let project = Project::new();
    project.put("devanture.toml", SITE);
    project.put("server/main.py", &BACKEND.replace("WORD", "one"));
    Some(project)
}

/// Returns the first report that satisfies `is_meant`. While the backend starts, the edge answers with a problem, in
/// JSON, too.
async fn report(dev: &Dev, path: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
    let until = tokio::time::Instant::now() + TIME_MAX;
    loop {
        let text = dev.text(path).await;
        let report = serde_json::from_str(&text).ok().filter(|report: &Value| report["own"].is_object());
        if let Some(report) = report.filter(&is_meant) {
            return report;
        }
        assert!(tokio::time::Instant::now() < until, "{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_of_a_backend_is_its_own_and_there_only_with_persist() {
    let Some(project) = project() else { return };
    let dev = project.dev(&[]);
    dev.wait_for("live");
    let first = report(&dev, "/api/x", |_| true).await;
    let own = json!({ "DEVANTURE_APP": "shop", "DEVANTURE_ENVIRONMENT": "prod", "DEVANTURE_INSTANCE": "web.1" });
    assert_eq!((&first["own"], &first["files"]), (&own, &Value::Null), "there is no DEVANTURE_DATA");

    project.put("devanture.toml", &format!("{SITE}persist = \"data\"\n"));
    let data_of = |report: &Value| report["own"]["DEVANTURE_DATA"].as_str().map(str::to_owned);
    let second = report(&dev, "/api/x", |report| data_of(report).is_some()).await;
    let data = data_of(&second).unwrap();
    assert_eq!(second["files"], json!([]), "nothing of the edge is in it");
    assert!(!Path::new(&data).starts_with(project.path()), "it is not in the project: {data}");

    // The file survives restarts.
    report(&dev, "/api/keep", |report| report["files"] == json!(["kept"])).await;
    project.put("server/main.py", &BACKEND.replace("WORD", "two"));
    let third = report(&dev, "/api/x", |report| report["word"] == "two").await;
    assert_eq!((data_of(&third), &third["files"]), (Some(data.clone()), &json!(["kept"])));

    // A backend that removes its folder takes no file of the edge.
    let key = dev.ca.with_file_name("ca.key");
    let before = std::fs::read(&key).unwrap();
    report(&dev, "/api/remove", |report| report["files"].is_null()).await;
    assert_eq!(std::fs::read(&key).unwrap(), before);
    project.put("www/index.html", &PAGE.replace("one", "two"));
    dev.wait_until("live", |live| live["changed"] == 1);
    assert!(dev.text("/").await.contains("two"));
    // The next run has an empty folder.
    project.put("server/main.py", &BACKEND.replace("WORD", "three"));
    let fourth = report(&dev, "/api/x", |report| report["word"] == "three").await;
    assert_eq!((data_of(&fourth).as_ref(), &fourth["files"]), (Some(&data), &json!([])));
    assert_eq!(dev.end("-INT"), Some(0));
    assert!(!Path::new(&data).exists(), "it goes with the run");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_is_told_its_app_and_environment_and_the_person_that_no_link_is_made() {
    let Some(project) = project() else { return };
    let persisting = format!("{SITE}persist = \"data\"\n");
    project.put("devanture.toml", &persisting);
    // No setting of the person overrides a variable set by an edge.
    project.put(".env.server", "DEVANTURE_APP=other\nDEVANTURE_DATA=/nowhere\n");
    let dev = project.dev(&["--env", "staging"]);
    let is_of_link = |note: &Value| note["text"].as_str().unwrap().contains("no link `data` in server");
    dev.wait_until("note", is_of_link);
    dev.wait_for("live");
    let first = report(&dev, "/api/x", |_| true).await;
    let own = |name: &str| first["own"][name].as_str().unwrap().to_owned();
    assert_eq!((own("DEVANTURE_APP"), own("DEVANTURE_ENVIRONMENT")), ("shop".to_owned(), "staging".to_owned()));
    assert!(Path::new(&own("DEVANTURE_DATA")).is_dir(), "{first}");
    assert!(!project.path().join("server/data").exists(), "the project is only read");
    assert_eq!(dev.end("-TERM"), Some(0));
    // With such a folder in the project, code that names the folder works.
    std::fs::create_dir(project.path().join("server/data")).unwrap();
    let dev = project.dev(&[]);
    let before: Vec<Value> = dev.events.iter().take_while(|event| event["event"] != "live").collect();
    assert!(!before.iter().any(|event| event["event"] == "note" && is_of_link(event)), "{before:?}");
    report(&dev, "/api/x", |_| true).await;
}
