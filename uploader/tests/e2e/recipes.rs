//! The recipes of `examples/ci`, with the action and the template of `deploy`, run unchanged against a real edge,
//! starting without an app, and without a secret of the edge.
//!
//! The CI system's own work is simulated by `recipe_machine` and here: secrets, conditions of steps, inheritance of
//! jobs. Small programs stand in for its tools: `sudo`, `apt-get`, an `npm` that installs the command line, `gh`, and a
//! `curl` that accepts comments; GitHub's comments are in `recipe_comments`.

use serde_json::{Value, json};
use yaml_rust2::Yaml;

use super::recipe_machine::{COMMIT, Identity, Job, Jobs, Machine, Variables, has_tools, list, read, table};

/// The claims of a job of GitHub for a pull request, or for `main`.
fn of_github(event: &str, environment: Option<&str>) -> Value {
    let branch = if event == "push" { "refs/heads/main" } else { "refs/pull/12/merge" };
    json!({ "repository": "acme/shop", "ref": branch, "event_name": event, "environment": environment })
}

/// The recipe of GitHub, with its action.
struct OfGitHub<'m> {
    machine: &'m Machine,
    recipe: Yaml,
    action: Yaml,
}

impl<'m> OfGitHub<'m> {
    fn new(machine: &'m Machine) -> Self {
        let (recipe, action) = (read("examples/ci/github-actions.yml"), read("deploy/github-action/action.yml"));
        Self { machine, recipe, action }
    }

    fn filled(&self, text: &str, inputs: &Variables) -> String {
        let results = self.machine.folder.path().to_str().unwrap();
        let mut text =
            text.replace("${{ github.event.number }}", "12").replace("${{ github.token }}", "token-of-the-workflow");
        text = text.replace("${{ github.event.pull_request.head.sha || github.sha }}", COMMIT);
        text = text.replace("${{ runner.temp }}", results);
        for (name, value) in &self.machine.settings {
            for table in ["vars", "secrets"] {
                text = text.replace(&format!("${{{{ {table}.{name} }}}}"), value);
            }
        }
        for (name, value) in inputs {
            text = text.replace(&format!("${{{{ inputs.{name} }}}}"), value);
        }
        assert!(!text.contains("${{"), "{text}");
        text
    }

    /// Adds the steps of the action used by a step of the recipe, with the inputs from the recipe.
    fn add_action(&self, step: &Yaml, more: &Variables, job: &mut Job) {
        let defaults = self.action["inputs"].as_hash().unwrap().iter();
        let defaults = defaults.filter_map(|(name, input)| Some((name.as_str()?, input["default"].as_str()?)));
        let mut inputs: Variables = defaults.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        inputs.extend(table(&step["with"]));
        inputs.extend(more.clone());
        let none = Variables::new();
        let inputs: Variables = inputs.into_iter().map(|(name, value)| (name, self.filled(&value, &none))).collect();
        for step in list(&self.action["runs"]["steps"]) {
            let is_meant = step["if"].as_str().is_none_or(|condition| {
                let (name, value) = condition.strip_prefix("inputs.").unwrap().split_once(" == ").unwrap();
                inputs[name] == value.trim_matches('\'')
            });
            if is_meant {
                let variables = table(&step["env"]).into_iter();
                job.variables.extend(variables.map(|(name, value)| (name, self.filled(&value, &inputs))));
                job.scripts.push(step["run"].as_str().unwrap().to_owned());
            }
        }
    }

    /// A job of the recipe, with more inputs of the action.
    fn job(&self, name: &str, event: &str, inputs: &Variables) -> Job {
        let yaml = &self.recipe["jobs"][name];
        // GitHub gives no identity token to a job without this permission.
        let identity = match self.recipe["permissions"]["id-token"].as_str() {
            Some("write") => Identity::GitHub(of_github(event, yaml["environment"]["name"].as_str())),
            _ => Identity::None,
        };
        let variables = Variables::new();
        let mut job = Job { has_checkout: false, has_dist: false, identity, variables, scripts: Vec::new() };
        for step in list(&yaml["steps"]) {
            match (step["uses"].as_str(), step["run"].as_str()) {
                (Some("./.github/actions/devanture"), _) => self.add_action(step, inputs, &mut job),
                (Some(uses), _) => job.has_checkout |= uses.contains("checkout"),
                (None, run) => job.scripts.push(run.unwrap().to_owned()),
            }
        }
        job
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recipe_of_github_puts_a_new_app_live() {
    if !has_tools() {
        return;
    }
    let machine = Machine::new(&["GITHUB_"], "github-actions.toml");
    let (recipe, none) = (OfGitHub::new(&machine), Variables::new());
    let jobs = Jobs {
        preview: recipe.job("preview", "pull_request", &none),
        staging: recipe.job("staging", "push", &none),
        prod: recipe.job("prod", "push", &none),
        remove: Some(recipe.job("remove", "pull_request", &none)),
    };
    machine.rounds(&jobs, true).await;
    // A pull request that changes the workflow can name any environment, and stays a pull request.
    for name in ["staging", "prod"] {
        machine.is_refused(&recipe.job(name, "pull_request", &none)).await;
    }
    let mut claims = of_github("push", Some("prod"));
    claims["repository"] = json!("eve/shop");
    let stranger = Job { identity: Identity::GitHub(claims), ..recipe.job("prod", "push", &none) };
    machine.is_refused(&stranger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_action_of_github_takes_a_stored_token_too() {
    if !has_tools() {
        return;
    }
    let machine = Machine::new(&["GITHUB_"], "github-actions.toml");
    let recipe = OfGitHub::new(&machine);
    std::fs::write(machine.folder.path().join("repository/page.html"), "stored").unwrap();
    for (name, event, place, scope) in [
        ("preview", "pull_request", "preview", "push"),
        ("staging", "push", "staging", "push"),
        ("prod", "push", "prod", "promote"),
    ] {
        let inputs = [("token".to_owned(), machine.stored_token(place, scope))].into();
        machine.run(&Job { identity: Identity::None, ..recipe.job(name, event, &inputs) });
    }
    assert_eq!(machine.visit("feature-cards--shop.localhost").await, "stored");
    assert_eq!(machine.visit("shop.localhost").await, "stored");
    let inputs = [("token".to_owned(), machine.stored_token("preview", "push"))].into();
    machine.run(&Job { identity: Identity::None, ..recipe.job("remove", "pull_request", &inputs) });
}

/// The claims of a job of GitLab for a merge request, or for `main`.
fn of_gitlab(source: &str, environment: Option<&str>) -> Value {
    let (branch, is_protected) = if source == "push" { ("main", "true") } else { ("feature-cards", "false") };
    json!({
        "project_path": "acme/shop", "ref": branch, "ref_type": "branch", "ref_protected": is_protected,
        "pipeline_source": source, "environment": environment,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recipe_of_gitlab_puts_a_new_app_live() {
    if !has_tools() {
        return;
    }
    let machine = Machine::new(&["GITLAB_", "CI_"], "gitlab-ci.toml");
    let (yaml, template) = (read("examples/ci/gitlab-ci.yml"), read("deploy/gitlab/devanture.yml"));
    assert_eq!(yaml["include"][0]["local"].as_str(), Some(".gitlab/devanture.yml"));
    let base = &template[".devanture"];
    // A variable may refer to a second variable.
    let filled = |value: &str| match value.strip_prefix('$') {
        Some(name) => machine.settings[name].clone(),
        None => value.to_owned(),
    };
    let job = |name: &str, source: &str| {
        let job = &yaml[name];
        let extended = &template[job["extends"].as_str().unwrap()];
        assert_eq!(extended["extends"].as_str(), Some(".devanture"));
        let mut variables = table(&template["variables"]);
        for more in [&yaml["variables"], &extended["variables"], &job["variables"]] {
            variables.extend(table(more));
        }
        let mut variables: Variables = variables.into_iter().map(|(name, value)| (name, filled(&value))).collect();
        variables.extend(machine.settings.clone());
        let lines = list(&base["before_script"]).iter().chain(list(&extended["script"]));
        let script = lines.map(|line| line.as_str().unwrap()).collect::<Vec<_>>().join("\n");
        let audience = filled(base["id_tokens"]["DEVANTURE_ID_TOKEN"]["aud"].as_str().unwrap());
        let claims = of_gitlab(source, job["environment"]["name"].as_str());
        let has_files = variables.get("GIT_STRATEGY").is_none_or(|strategy| strategy != "none");
        let identity = Identity::Variable("DEVANTURE_ID_TOKEN", audience, claims);
        Job { has_checkout: has_files, has_dist: has_files, identity, variables, scripts: vec![script] }
    };
    let stopped_by = yaml["preview"]["environment"]["on_stop"].as_str().unwrap();
    assert_eq!(yaml[stopped_by]["environment"]["name"], yaml["preview"]["environment"]["name"]);
    let jobs = Jobs {
        preview: job("preview", "merge_request_event"),
        staging: job("staging", "push"),
        prod: job("prod", "push"),
        remove: Some(job(stopped_by, "merge_request_event")),
    };
    machine.rounds(&jobs, true).await;
    for name in ["staging", "prod"] {
        machine.is_refused(&job(name, "merge_request_event")).await;
    }
}

/// The organization and the project in the recipe's file, in CircleCI's terms.
const ORGANIZATION: &str = "ORGANIZATION_ID";

#[tokio::test(flavor = "multi_thread")]
async fn the_recipe_of_circleci_puts_a_new_app_live() {
    if !has_tools() {
        return;
    }
    let (machine, yaml) = (Machine::new(&["CIRCLE"], "circleci.toml"), read("examples/ci/circleci.yml"));
    let script = |step: &Yaml| -> Option<String> {
        let run = &step["run"];
        run.as_str().or_else(|| run["command"].as_str()).map(str::to_owned)
    };
    let job = |name: &str, branch: &str| {
        let job = &yaml["jobs"][name];
        let steps = list(&job["steps"]);
        let shared = list(&yaml["commands"]["get-client"]["steps"]);
        let scripts = steps.iter().flat_map(|step| match step.as_str() {
            Some("get-client") => shared.iter().filter_map(script).collect::<Vec<_>>(),
            _ => script(step).into_iter().collect(),
        });
        let mut variables = table(&job["environment"]);
        // The content of the job's context.
        for (name, setting) in [("DEVANTURE_URL", "EDGE_URL"), ("GITHUB_TOKEN", "GITHUB_TOKEN")] {
            variables.insert(name.to_owned(), machine.settings[setting].clone());
        }
        let claims = json!({
            "oidc.circleci.com/project-id": "PROJECT_ID", "oidc.circleci.com/vcs-ref": format!("refs/heads/{branch}"),
            "oidc.circleci.com/context-ids": ["context"],
        });
        Job {
            has_checkout: steps.iter().any(|step| step.as_str() == Some("checkout")),
            has_dist: steps.iter().any(|step| step.as_hash().is_some() && !step["attach_workspace"].is_badvalue()),
            identity: Identity::Variable("CIRCLE_OIDC_TOKEN_V2", ORGANIZATION.to_owned(), claims),
            variables,
            scripts: scripts.collect(),
        }
    };
    let jobs = Jobs {
        preview: job("preview", "feature-cards"),
        staging: job("staging", "main"),
        prod: job("prod", "main"),
        // CircleCI starts nothing when a branch is deleted: the preview expires.
        remove: None,
    };
    machine.rounds(&jobs, false).await;
    for name in ["staging", "prod"] {
        machine.is_refused(&job(name, "feature-cards")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recipe_of_buildkite_puts_a_new_app_live() {
    if !has_tools() {
        return;
    }
    let (machine, yaml) = (Machine::new(&["BUILDKITE"], "buildkite.toml"), read("examples/ci/buildkite.yml"));
    let job = |key: &str, branch: &str| {
        let step = list(&yaml["steps"]).iter().find(|step| step["key"].as_str() == Some(key)).unwrap();
        // Buildkite expands known variables when reading the file, and leaves `$$` to the shell.
        let script = step["command"].as_str().unwrap();
        assert!(!script.replace("$$", "").contains('$'), "{key}: {script}");
        let mut variables = table(&yaml["env"]);
        variables.insert("DEVANTURE_URL".to_owned(), machine.settings["EDGE_URL"].clone());
        let claims = json!({
            "organization_slug": "acme", "pipeline_slug": "shop", "build_branch": branch, "step_key": key,
            "build_source": "webhook", "runner_environment": "self-hosted",
        });
        Job {
            has_checkout: true,
            has_dist: script.contains("artifact download"),
            identity: Identity::Buildkite(claims),
            variables,
            scripts: vec![script.replace("$$", "$")],
        }
    };
    let jobs = Jobs {
        preview: job("preview", "feature-cards"),
        staging: job("staging", "main"),
        prod: job("prod", "main"),
        // Buildkite starts nothing when a branch is deleted: the preview expires.
        remove: None,
    };
    machine.rounds(&jobs, false).await;
    for name in ["staging", "prod"] {
        machine.is_refused(&job(name, "feature-cards")).await;
    }
}
