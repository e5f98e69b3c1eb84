//! Runs the examples of `docs/backends.md`: the files of the page with real backends, a real DNS server and the real
//! programs.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use devanture_config::edge_toml::EdgeFile;
use yaml_rust2::{Yaml, YamlLoader};

use crate::support::dns::Dns;
use crate::support::edge::{Edge, Ran, edge};
use crate::support::page;

fn block(mark: &str) -> String {
    page::block("backends.md", mark)
}

fn yaml(mark: &str) -> Vec<Yaml> {
    YamlLoader::load_from_str(&block(mark)).unwrap_or_else(|error| panic!("{mark}: {error}"))
}

/// Answers every request with the given name.
fn answer<S: std::io::Read + std::io::Write + Send + 'static>(stream: S, name: String) {
    let mut stream = BufReader::new(stream);
    std::thread::spawn(move || {
        loop {
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                if line.trim_end().is_empty() {
                    break;
                }
            }
            let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
            if stream.get_mut().write_all(text.as_bytes()).is_err() {
                return;
            }
        }
    });
}

/// Starts backends on port 3000 of unused addresses of this machine, each answering with its address.
fn pods(count: u8) -> Vec<Ipv4Addr> {
    let taken = |third: u8| -> Option<Vec<TcpListener>> {
        (1..=count).map(|last| TcpListener::bind((Ipv4Addr::new(127, 77, third, last), 3000)).ok()).collect()
    };
    let start = u8::try_from(std::process::id() % 200).unwrap();
    let listeners = (start..=250).find_map(taken).unwrap();
    let addresses = listeners.iter().map(|listener| match listener.local_addr().unwrap() {
        SocketAddr::V4(address) => *address.ip(),
        SocketAddr::V6(_) => unreachable!(),
    });
    let addresses = addresses.collect();
    for listener in listeners {
        let name = listener.local_addr().unwrap().ip().to_string();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, name.clone())));
    }
    addresses
}

/// Pushes a project with the given `devanture.toml`.
fn pushed(edge: &Edge, folder: &Path, toml: &str) {
    std::fs::create_dir_all(folder.join("dist")).unwrap();
    std::fs::write(folder.join("dist/index.html"), "<title>shop</title>").unwrap();
    std::fs::write(folder.join("devanture.toml"), toml).unwrap();
    let ran = Ran::of(edge.command(folder, "shop", &["push", "--json"]).output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:#?}");
}

/// Returns the answering backends, after enough requests to meet each by chance.
async fn answering(edge: &Edge) -> BTreeSet<String> {
    let client = edge.client(true);
    let mut names = BTreeSet::new();
    for _ in 0..64 {
        let response = client.get(edge.url("shop.localhost", "/api/who")).send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        names.insert(response.text().await.unwrap());
    }
    names
}

/// Waits until exactly these backends answer; every request until then is answered too.
async fn until_answered_by(edge: &Edge, expected: &[Ipv4Addr]) {
    let expected: BTreeSet<String> = expected.iter().map(Ipv4Addr::to_string).collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let names = answering(edge).await;
        if names == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{names:?} answer, and not {expected:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_compose_more_containers_get_requests_as_they_come() {
    let compose = &yaml("file: compose.yaml")[0];
    assert!(!compose["services"]["api"].is_badvalue() && !compose["services"]["edge"].is_badvalue());
    let file = EdgeFile::parse("edge.toml", &block("file: edge.toml of Compose")).unwrap();
    let toml = block("file: devanture.toml of Compose");
    assert!(toml.contains("http://api:3000"), "the name of the service, and its port");
    assert_eq!(compose["services"]["api"]["expose"][0].as_str(), Some("3000"));
    // As in Docker: the answers are valid for ten minutes.
    let dns = Dns::start(600);
    let pods = pods(3);
    dns.set("api", &pods[..2]);
    let edge = edge()
        .with_limit("upstream_dns_ms_max", file.limits.upstream_dns_ms_max)
        .with_table(&format!("[dns]\nservers = [\"{}\"]\n", dns.address))
        .start();
    let folder = tempfile::tempdir().unwrap();
    pushed(&edge, folder.path(), &toml);
    until_answered_by(&edge, &pods[..2]).await;
    dns.set("api", &pods);
    until_answered_by(&edge, &pods).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_kubernetes_a_pod_that_leaves_its_service_costs_no_request() {
    let documents = yaml("file: kubernetes.yaml");
    let kinds: Vec<&str> = documents.iter().map(|document| document["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Service", "Deployment", "HorizontalPodAutoscaler"]);
    let (service, deployment) = (&documents[0], &documents[1]);
    assert_eq!(service["spec"]["clusterIP"].as_str(), Some("None"));
    assert_eq!(service["spec"]["selector"]["app"], deployment["spec"]["template"]["metadata"]["labels"]["app"]);
    let (name, space) = (&service["metadata"]["name"], &service["metadata"]["namespace"]);
    let host = format!("{}.{}.svc.cluster.local", name.as_str().unwrap(), space.as_str().unwrap());
    let toml = block("file: devanture.toml of Kubernetes");
    assert!(toml.contains(&format!("http://{host}:{}", service["spec"]["ports"][0]["port"].as_i64().unwrap())));
    let dns = Dns::start(1);
    let pods = pods(3);
    dns.set(&host, &pods[..2]);
    let edge = edge().with_table(&format!("[dns]\nservers = [\"{}\"]\n", dns.address)).start();
    let folder = tempfile::tempdir().unwrap();
    pushed(&edge, folder.path(), &toml);
    until_answered_by(&edge, &pods[..2]).await;
    // One backend ends and a new backend begins; the ending backend still answers for a while.
    dns.set(&host, &pods[1..]);
    until_answered_by(&edge, &pods[1..]).await;
}

/// The program started by `shop-api@.service`: reports its name, and ends in order.
const SERVER: &str = "
const server = require('http').createServer((request, answer) => {
  request.resume();
  request.on('end', () => setTimeout(() => answer.end(`${process.env.NAME} ${process.pid}`), 5));
});
server.listen(process.env.SOCKET);
process.on('SIGTERM', () => { server.close(() => process.exit(0)); server.closeIdleConnections(); });
";

/// The effect of `sudo systemctl restart shop-api@N`.
const SYSTEMCTL: &str = r#"#!/bin/sh
instance=${3#shop-api@}
socket="$RUN/shop-api-$instance/http.sock"
if [ -e "$RUN/$instance.pid" ]; then
  kill -TERM "$(cat "$RUN/$instance.pid")"
  while kill -0 "$(cat "$RUN/$instance.pid")" 2> /dev/null; do sleep 0.02; done
fi
rm -f "$socket"
mkdir -p "$RUN/shop-api-$instance"
SOCKET="$socket" NAME="$instance" node "$RUN/server.js" > /dev/null 2>&1 &
echo $! > "$RUN/$instance.pid"
while [ ! -S "$socket" ]; do sleep 0.02; done
"#;

/// Guard that ends the backends of a test by process id.
struct Instances(std::path::PathBuf);

impl Drop for Instances {
    fn drop(&mut self) {
        for instance in [1, 2] {
            if let Ok(id) = std::fs::read_to_string(self.0.join(format!("{instance}.pid"))) {
                std::process::Command::new("kill").arg(id.trim()).status().ok();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_machine_a_backend_is_released_without_a_failed_request() {
    use std::os::unix::fs::PermissionsExt as _;

    let unit = block("file: shop-api@.service");
    assert!(["[Unit]", "[Service]", "[Install]"].iter().all(|section| unit.contains(section)));
    let run = tempfile::tempdir().unwrap();
    let here = |text: &str| text.replace("/run/", &format!("{}/", run.path().display()));
    assert!(unit.contains("Environment=SOCKET=/run/shop-api-%i/http.sock"));
    std::fs::write(run.path().join("server.js"), SERVER).unwrap();
    let bin = run.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("sudo"), SYSTEMCTL).unwrap();
    std::fs::set_permissions(bin.join("sudo"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let _instances = Instances(run.path().to_owned());
    let shell = |script: &str| {
        let programs = Path::new(env!("CARGO_BIN_EXE_devanture")).parent().unwrap();
        let path = format!("{}:{}:{}", bin.display(), programs.display(), std::env::var("PATH").unwrap());
        let mut shell = std::process::Command::new("sh");
        shell.args(["-eu", "-c", script]).env("PATH", path).env("RUN", run.path());
        shell
    };
    for instance in [1, 2] {
        assert!(shell(&format!("sudo systemctl restart shop-api@{instance}")).status().unwrap().success());
    }
    let edge = edge().with_table(&here(&block("part: edge.toml of a machine"))).start();
    let folder = tempfile::tempdir().unwrap();
    pushed(&edge, folder.path(), &here(&block("file: devanture.toml of a machine")));

    let page = page::page("backends.md");
    let script = page.split("```sh\n").find(|script| script.starts_with("for i in 1 2")).unwrap();
    let script = here(script.split("```").next().unwrap());
    let environment = edge.command(folder.path(), "shop", &[]);
    let mut released = shell(&script);
    released.current_dir(folder.path());
    for (name, value) in environment.get_envs().filter(|(name, _)| *name != "PATH") {
        released.env(name, value.unwrap_or_default());
    }
    // Both are known before the first is taken out.
    let mut names = answering(&edge).await;
    assert_eq!(names.len(), 2, "{names:?}");
    let released = std::thread::spawn(move || released.output().unwrap());
    let (client, mut count) = (edge.client(true), 0);
    let url = edge.url("shop.localhost", "/api/who");
    while !released.is_finished() {
        let requests = [client.get(&url), client.post(&url).body("order")];
        for answered in futures_util::future::join_all(requests.into_iter().map(reqwest::RequestBuilder::send)).await {
            let response = answered.unwrap();
            assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
            names.insert(response.text().await.unwrap());
            count += 1;
        }
    }
    let output = released.join().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(count > 0, "nobody asked while it was released");
    // The last returned backend gets requests too, though on a busy machine a health check may be missed first.
    let deadline = Instant::now() + Duration::from_secs(60);
    while names.len() < 4 && Instant::now() < deadline {
        names.extend(answering(&edge).await);
    }
    assert_eq!(names.len(), 4, "two instances, each before and after: {names:?}");
}
