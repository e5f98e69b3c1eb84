//! Deploys in a history, and the sources of versions.

use devanture_config::api::{Deploy, DeployProblem, Source, Step};

use crate::records::{StoredDeploy, StoredProblem, StoredSource, StoredStep};

impl From<Deploy> for StoredDeploy {
    fn from(deploy: Deploy) -> Self {
        let Deploy {
            id,
            kind,
            environment,
            version,
            previous,
            who,
            at_ms,
            source,
            steps,
            outcome,
            alias,
            problem,
            log,
            settings,
            went_back,
            reason,
            halves,
            with,
        } = deploy;
        Self {
            id,
            kind: kind.into(),
            environment,
            version,
            previous,
            who,
            at_ms,
            source: source.into(),
            steps: steps.into_iter().map(StoredStep::from).collect(),
            outcome: outcome.into(),
            alias,
            problem: problem.map(StoredProblem::from),
            log,
            settings,
            went_back,
            reason,
            halves,
            with,
        }
    }
}

impl From<StoredDeploy> for Deploy {
    fn from(deploy: StoredDeploy) -> Self {
        let StoredDeploy {
            id,
            kind,
            environment,
            version,
            previous,
            who,
            at_ms,
            source,
            steps,
            outcome,
            alias,
            problem,
            log,
            settings,
            went_back,
            reason,
            halves,
            with,
        } = deploy;
        Self {
            id,
            kind: kind.into(),
            environment,
            version,
            previous,
            who,
            at_ms,
            source: source.into(),
            steps: steps.into_iter().map(Step::from).collect(),
            outcome: outcome.into(),
            alias,
            problem: problem.map(DeployProblem::from),
            log,
            settings,
            went_back,
            reason,
            halves,
            with,
        }
    }
}

impl From<Source> for StoredSource {
    fn from(source: Source) -> Self {
        let Source { commit, branch, message, dirty, ci, url } = source;
        Self { commit, branch, message, dirty, ci, url }
    }
}

impl From<StoredSource> for Source {
    fn from(source: StoredSource) -> Self {
        let StoredSource { commit, branch, message, dirty, ci, url } = source;
        Self { commit, branch, message, dirty, ci, url }
    }
}

impl From<Step> for StoredStep {
    fn from(step: Step) -> Self {
        let Step { name, state, detail, ms } = step;
        Self { name, state: state.into(), detail, ms }
    }
}

impl From<StoredStep> for Step {
    fn from(step: StoredStep) -> Self {
        let StoredStep { name, state, detail, ms } = step;
        Self { name, state: state.into(), detail, ms }
    }
}

impl From<DeployProblem> for StoredProblem {
    fn from(problem: DeployProblem) -> Self {
        let DeployProblem { code, detail } = problem;
        Self { code, detail }
    }
}

impl From<StoredProblem> for DeployProblem {
    fn from(problem: StoredProblem) -> Self {
        let StoredProblem { code, detail } = problem;
        Self { code, detail }
    }
}
