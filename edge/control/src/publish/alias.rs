//! Alias of a push.

use devanture_config::PlaceName;

use super::publisher::Publisher;
use super::pushes::Push;
use crate::aliases::{AliasOutcome, AliasRequestContext};
use crate::ledger::{Condition, Error};
use crate::switch::Steps;

impl Publisher {
    /// Points an alias at the pushed version.
    pub(crate) async fn push_alias(
        &self,
        push: &Push,
        name: &PlaceName,
        steps: &mut Steps,
    ) -> Result<AliasOutcome, Error> {
        let options = &push.options;
        let aliasing = AliasRequestContext {
            app: &push.app,
            name,
            version: push.version,
            actor: &push.actor,
            expires: options.alias_expires,
            push: Some((push.began.number, options.force)),
            half: push.following().map(|joined| (joined.half, joined.with)),
            environment: Some(&push.environment),
            if_live: options.if_live.as_deref(),
            condition: &Condition::default(),
        };
        let point = async {
            let aliased = self.environments.aliases.point_alias(&aliasing).await?;
            let to = push.version.short();
            let detail = match aliased.previous {
                Some(previous) if previous == push.version => format!("{name} is {to} already"),
                Some(previous) => format!("{name}: {} → {to}", previous.short()),
                None => format!("{name}: nothing → {to}"),
            };
            Ok((aliased, detail))
        };
        steps.run("alias", point).await
    }
}
