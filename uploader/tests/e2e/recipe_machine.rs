//! A machine of a CI system beside an edge that trusts the identity tokens of its jobs: simulates the system's
//! checkouts, variables and identity tokens.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use devanture_config::edge_toml::EdgeFile;
use serde_json::Value;
use tempfile::TempDir;
use yaml_rust2::{Yaml, YamlLoader};

use super::recipe_comments::GitHub;
use crate::support::edge::{Edge, Ran, edge};
use crate::support::issuer::{Issuer, OPENS};

/// Stand-ins for programs on the machines of CI systems; each logs its arguments.
const MACHINE: [(&str, &str); 6] = [
    ("sudo", "exec \"$@\""),
    ("apt-get", ":"),
    (
        "npm",
        "case \"$*\" in\n\
         'run build') mkdir -p dist; cp page.html dist/index.html ;;\n\
         'install --global --no-audit --no-fund devanture@latest') cp \"$PROGRAM\" \"$BIN/devanture\" ;;\n\
         esac",
    ),
    // The stand-in for Buildkite's agent makes the identity tokens; artifacts stay in place.
    (
        "buildkite-agent",
        "case \"$1 $2\" in\n\
         'oidc request-token') PATH=${PATH#*:}\n\
         curl -fsS -H \"authorization: bearer $BUILDKITE_AGENT_ACCESS_TOKEN\" \"$AGENT_URL?audience=$4\" | jq -r .value ;;\n\
         'annotate '*) cat >> \"$SENT\" ;;\n\
         esac",
    ),
    ("gh", "{ echo \"$4\"; cat; } >> \"$SENT\""),
    // Requests to the stand-in for GitHub are sent; all others are swallowed.
    (
        "curl",
        "case \"$*\" in *\"${GITHUB_GRAPHQL_URL:-none}\"*) PATH=${PATH#*:} exec curl \"$@\" ;; esac\n\
         { printf '%s\\n' \"$*\"; cat; } >> \"$SENT\"",
    ),
];
pub(super) const COMMIT: &str = "1111111111111111111111111111111111111111";
/// The commit of a pull request, in the variables of the systems.
const PULL_REQUEST: [(&str, &str); 18] = [
    ("GITHUB_ACTIONS", "true"),
    ("GITHUB_HEAD_REF", "feature-cards"),
    ("GITHUB_SHA", COMMIT),
    ("GITHUB_REPOSITORY", "acme/shop"),
    ("GITLAB_CI", "true"),
    ("CI_COMMIT_SHA", COMMIT),
    ("CI_COMMIT_REF_NAME", "feature-cards"),
    ("CI_API_V4_URL", "https://gitlab.example/api/v4"),
    ("CI_PROJECT_ID", "1"),
    ("CI_MERGE_REQUEST_IID", "12"),
    ("CIRCLECI", "true"),
    ("CIRCLE_BRANCH", "feature-cards"),
    ("CIRCLE_PROJECT_USERNAME", "acme"),
    ("CIRCLE_PROJECT_REPONAME", "shop"),
    ("CIRCLE_PULL_REQUEST", "https://github.com/acme/shop/pull/12"),
    ("BUILDKITE", "true"),
    ("BUILDKITE_COMMIT", COMMIT),
    ("BUILDKITE_BRANCH", "feature-cards"),
];
/// Flags of the shell in which the systems run a step.
const SHELL: [&str; 2] = ["-eo", "pipefail"];

pub(super) type Variables = BTreeMap<String, String>;

/// Source of a job's identity token.
#[derive(Debug, Clone)]
pub(super) enum Identity {
    /// No identity token.
    None,
    /// GitHub Actions makes a token per request.
    GitHub(Value),
    /// The agent of Buildkite makes a token per request.
    Buildkite(Value),
    /// A variable holds a token for an audience.
    Variable(&'static str, String, Value),
}

/// A job: its shell steps, one script per shell, and its environment.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) has_checkout: bool,
    pub(super) has_dist: bool,
    pub(super) identity: Identity,
    pub(super) variables: Variables,
    pub(super) scripts: Vec<String>,
}

/// The jobs of a recipe.
pub(super) struct Jobs {
    pub(super) preview: Job,
    pub(super) staging: Job,
    pub(super) prod: Job,
    /// The job for a closed branch, on systems with such an event.
    pub(super) remove: Option<Job>,
}

/// A machine of a CI system beside an edge.
pub(super) struct Machine {
    pub(super) folder: TempDir,
    pub(super) edge: Edge,
    /// The issuer of the jobs' identity tokens.
    issuer: Issuer,
    /// The comments of a pull request on GitHub.
    github: GitHub,
    /// Prefixes of the variables set by the system itself.
    prefixes: &'static [&'static str],
    /// Variables of the project, as listed in docs/ci.md.
    pub(super) settings: Variables,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

pub(super) fn read(path: &str) -> Yaml {
    YamlLoader::load_from_str(&std::fs::read_to_string(root().join(path)).unwrap()).unwrap().remove(0)
}

pub(super) fn list(yaml: &Yaml) -> &[Yaml] {
    yaml.as_vec().map_or(&[], Vec::as_slice)
}

pub(super) fn table(yaml: &Yaml) -> Variables {
    let entries = yaml.as_hash().into_iter().flatten();
    entries.map(|(key, value)| (key.as_str().unwrap().to_owned(), value.as_str().unwrap().to_owned())).collect()
}

pub(super) fn has_tools() -> bool {
    let is_there = |name: &str| Command::new(name).arg("--version").output().is_ok_and(|ran| ran.status.success());
    let missing: Vec<&str> = ["bash", "curl", "jq"].into_iter().filter(|name| !is_there(name)).collect();
    if !missing.is_empty() {
        crate::support::leave_out(&format!("the recipes are run with {}", missing.join(" and ")));
    }
    missing.is_empty()
}

/// Returns the `[[trust]]` of a recipe from the file beside the recipe, with the issuer of the test and the address of
/// the edge filled in.
fn trusts(recipe: &str, issuer: &Issuer, edge: &str) -> String {
    let text = std::fs::read_to_string(root().join("examples/ci").join(recipe)).unwrap();
    let least = std::fs::read_to_string(root().join("config/samples/valid/edge-least.toml")).unwrap();
    let file = EdgeFile::parse("edge.toml", &format!("{least}\n{text}")).unwrap();
    let name = file.trusts[0].issuer.as_str();
    assert!(file.trusts.iter().all(|trust| trust.issuer.as_str() == name && !trust.claims.is_empty()), "{recipe}");
    text.replace(name, &issuer.name()).replace("https://edge.example.org:8444", edge)
}

impl Machine {
    /// Creates a machine of a system with the edge, which trusts the file beside the recipe.
    pub(super) fn new(prefixes: &'static [&'static str], recipe: &str) -> Self {
        let (folder, edge, issuer) = (tempfile::tempdir().unwrap(), edge().start(), Issuer::start());
        let (bin, repository) = (folder.path().join("bin"), folder.path().join("repository"));
        std::fs::create_dir(&bin).unwrap();
        for (name, script) in MACHINE {
            let path = bin.join(name);
            std::fs::write(&path, format!("#!/bin/sh\nset -e\n{script}\n")).unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        std::fs::create_dir(&repository).unwrap();
        std::fs::write(repository.join("devanture.toml"), "app = \"shop\"\nwww = \"dist\"\n").unwrap();
        let url = format!("https://{}", edge.admin());
        let config = edge.folder.path().join("edge.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, format!("{text}\n{}", trusts(recipe, &issuer, &url))).unwrap();
        edge.hang_up();
        super::trust::logs(&edge, "\"applied\":\"trust\"");
        let settings = [
            ("EDGE_URL", url),
            ("EDGE_APP", "shop".to_owned()),
            ("NOTES_TOKEN", "notes".to_owned()),
            ("GITHUB_TOKEN", "token-of-the-workflow".to_owned()),
            ("DEVANTURE_CA", edge.ca().to_str().unwrap().to_owned()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).into();
        Self { folder, edge, issuer, github: GitHub::start(Vec::new()), prefixes, settings }
    }

    /// Makes a token in the role of a stored secret of the system.
    pub(super) fn stored_token(&self, place: &str, scope: &str) -> String {
        let arguments = ["--name", place, "--app", "shop", "--env", place, "--scope", scope, "--expires-days", "90"];
        self.edge.new_token(&arguments)
    }

    fn page(&self, text: &str) {
        std::fs::write(self.folder.path().join("repository/page.html"), text).unwrap();
    }

    fn sent(&self) -> PathBuf {
        self.folder.path().join("sent")
    }

    /// Makes the initial folder of a job.
    fn checkout(&self, job: &Job, work: &Path) {
        std::fs::create_dir(work).unwrap();
        let repository = self.folder.path().join("repository");
        let mut files: Vec<&str> = if job.has_checkout { vec!["devanture.toml", "page.html"] } else { Vec::new() };
        if job.has_dist {
            std::fs::create_dir(work.join("dist")).unwrap();
            std::fs::copy(repository.join("page.html"), work.join("dist/index.html")).unwrap();
            files.push("devanture.toml");
        }
        for name in files {
            std::fs::copy(repository.join(name), work.join(name)).unwrap();
        }
        if job.has_checkout {
            std::fs::write(work.join(".gitignore"), "/dist/\n").unwrap();
            let who = ["-c", "user.name=me", "-c", "user.email=me@example.org"];
            // The systems check out a commit; the branch is in their variables.
            let steps =
                [&["init", "-q"][..], &["add", "-A"], &["commit", "-qm", "A page"], &["checkout", "-q", "--detach"]];
            for arguments in steps {
                let mut git = Command::new("git");
                assert!(git.args(who).args(arguments).current_dir(work).status().unwrap().success());
            }
        }
    }

    /// Runs a job in a separate folder, until a script fails. Returns the failed script, or the output of all.
    pub(super) fn try_run(&self, job: &Job) -> Result<String, Ran> {
        let folder = tempfile::tempdir().unwrap();
        let work = folder.path().join("checkout");
        self.checkout(job, &work);
        let bin = self.folder.path().join("bin");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut identity = Variables::new();
        match &job.identity {
            Identity::None => {}
            Identity::GitHub(claims) => {
                self.issuer.set_claims(claims.clone());
                let url = format!("{}/request?api-version=2.0", self.issuer.name());
                identity.insert("ACTIONS_ID_TOKEN_REQUEST_URL".to_owned(), url);
                identity.insert("ACTIONS_ID_TOKEN_REQUEST_TOKEN".to_owned(), OPENS.to_owned());
            }
            Identity::Buildkite(claims) => {
                self.issuer.set_claims(claims.clone());
                identity.insert("AGENT_URL".to_owned(), format!("{}/request", self.issuer.name()));
                identity.insert("BUILDKITE_AGENT_ACCESS_TOKEN".to_owned(), OPENS.to_owned());
            }
            Identity::Variable(name, audience, claims) => {
                identity.insert((*name).to_owned(), self.issuer.identity_token(audience, claims));
            }
        }
        let mut output = String::new();
        for script in &job.scripts {
            let mut command = Command::new("bash");
            // Nothing of this machine: neither a token nor a login exists.
            command.args(SHELL).args(["-c", script]).current_dir(&work).env_clear();
            command.envs(
                PULL_REQUEST
                    .into_iter()
                    .filter(|(name, _)| self.prefixes.iter().any(|prefix| name.starts_with(prefix))),
            );
            if self.prefixes.contains(&"GITHUB_") {
                command.env("GITHUB_GRAPHQL_URL", self.github.url());
            }
            command.env("CI", "true").env("DEVANTURE_CA", &self.settings["DEVANTURE_CA"]);
            command.envs(&job.variables).envs(&identity).env("HOME", folder.path());
            command.env("PATH", &path).env("BIN", &bin).env("SENT", self.sent());
            command.env("PROGRAM", env!("CARGO_BIN_EXE_devanture"));
            // Outputs of steps become the addresses of deployments.
            command.env("GITHUB_OUTPUT", self.folder.path().join("outputs"));
            let ran = Ran::of(command.output().unwrap());
            if ran.code != Some(0) {
                return Err(ran);
            }
            output.push_str(&ran.stdout);
        }
        Ok(output)
    }

    /// Runs a job, and checks that all of its scripts succeed. Returns the output.
    #[track_caller]
    pub(super) fn run(&self, job: &Job) -> String {
        self.try_run(job).unwrap_or_else(|ran| panic!("{job:#?}\n{}\n{}\n{}", ran.stdout, ran.stderr, self.edge.log()))
    }

    pub(super) async fn visit(&self, host: &str) -> String {
        let answer = self.edge.client(true).get(self.edge.url(host, "/")).send().await.unwrap();
        answer.text().await.unwrap()
    }

    /// Runs two rounds of a pull request, its merge and its promotion to `prod`, by the jobs of a recipe; then its end.
    pub(super) async fn rounds(&self, jobs: &Jobs, has_status: bool) {
        for (round, text) in ["first", "second"].into_iter().enumerate() {
            self.page(text);
            self.run(&jobs.preview);
            assert_eq!(self.visit("feature-cards--shop.localhost").await, text);
            let mut sent = std::fs::read_to_string(self.sent()).unwrap();
            std::fs::remove_file(self.sent()).unwrap();
            let comments = self.github.comments();
            assert_eq!(comments.len(), usize::from(self.prefixes.contains(&"GITHUB_")), "{comments:?}");
            comments.iter().for_each(|comment| sent.push_str(&comment.body));
            let (_, history) = self.edge.api("GET", "/v1/apps/shop/environments/preview/history", None).await;
            let history = history.to_string();
            assert!(history.contains("\"commit\"") && !history.contains("\"dirty\""), "what a job writes: {history}");
            assert!(sent.contains("Preview: https://feature-cards--shop.localhost"), "{sent}");
            let is_status = sent.contains(&format!("/statuses/{COMMIT}")) && sent.contains("\"state\": \"success\"");
            assert_eq!(is_status, has_status, "{sent}");
            self.run(&jobs.staging);
            assert_eq!(self.visit("staging--shop.localhost").await, text);
            let output = self.run(&jobs.prod);
            let is_added = output.contains("nothing (prod) → ") && output.contains("  + index.html");
            assert_eq!((is_added, output.contains("  ~ index.html")), (round == 0, round == 1), "{output}");
            assert_eq!(self.visit("shop.localhost").await, text);
        }
        let (_, history) = self.edge.api("GET", "/v1/apps/shop/environments/prod/history", None).await;
        let deploys = history["deploys"].as_array().unwrap();
        assert!(deploys.iter().all(|deploy| deploy["who"].as_str().unwrap().starts_with("trust:")), "{history}");
        let Some(remove) = &jobs.remove else { return };
        // A repeated run has nothing to do.
        for _ in 0..2 {
            self.run(remove);
            let (status, alias) = self.edge.api("GET", "/v1/apps/shop/aliases/feature-cards", None).await;
            assert_eq!(status, 404, "{alias}");
        }
        assert_eq!(self.visit("shop.localhost").await, "second");
    }

    /// Checks that a job with different claims is refused, and changes nothing.
    pub(super) async fn is_refused(&self, job: &Job) {
        let before = self.visit("shop.localhost").await;
        let ran = self.try_run(job).unwrap_err();
        let shown = format!("{}{}", ran.stdout, ran.stderr);
        assert!(ran.code == Some(4) && shown.contains("bad_identity_token"), "{shown}");
        assert_eq!(self.visit("shop.localhost").await, before);
    }
}
