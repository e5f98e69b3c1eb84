//! Reads the variables of CI systems: the origin of a bundle. Pure: no `git`, no clock.

use std::collections::BTreeMap;

use devanture_config::api::Source;

/// The variables of one CI system.
struct System {
    /// The name in the history.
    name: &'static str,
    /// A variable that the system always sets.
    mark: &'static str,
    /// Variables of the commit, in the order of precedence.
    commit: &'static [&'static str],
    /// Variables of the branch; for a pull request the source branch comes first.
    branch: &'static [&'static str],
    /// Variables of the message of the commit or the pull request.
    message: &'static [&'static str],
    /// The same for the address of the run.
    url: &'static [&'static str],
}

/// The systems, in the order of the search for their marks: Jenkins may run beside a second system.
const SYSTEMS: [System; 7] = [
    System {
        name: "github",
        mark: "GITHUB_SHA",
        commit: &["GITHUB_SHA"],
        // On a pull request `GITHUB_REF_NAME` is `12/merge`.
        branch: &["GITHUB_HEAD_REF", "GITHUB_REF_NAME"],
        message: &[],
        url: &[],
    },
    System {
        name: "gitlab",
        mark: "GITLAB_CI",
        // In a pipeline of merged results `CI_COMMIT_SHA` is a commit without an author.
        commit: &["CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "CI_COMMIT_SHA"],
        branch: &["CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_BRANCH", "CI_COMMIT_REF_NAME"],
        message: &["CI_COMMIT_TITLE", "CI_COMMIT_MESSAGE"],
        url: &["CI_JOB_URL", "CI_PIPELINE_URL"],
    },
    System {
        name: "circleci",
        mark: "CIRCLECI",
        commit: &["CIRCLE_SHA1"],
        branch: &["CIRCLE_BRANCH"],
        message: &[],
        url: &["CIRCLE_BUILD_URL"],
    },
    System {
        name: "buildkite",
        mark: "BUILDKITE",
        commit: &["BUILDKITE_COMMIT"],
        branch: &["BUILDKITE_BRANCH"],
        message: &["BUILDKITE_MESSAGE"],
        url: &["BUILDKITE_BUILD_URL"],
    },
    System {
        name: "bitbucket",
        mark: "BITBUCKET_COMMIT",
        commit: &["BITBUCKET_COMMIT"],
        branch: &["BITBUCKET_BRANCH"],
        message: &[],
        url: &[],
    },
    System {
        name: "azure",
        mark: "TF_BUILD",
        commit: &["SYSTEM_PULLREQUEST_SOURCECOMMITID", "BUILD_SOURCEVERSION"],
        branch: &["SYSTEM_PULLREQUEST_SOURCEBRANCH", "BUILD_SOURCEBRANCH"],
        message: &["BUILD_SOURCEVERSIONMESSAGE"],
        url: &[],
    },
    System {
        name: "jenkins",
        mark: "JENKINS_URL",
        commit: &["GIT_COMMIT"],
        // Of a pull request `BRANCH_NAME` is `PR-12`.
        branch: &["CHANGE_BRANCH", "BRANCH_NAME", "GIT_LOCAL_BRANCH", "GIT_BRANCH"],
        message: &["CHANGE_TITLE"],
        url: &["RUN_DISPLAY_URL", "BUILD_URL"],
    },
];

/// Returns the origin from the variables of a CI system; empty without one.
pub(crate) fn source(environment: &BTreeMap<String, String>) -> Source {
    let value = |name: &str| environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    let Some(system) = SYSTEMS.iter().find(|system| value(system.mark).is_some()) else { return Source::default() };
    let first = |names: &[&str]| names.iter().find_map(|name| value(name)).map(str::to_owned);
    // A tag is not a branch; the commit identifies the push.
    let is_tag =
        value("GITHUB_REF_TYPE") == Some("tag") || value("CI_COMMIT_TAG").is_some() || value("BUILDKITE_TAG").is_some();
    let branch = first(system.branch).filter(|_| !is_tag).map(|branch| plain_branch(system, &branch));
    let url = first(system.url).or_else(|| match system.name {
        "github" => {
            let (server, repository) = (value("GITHUB_SERVER_URL")?, value("GITHUB_REPOSITORY")?);
            Some(format!("{server}/{repository}/actions/runs/{}", value("GITHUB_RUN_ID")?))
        }
        "azure" => {
            let (server, project) = (value("SYSTEM_TEAMFOUNDATIONCOLLECTIONURI")?, value("SYSTEM_TEAMPROJECT")?);
            let server = server.trim_end_matches('/');
            Some(format!("{server}/{project}/_build/results?buildId={}", value("BUILD_BUILDID")?))
        }
        "bitbucket" => {
            let (repository, number) = (value("BITBUCKET_REPO_FULL_NAME")?, value("BITBUCKET_BUILD_NUMBER")?);
            Some(format!("https://bitbucket.org/{repository}/pipelines/results/{number}"))
        }
        _ => None,
    });
    let message = first(system.message).and_then(|text| text.lines().next().map(str::to_owned));
    // For a manual build the commit may be a name, which is meaningless later.
    let commit = first(system.commit).filter(|commit| commit != "HEAD");
    Source { commit, branch, message, dirty: false, ci: Some(system.name.to_owned()), url }
}

/// Removes the prefix that some systems add to a branch.
fn plain_branch(system: &System, branch: &str) -> String {
    let branch = branch.strip_prefix("refs/heads/").unwrap_or(branch);
    let branch = if system.name == "jenkins" { branch.strip_prefix("origin/").unwrap_or(branch) } else { branch };
    branch.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses variables, written as lines `NAME=value`: system, commit, branch, message, address.
    fn fields(variables: &str) -> [String; 5] {
        let lines = variables.lines().filter_map(|line| line.trim().split_once('='));
        let source = source(&lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect());
        assert!(!source.dirty);
        [source.ci, source.commit, source.branch, source.message, source.url].map(Option::unwrap_or_default)
    }

    #[test]
    fn github_actions_reports_branch_pull_request_and_tag() {
        const RUN: &str = "GITHUB_ACTIONS=true\nGITHUB_SHA=abc\nGITHUB_SERVER_URL=https://github.com\n\
            GITHUB_REPOSITORY=me/shop\nGITHUB_RUN_ID=7\n";
        let url = "https://github.com/me/shop/actions/runs/7";
        for (more, branch) in [
            ("GITHUB_REF_TYPE=branch\nGITHUB_REF_NAME=main\nGITHUB_HEAD_REF=", "main"),
            ("GITHUB_REF_TYPE=branch\nGITHUB_REF_NAME=12/merge\nGITHUB_HEAD_REF=feature/x", "feature/x"),
            ("GITHUB_REF_TYPE=tag\nGITHUB_REF_NAME=v1.2", ""),
        ] {
            assert_eq!(fields(&format!("{RUN}{more}")), ["github", "abc", branch, "", url], "{more}");
        }
        assert_eq!(fields("GITHUB_SHA=abc\nGITHUB_REF_NAME=main"), ["github", "abc", "main", "", ""]);
    }

    #[test]
    fn gitlab_reports_branch_merge_request_and_tag() {
        const RUN: &str = "GITLAB_CI=true\nCI_COMMIT_SHA=abc\nCI_COMMIT_TITLE=New checkout\n\
            CI_COMMIT_MESSAGE=New checkout and more\nCI_JOB_URL=https://gitlab.com/j/1\nCI_PIPELINE_URL=https://no\n";
        let rest = |commit: &str, branch: &str| {
            ["gitlab", commit, branch, "New checkout", "https://gitlab.com/j/1"].map(str::to_owned)
        };
        for (more, commit, branch) in [
            ("CI_COMMIT_BRANCH=main\nCI_COMMIT_REF_NAME=main", "abc", "main"),
            (
                "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME=feature/x\nCI_MERGE_REQUEST_SOURCE_BRANCH_SHA=def\n\
                 CI_COMMIT_REF_NAME=refs/merge-requests/1/merge",
                "def",
                "feature/x",
            ),
            ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME=feature/x\nCI_MERGE_REQUEST_SOURCE_BRANCH_SHA=", "abc", "feature/x"),
            ("CI_COMMIT_TAG=v1\nCI_COMMIT_REF_NAME=v1", "abc", ""),
        ] {
            assert_eq!(fields(&format!("{RUN}{more}")), rest(commit, branch), "{more}");
        }
    }

    #[test]
    fn circleci_jenkins_and_others_report_theirs() {
        for (variables, expected) in [
            (
                "CIRCLECI=true\nCIRCLE_SHA1=abc\nCIRCLE_BRANCH=feature/x\nCIRCLE_BUILD_URL=https://circleci.com/1",
                ["circleci", "abc", "feature/x", "", "https://circleci.com/1"],
            ),
            ("CIRCLECI=true\nCIRCLE_SHA1=abc\nCIRCLE_TAG=v1", ["circleci", "abc", "", "", ""]),
            (
                "BUILDKITE=true\nBUILDKITE_COMMIT=abc\nBUILDKITE_BRANCH=feature/x\nBUILDKITE_MESSAGE=New checkout\n\
                 BUILDKITE_BUILD_URL=https://buildkite.com/acme/shop/builds/1",
                ["buildkite", "abc", "feature/x", "New checkout", "https://buildkite.com/acme/shop/builds/1"],
            ),
            (
                "BUILDKITE=true\nBUILDKITE_COMMIT=HEAD\nBUILDKITE_BRANCH=v1\nBUILDKITE_TAG=v1",
                ["buildkite", "", "", "", ""],
            ),
            (
                "JENKINS_URL=https://ci\nGIT_COMMIT=abc\nGIT_BRANCH=origin/main\nBUILD_URL=https://ci/job/1/",
                ["jenkins", "abc", "main", "", "https://ci/job/1/"],
            ),
            (
                "JENKINS_URL=https://ci\nGIT_COMMIT=abc\nBRANCH_NAME=PR-12\nCHANGE_BRANCH=feature/x\nCHANGE_TITLE=Checkout",
                ["jenkins", "abc", "feature/x", "Checkout", ""],
            ),
            (
                "TF_BUILD=True\nBUILD_SOURCEVERSION=abc\nBUILD_SOURCEBRANCH=refs/heads/feature/x",
                ["azure", "abc", "feature/x", "", ""],
            ),
            (
                "BITBUCKET_COMMIT=abc\nBITBUCKET_BRANCH=main\nBITBUCKET_REPO_FULL_NAME=me/shop\nBITBUCKET_BUILD_NUMBER=3",
                ["bitbucket", "abc", "main", "", "https://bitbucket.org/me/shop/pipelines/results/3"],
            ),
            ("GIT_COMMIT=abc\nCI=true\nHOME=/x", ["", "", "", "", ""]),
            ("GITHUB_SHA=\nCIRCLECI=", ["", "", "", "", ""]),
        ] {
            assert_eq!(fields(variables), expected, "{variables}");
        }
    }
}
