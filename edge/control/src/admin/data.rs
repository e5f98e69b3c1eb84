//! Operations on the data of environments: lists, archives, snapshots.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::api::{DATA_ARCHIVE_TYPE, DATA_LIST_DEFAULT, DATA_LIST_MAX, DataRest, SnapshotRequest};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName};
use futures_util::{Stream, StreamExt as _, stream};
use http::{StatusCode, Uri};
use tokio_util::sync::CancellationToken;

use super::call::{Answer, Call, parsed};
use super::state::Admin;
use super::{answer, body};
use crate::access::InForce;
use crate::ledger::Error;
use crate::publish::OtherNode;
use crate::runner::Upload;

impl Admin {
    pub(super) async fn data(&self, call: Call) -> Answer {
        let (app, environment) = self.data_place(&call)?;
        let default = usize::try_from(DATA_LIST_DEFAULT).unwrap_or(usize::MAX);
        let entries_max = u64::try_from(body::number(call.uri(), "limit", default)?).unwrap_or(u64::MAX);
        if entries_max > DATA_LIST_MAX {
            return Err(Problem::new(Code::BadRequest, format!("`limit` is at most {DATA_LIST_MAX}.")).into());
        }
        let list = self.publisher.environments().data.data_list((&app, &environment), entries_max).await?;
        Ok(answer::json(StatusCode::OK, &list))
    }

    pub(super) async fn data_archive(&self, call: Call) -> Answer {
        let (app, environment) = self.data_place(&call)?;
        let snapshot = body::parameter(call.uri(), "snapshot").map(|name| parsed(&name)).transpose()?;
        let rest = rest(call.uri())?;
        let environments = self.publisher.environments();
        let archive = environments.data.data_archive(&call.actor, (&app, &environment), snapshot, rest).await?;
        let in_force = self.credentials.in_force(call.actor).await;
        let bytes = stream::unfold(archive, async |mut archive| {
            let next = archive.next().await?;
            Some((next.map_err(io::Error::other), archive))
        });
        Ok(answer::streamed_whole(DATA_ARCHIVE_TYPE, while_in_force(bytes, in_force)))
    }

    pub(super) async fn push_data(&self, call: Call) -> Answer {
        let (app, environment) = self.data_place(&call)?;
        let Call { actor, request, .. } = call;
        let is_replacing = body::flag(request.uri(), "replace")?;
        body::check_media_type(request.headers(), DATA_ARCHIVE_TYPE)
            .map_err(|Error(problem)| problem.hint("send `tar -c . | zstd`"))?;
        let upload: Upload = stream::unfold(Some(request.into_body()), async |body| {
            let mut body = body?;
            match body.next().await {
                Ok(None) => None,
                Ok(Some(bytes)) => Some((Ok(bytes), Some(body))),
                Err(Error(problem)) => Some((Err(problem.detail), None)),
            }
        })
        .boxed();
        let publisher = Arc::clone(&self.publisher);
        let abandoned = CancellationToken::new();
        let _client = abandoned.clone().drop_guard();
        let push = async move {
            let environments = publisher.environments();
            environments.data.data_push(&actor, (&app, &environment), (is_replacing, upload), &abandoned).await
        };
        Ok(answer::json(StatusCode::OK, &self.publisher.to_its_end(push).await?))
    }

    pub(super) async fn make_snapshot(&self, call: Call) -> Answer {
        let (app, environment) = self.data_place(&call)?;
        let Call { actor, request, .. } = call;
        let dry_run = body::dry_run(request.uri())?;
        let wanted: SnapshotRequest = self.json_or_default(request).await?;
        let publisher = Arc::clone(&self.publisher);
        let abandoned = CancellationToken::new();
        let _client = abandoned.clone().drop_guard();
        let make = async move {
            let environments = publisher.environments();
            environments.data.data_snapshot(&actor, (&app, &environment), (wanted, dry_run), &abandoned).await
        };
        Ok(answer::json(StatusCode::OK, &self.publisher.to_its_end(make).await?))
    }

    pub(super) async fn restore_snapshot(&self, call: Call) -> Answer {
        let (app, environment) = self.data_place(&call)?;
        let (name, dry_run) = (call.path.snapshot()?, body::dry_run(call.uri())?);
        let (publisher, actor) = (Arc::clone(&self.publisher), call.actor);
        let abandoned = CancellationToken::new();
        let _client = abandoned.clone().drop_guard();
        let restore = async move {
            let environments = publisher.environments();
            environments.data.data_restore(&actor, (&app, &environment), (name, dry_run), &abandoned).await
        };
        Ok(answer::json(StatusCode::OK, &self.publisher.to_its_end(restore).await?))
    }

    pub(super) async fn delete_snapshot(&self, call: Call) -> Answer {
        let (app, environment) = self.data_place(&call)?;
        let (name, dry_run) = (call.path.snapshot()?, body::dry_run(call.uri())?);
        let (publisher, actor) = (Arc::clone(&self.publisher), call.actor);
        let abandoned = CancellationToken::new();
        let _client = abandoned.clone().drop_guard();
        let remove = async move {
            let environments = publisher.environments();
            environments.data.data_remove(&actor, (&app, &environment), (name, dry_run), &abandoned).await
        };
        Ok(answer::json(StatusCode::OK, &self.publisher.to_its_end(remove).await?))
    }

    /// Returns the other node named by a request.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub(super) async fn named_node(&self, uri: &Uri) -> Result<Option<OtherNode<'_>>, Error> {
        match body::parameter(uri, "node") {
            Some(node) => self.publisher.node_called(&node).await,
            None => Ok(None),
        }
    }

    fn data_place(&self, call: &Call) -> Result<(AppName, PlaceName), Error> {
        let node = body::parameter(call.uri(), "node");
        self.publisher.environments().data.check_data_node(node.as_deref())?;
        call.path.place()
    }
}

/// Aborts an archive when its credential ends: a slow client may read for hours.
fn while_in_force(
    archive: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    in_force: InForce,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::unfold(Some((Box::pin(archive), in_force)), |state| async {
        let (mut archive, mut in_force) = state?;
        let next = archive.next().await?;
        if in_force.is_good().await {
            return Some((next, Some((archive, in_force))));
        }
        Some((Err(io::Error::other("the token has expired or was revoked")), None))
    })
}

/// Returns the part of an archive that the client already has, for a resumed download.
fn rest(uri: &Uri) -> Result<Option<DataRest>, Error> {
    match (body::parameter(uri, "from"), body::parameter(uri, "digest")) {
        (None, None) => Ok(None),
        (Some(_), Some(digest)) => {
            let from = u64::try_from(body::number(uri, "from", 0)?).unwrap_or(u64::MAX);
            Ok(Some(DataRest { from, digest: parsed(&digest)? }))
        }
        _ => Err(Problem::new(Code::BadRequest, "`from` and `digest` come together.").into()),
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::api::{Scope, TokenRequest};
    use devanture_config::limits::Limits;

    use super::*;
    use crate::access::Credentials;
    use crate::ledger::{Actor, Audit};
    use devanture_store::catalog;

    #[tokio::test]
    async fn an_archive_breaks_off_with_the_token_that_it_is_for() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
        let limits = Limits::default();
        let audit = Audit::new(Arc::clone(&catalog), &limits);
        let credentials = Arc::new(Credentials::new(catalog, audit, &limits));
        let (name, scope) = ("data".to_owned(), Scope::Push);
        let request = TokenRequest { name, app: None, environment: None, scope, expires_in_s: None };
        let made = credentials.create(&Actor::local(), request).await.unwrap();
        let actor = credentials.recognise(&made.token, None).await.unwrap();
        let endless = stream::repeat_with(|| Ok(Bytes::from_static(b"piece")));
        let mut archive = Box::pin(while_in_force(endless, credentials.in_force(actor).await));
        for _ in 0..3 {
            assert_eq!(archive.next().await.unwrap().unwrap(), "piece");
        }
        credentials.revoke(&Actor::local(), &made.id).await.unwrap();
        assert!(archive.next().await.unwrap().is_err());
        assert!(archive.next().await.is_none());
    }
}
