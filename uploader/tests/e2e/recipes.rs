//! The recipes of `examples/ci`, with the action and the template of `deploy` that they use, run as they stand against a
//! real edge, from an app that does not exist yet on.
//!
//! What a CI system does itself is done here: checkouts, artifacts, variables and secrets, conditions of steps, jobs that
//! extend others. What its machine has is stood in for by small programs: `sudo`, `apt-get`, an `npm` that installs the
//! command line, `gh`, and a `curl` that takes comments; those of GitHub are in `recipe_comments`.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use yaml_rust2::{Yaml, YamlLoader};

use super::recipe_comments::GitHub;
use crate::support::edge::{Edge, Ran, edge};

/// What the machines of CI systems have, in place of which these are run; each says what it was asked for.
const MACHINE: [(&str, &str); 5] = [
    ("sudo", "exec \"$@\""),
    ("apt-get", ":"),
    (
        "npm",
        "case \"$*\" in\n\
         'run build') mkdir -p dist; cp page.html dist/index.html ;;\n\
         'install --global --no-audit --no-fund devanture@latest') cp \"$PROGRAM\" \"$BIN/devanture\" ;;\n\
         esac",
    ),
    ("gh", "{ echo \"$4\"; cat; } >> \"$SENT\""),
    // What goes to the imitation of GitHub is sent; the rest is taken.
    (
        "curl",
        "case \"$*\" in *\"${GITHUB_GRAPHQL_URL:-none}\"*) PATH=${PATH#*:} exec curl \"$@\" ;; esac\n\
         { printf '%s\\n' \"$*\"; cat; } >> \"$SENT\"",
    ),
];
const COMMIT: &str = "1111111111111111111111111111111111111111";
/// The commit of a pull request, and what the three systems say of it.
const PULL_REQUEST: [(&str, &str); 15] = [
    ("GITHUB_ACTIONS", "true"),
    ("GITHUB_HEAD_REF", "feature-cards"),
    ("GITHUB_SHA", COMMIT),
    ("GITHUB_REPOSITORY", "me/shop"),
    ("GITLAB_CI", "true"),
    ("CI_COMMIT_SHA", COMMIT),
    ("CI_COMMIT_REF_NAME", "feature-cards"),
    ("CI_API_V4_URL", "https://gitlab.example/api/v4"),
    ("CI_PROJECT_ID", "1"),
    ("CI_MERGE_REQUEST_IID", "12"),
    ("CIRCLECI", "true"),
    ("CIRCLE_BRANCH", "feature-cards"),
    ("CIRCLE_PROJECT_USERNAME", "me"),
    ("CIRCLE_PROJECT_REPONAME", "shop"),
    ("CIRCLE_PULL_REQUEST", "https://github.com/me/shop/pull/12"),
];

type Variables = BTreeMap<String, String>;

/// A job: its shell steps as one script per shell, and what it has.
#[derive(Debug)]
struct Job {
    has_checkout: bool,
    has_dist: bool,
    variables: Variables,
    scripts: Vec<String>,
}

/// A machine of a CI system beside an edge.
struct Machine {
    folder: TempDir,
    edge: Edge,
    /// The comments of a pull request on GitHub.
    github: GitHub,
    /// How the names of the variables begin that the system sets itself.
    prefixes: &'static [&'static str],
    /// Variables and secrets of the project, as docs/ci.md lists them.
    settings: Variables,
}

pub(super) fn read(path: &str) -> Yaml {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path);
    YamlLoader::load_from_str(&std::fs::read_to_string(path).unwrap()).unwrap().remove(0)
}

pub(super) fn list(yaml: &Yaml) -> &[Yaml] {
    yaml.as_vec().map_or(&[], Vec::as_slice)
}

fn table(yaml: &Yaml) -> Variables {
    let entries = yaml.as_hash().into_iter().flatten();
    entries.map(|(key, value)| (key.as_str().unwrap().to_owned(), value.as_str().unwrap().to_owned())).collect()
}

impl Machine {
    fn new(prefixes: &'static [&'static str]) -> Self {
        let (folder, edge) = (tempfile::tempdir().unwrap(), edge().start());
        let (bin, repository) = (folder.path().join("bin"), folder.path().join("repository"));
        std::fs::create_dir(&bin).unwrap();
        for (name, script) in MACHINE {
            let path = bin.join(name);
            std::fs::write(&path, format!("#!/bin/sh\nset -e\n{script}\n")).unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        std::fs::create_dir(&repository).unwrap();
        std::fs::write(repository.join("devanture.toml"), "app = \"shop\"\nwww = \"dist\"\n").unwrap();
        let token = |name: &str, place: &str, scope: &str| {
            let arguments = ["--name", name, "--app", "shop", "--env", place, "--scope", scope, "--expires-days", "90"];
            edge.new_token(&arguments)
        };
        let settings = [
            ("PREVIEW_TOKEN", token("ci-preview", "preview", "push")),
            ("STAGING_TOKEN", token("ci-staging", "staging", "push")),
            ("PROD_TOKEN", token("ci-prod", "prod", "promote")),
            ("EDGE_URL", format!("https://{}", edge.admin())),
            ("EDGE_APP", "shop".to_owned()),
            ("NOTES_TOKEN", "notes".to_owned()),
            ("GITHUB_TOKEN", "token-of-the-workflow".to_owned()),
            ("DEVANTURE_CA", edge.ca().to_str().unwrap().to_owned()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).into();
        Self { folder, edge, github: GitHub::start(Vec::new()), prefixes, settings }
    }

    fn page(&self, text: &str) {
        std::fs::write(self.folder.path().join("repository/page.html"), text).unwrap();
    }

    fn sent(&self) -> PathBuf {
        self.folder.path().join("sent")
    }

    /// Runs a job in a folder of its own, and checks that all of its scripts succeed. Gives what they wrote.
    #[track_caller]
    fn run(&self, shell: &[&str], job: &Job) -> String {
        let folder = tempfile::tempdir().unwrap();
        let work = folder.path().join("checkout");
        std::fs::create_dir(&work).unwrap();
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
                assert!(git.args(who).args(arguments).current_dir(&work).status().unwrap().success());
            }
        }
        let bin = self.folder.path().join("bin");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut output = String::new();
        for script in &job.scripts {
            let mut command = Command::new("bash");
            command.args(shell).args(["-c", script]).current_dir(&work).env_clear();
            command.envs(
                PULL_REQUEST
                    .into_iter()
                    .filter(|(name, _)| self.prefixes.iter().any(|prefix| name.starts_with(prefix))),
            );
            if self.prefixes.contains(&"GITHUB_") {
                command.env("GITHUB_GRAPHQL_URL", self.github.url());
            }
            command.env("CI", "true").env("DEVANTURE_CA", &self.settings["DEVANTURE_CA"]).envs(&job.variables);
            command.env("PATH", &path).env("BIN", &bin).env("SENT", self.sent());
            command.env("PROGRAM", env!("CARGO_BIN_EXE_devanture"));
            // Outputs of steps, which become the addresses of deployments.
            command.env("GITHUB_OUTPUT", self.folder.path().join("outputs"));
            let ran = Ran::of(command.output().unwrap());
            assert_eq!(ran.code, Some(0), "{script}\n{}\n{}", ran.stdout, ran.stderr);
            output.push_str(&ran.stdout);
        }
        output
    }

    async fn visit(&self, host: &str) -> String {
        let answer = self.edge.client(true).get(self.edge.url(host, "/")).send().await.unwrap();
        answer.text().await.unwrap()
    }

    /// Two rounds of a pull request, its merge and its way to `prod`, by the jobs of a recipe.
    async fn rounds(&self, shell: &[&str], preview: &Job, staging: &Job, prod: &Job, has_status: bool) {
        for (round, text) in ["first", "second"].into_iter().enumerate() {
            self.page(text);
            self.run(shell, preview);
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
            self.run(shell, staging);
            assert_eq!(self.visit("staging--shop.localhost").await, text);
            let output = self.run(shell, prod);
            let is_added = output.contains("nothing (prod) → ") && output.contains("  + index.html");
            assert_eq!((is_added, output.contains("  ~ index.html")), (round == 0, round == 1), "{output}");
            assert_eq!(self.visit("shop.localhost").await, text);
        }
    }
}

pub(super) fn has_tools() -> bool {
    let is_there = |name: &str| Command::new(name).arg("--version").output().is_ok_and(|ran| ran.status.success());
    let missing: Vec<&str> = ["bash", "curl", "jq"].into_iter().filter(|name| !is_there(name)).collect();
    if !missing.is_empty() {
        crate::support::leave_out(&format!("the recipes are run with {}", missing.join(" and ")));
    }
    missing.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recipe_of_github_puts_a_new_app_live() {
    if !has_tools() {
        return;
    }
    let machine = Machine::new(&["GITHUB_"]);
    let (yaml, action) = (read("examples/ci/github-actions.yml"), read("deploy/github-action/action.yml"));
    let results = machine.folder.path().to_str().unwrap();
    let filled = |text: &str, inputs: &Variables| {
        let mut text =
            text.replace("${{ github.event.number }}", "12").replace("${{ github.token }}", "token-of-the-workflow");
        text = text.replace("${{ github.event.pull_request.head.sha || github.sha }}", COMMIT);
        text = text.replace("${{ runner.temp }}", results);
        for (name, value) in &machine.settings {
            for table in ["vars", "secrets"] {
                text = text.replace(&format!("${{{{ {table}.{name} }}}}"), value);
            }
        }
        for (name, value) in inputs {
            text = text.replace(&format!("${{{{ inputs.{name} }}}}"), value);
        }
        assert!(!text.contains("${{"), "{text}");
        text
    };
    // The steps of the action that a step of the recipe has, with what the recipe hands to it.
    let of_action = |step: &Yaml, job: &mut Job| {
        let defaults = action["inputs"].as_hash().unwrap().iter();
        let defaults = defaults.filter_map(|(name, input)| Some((name.as_str()?, input["default"].as_str()?)));
        let mut inputs: Variables = defaults.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        inputs.extend(table(&step["with"]));
        let none = Variables::new();
        let inputs: Variables = inputs.into_iter().map(|(name, value)| (name, filled(&value, &none))).collect();
        for step in list(&action["runs"]["steps"]) {
            let is_meant = step["if"].as_str().is_none_or(|condition| {
                let (name, value) = condition.strip_prefix("inputs.").unwrap().split_once(" == ").unwrap();
                inputs[name] == value.trim_matches('\'')
            });
            if is_meant {
                let variables = table(&step["env"]).into_iter();
                job.variables.extend(variables.map(|(name, value)| (name, filled(&value, &inputs))));
                job.scripts.push(step["run"].as_str().unwrap().to_owned());
            }
        }
    };
    let job = |name: &str| {
        let mut job = Job { has_checkout: false, has_dist: false, variables: Variables::new(), scripts: Vec::new() };
        for step in list(&yaml["jobs"][name]["steps"]) {
            match (step["uses"].as_str(), step["run"].as_str()) {
                (Some("./.github/actions/devanture"), _) => of_action(step, &mut job),
                (Some(uses), _) => job.has_checkout |= uses.contains("checkout"),
                (None, run) => job.scripts.push(run.unwrap().to_owned()),
            }
        }
        job
    };
    machine.rounds(&["-eo", "pipefail"], &job("preview"), &job("staging"), &job("prod"), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recipe_of_gitlab_puts_a_new_app_live() {
    if !has_tools() {
        return;
    }
    let machine = Machine::new(&["GITLAB_", "CI_"]);
    let (yaml, template) = (read("examples/ci/gitlab-ci.yml"), read("deploy/gitlab/devanture.yml"));
    assert_eq!(yaml["include"][0]["local"].as_str(), Some(".gitlab/devanture.yml"));
    let base = &template[".devanture"];
    let job = |name: &str| {
        let job = &yaml[name];
        let extended = &template[job["extends"].as_str().unwrap()];
        assert_eq!(extended["extends"].as_str(), Some(".devanture"));
        let mut variables = table(&template["variables"]);
        variables.extend(table(&yaml["variables"]));
        variables.extend(table(&job["variables"]));
        // A variable may name another one.
        let filled = |value: String| {
            value.strip_prefix('$').map_or_else(|| value.clone(), |name| machine.settings[name].clone())
        };
        let mut variables: Variables = variables.into_iter().map(|(name, value)| (name, filled(value))).collect();
        variables.extend(machine.settings.clone());
        let lines = list(&base["before_script"]).iter().chain(list(&extended["script"]));
        let script = lines.map(|line| line.as_str().unwrap()).collect::<Vec<_>>().join("\n");
        Job { has_checkout: true, has_dist: true, variables, scripts: vec![script] }
    };
    machine.rounds(&["-eo", "pipefail"], &job("preview"), &job("staging"), &job("prod"), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recipe_of_circleci_puts_a_new_app_live() {
    if !has_tools() {
        return;
    }
    let (machine, yaml) = (Machine::new(&["CIRCLE"]), read("examples/ci/circleci.yml"));
    let script = |step: &Yaml| -> Option<String> {
        let run = &step["run"];
        run.as_str().or_else(|| run["command"].as_str()).map(str::to_owned)
    };
    let job = |name: &str, token: &str| {
        let job = &yaml["jobs"][name];
        let steps = list(&job["steps"]);
        let shared = list(&yaml["commands"]["get-client"]["steps"]);
        let scripts = steps.iter().flat_map(|step| match step.as_str() {
            Some("get-client") => shared.iter().filter_map(script).collect::<Vec<_>>(),
            _ => script(step).into_iter().collect(),
        });
        let mut variables = table(&job["environment"]);
        // What the job's context holds.
        for (name, setting) in
            [("DEVANTURE_URL", "EDGE_URL"), ("DEVANTURE_TOKEN", token), ("GITHUB_TOKEN", "GITHUB_TOKEN")]
        {
            variables.insert(name.to_owned(), machine.settings[setting].clone());
        }
        Job {
            has_checkout: steps.iter().any(|step| step.as_str() == Some("checkout")),
            has_dist: steps.iter().any(|step| step.as_hash().is_some() && !step["attach_workspace"].is_badvalue()),
            variables,
            scripts: scripts.collect(),
        }
    };
    let jobs = [("preview", "PREVIEW_TOKEN"), ("staging", "STAGING_TOKEN"), ("prod", "PROD_TOKEN")];
    let [preview, staging, prod] = jobs.map(|(name, token)| job(name, token));
    machine.rounds(&["-eo", "pipefail"], &preview, &staging, &prod, false).await;
}
