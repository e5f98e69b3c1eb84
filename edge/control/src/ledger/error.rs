//! Maps errors of lower layers to problems of the API.

use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;

use devanture_base::durable;
use devanture_serve::live::LoadError;
use devanture_serve::proxy::address::{Reason, Refusals};
use devanture_serve::version;
use devanture_serve::version::RuleFileError;
use devanture_store::s3;
use devanture_store::{blobs, catalog};

/// Seconds until the retry of a request received during a takeover by a new edge.
const RESTARTING_RETRY_S: u64 = 1;

/// Seconds until the retry of a request received while changes are paused for a move to another store.
const MOVING_RETRY_S: u64 = 2;
/// Seconds until the retry of a request without a reachable catalog: an election of etcd takes about two seconds.
const UNAVAILABLE_RETRY_S: u64 = 5;
/// Seconds until the retry of a request without a reachable bucket.
const STORE_RETRY_S: u64 = 5;

/// Problem that stopped a request.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub Box<Problem>);

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl From<blobs::Error> for Error {
    fn from(error: blobs::Error) -> Self {
        let problem = match &error {
            blobs::Error::Corrupt { .. } => Problem::new(Code::NotReady, format!("A stored file is damaged: {error}."))
                .hint("push the bundle again: the damaged file is then replaced"),
            blobs::Error::OutOfFiles { .. } => {
                let hint = "make room for files on the disk of data_dir, as with `devanture delete VERSION --now --purge` and `devanture gc`, then push again: what was stored is not sent twice";
                Problem::new(Code::DiskFull, "The disk of the edge has no room for more files: nothing new is stored.")
                    .hint(hint)
            }
            blobs::Error::Short { .. } => {
                let hint = "make room on the disk of data_dir, as with `devanture delete VERSION --now --purge` and `devanture gc`, then push again: what was stored is not sent twice; `disk_free_bytes_min` in edge.toml is the limit";
                Problem::new(Code::DiskFull, "The disk of the edge is almost full: nothing new is stored.").hint(hint)
            }
            blobs::Error::Disk(error) => disk_failed(error),
            blobs::Error::Mismatch { expected, found } => {
                Problem::new(Code::BlobMismatch, format!("The bytes sent as {expected} have the hash {found}."))
                    .hint("the file changed while it was sent, or was damaged on the way: push again")
            }
            blobs::Error::Remote(error) => store_failed(error),
            blobs::Error::Missing(_) => Problem::new(Code::NotReady, format!("A stored file is gone: {error}."))
                .hint("push the bundle again: the missing file is then uploaded"),
        };
        problem.into()
    }
}

impl From<durable::Error> for Error {
    fn from(error: durable::Error) -> Self {
        disk_failed(&error).into()
    }
}

impl From<s3::Error> for Error {
    fn from(error: s3::Error) -> Self {
        let (code, hint) = match &error {
            s3::Error::Clock { .. } => (Code::StoreRefused, "set the clock of this machine, then try again"),
            s3::Error::Denied { .. } => {
                let hint = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that they may list, read, write and delete objects of the bucket";
                (Code::StoreRefused, hint)
            }
            s3::Error::Failed { .. } => (Code::StoreUnavailable, "try again; the store's own log says more"),
            s3::Error::Full { .. } => (Code::DiskFull, "make room in the store or raise its quota, then try again"),
            s3::Error::NoBucket { .. } => {
                (Code::StoreRefused, "create the bucket, or correct its name, AWS_REGION or AWS_ENDPOINT_URL")
            }
            s3::Error::NoCredentials { .. } => {
                (Code::StoreRefused, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role")
            }
            s3::Error::Region { .. } => (Code::StoreRefused, "set AWS_REGION to the region of the bucket"),
            s3::Error::Settings { .. } => (Code::StoreRefused, "correct the variable and try again"),
            s3::Error::Unreachable { .. } => {
                (Code::StoreUnavailable, "check AWS_ENDPOINT_URL and the network, then try again")
            }
            s3::Error::Untrusted { .. } => {
                (Code::StoreRefused, "name the file of the authority that the certificate is from in AWS_CA_BUNDLE")
            }
        };
        Problem::new(code, sentence(&error.to_string())).hint(hint).into()
    }
}

impl From<catalog::Error> for Error {
    fn from(error: catalog::Error) -> Self {
        let problem = match &error {
            catalog::Error::Conflict { .. } => {
                Problem::new(Code::Conflict, "Somebody else changed the same record at the same time.")
                    .hint("try again")
            }
            catalog::Error::Full => Problem::new(Code::DiskFull, "The edge has no room left to write its records.")
                .hint("make room on the disk of data_dir, as with `devanture delete VERSION --now --purge` and `devanture gc`, then try again"),
            catalog::Error::Replaced { .. } => replaced(&error),
            catalog::Error::TooOften { wait_ms } => {
                let seconds = wait_ms.div_ceil(1_000).max(1);
                Problem::new(
                    Code::TooManyAttempts,
                    "This token or account has made as many changes as it may in a minute.",
                )
                .hint(format!(
                    "try again in {}; `writes_per_minute_max` in edge.toml is the limit",
                    counted(seconds, "second")
                ))
                .retry_after(seconds)
            }
            catalog::Error::HandedOver => restarting(),
            catalog::Error::Paused => moving(),
            catalog::Error::Denied { .. } | catalog::Error::Unavailable { .. } => unavailable(&error),
            catalog::Error::Quota => Problem::new(Code::DiskFull, sentence(&error.to_string())).hint("compact and defragment etcd or raise its quota, disarm the alarm, then try again"),
            catalog::Error::TooLarge { .. } => Problem::new(Code::TooMany, sentence(&error.to_string()))
                .hint("make the change in smaller parts"),
            catalog::Error::Undecided { .. } => {
                Problem::new(Code::OutcomeUnknown, "The catalog stopped answering: the change was made as a whole or not at all.")
                    .hint("look at the current state before you try again")
                    .retry_after(UNAVAILABLE_RETRY_S)
            }
            catalog::Error::LeaseLost => {
                let detail = "The node counted as gone for a while: nothing was changed.";
                Problem::new(Code::NotReady, detail).hint("do it again")
            }
            // The caller waits for a stopping edge; the next edge answers the retry.
            catalog::Error::Ending => Problem::new(Code::NotReady, "The edge is shutting down.").hint("try again in a moment"),
            catalog::Error::Damaged { .. } => damaged(&error),
            catalog::Error::Unreadable { .. } => unreadable(&error),
            catalog::Error::Unwritable { .. } => unwritable(&error),
            catalog::Error::Locked { .. }
            | catalog::Error::OtherOrigin { .. }
            | catalog::Error::Store(_) => internal(&error),
        };
        problem.into()
    }
}

impl From<RuleFileError> for Error {
    fn from(error: RuleFileError) -> Self {
        tracing::error!(%error, "a rule file cannot be read");
        let detail = format!("The version cannot be used: {error}.");
        Problem::new(Code::NotReady, detail).hint("push the bundle again: the damaged file is then replaced").into()
    }
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Catalog(error) => error.into(),
            LoadError::Busy { .. } => Problem::new(Code::Busy, format!("{error}.")).hint("try again").into(),
            LoadError::NoAlias { .. } | LoadError::Unknown { .. } => {
                Problem::new(Code::NotFound, format!("{error}.")).into()
            }
            LoadError::Version(version::Error::OverMemory(error)) => {
                Problem::new(Code::AppMemoryFull, sentence(&error.to_string())).hint(OVER_MEMORY_HINT).into()
            }
            LoadError::Version(version::Error::Blobs(error)) => error.into(),
            LoadError::Version(version::Error::RuleFile(error)) => error.into(),
            LoadError::Version(version::Error::Manifest(error)) => internal(&error).into(),
            LoadError::Version(error @ version::Error::Panicked) => internal(&error).into(),
            LoadError::Version(error @ version::Error::Size { .. }) => {
                tracing::error!(%error, "a stored version cannot be loaded");
                let hint = "push it again with the true length of each file";
                Problem::new(Code::NotReady, format!("The version cannot be loaded: {error}.")).hint(hint).into()
            }
        }
    }
}

impl From<Refusals> for Error {
    fn from(refusals: Refusals) -> Self {
        let hint = match refusals.reason() {
            Some(Reason::SocketNotAllowed) => "add its folder to [upstreams] sockets in edge.toml".to_owned(),
            Some(Reason::NotAllowed(_)) => format!(
                "write {} below [upstreams] in edge.toml, or have an admin of every app push it",
                refusals.allow_line()
            ),
            Some(Reason::Internal | Reason::Never(_) | Reason::Node | Reason::Own) | None => {
                "point the route somewhere else: no setting allows this".to_owned()
            }
        };
        Problem::new(Code::UpstreamForbidden, refusals.to_string()).hint(hint).into()
    }
}

/// The shared bucket failed. The details concern the operator, and are hidden from the client.
fn store_failed(error: &s3::Error) -> Problem {
    tracing::error!(%error, "the bucket of the stored files fails");
    match error {
        s3::Error::Full { .. } => Problem::new(Code::DiskFull, "The edge has no room left to store the bundle.")
            .hint("make room in the bucket of `[blobs]` in edge.toml, or raise its quota, then push again"),
        _ => Problem::new(Code::StoreUnavailable, "The store of the edge's files cannot be reached, or refuses.")
            .hint("try again in a moment: what was stored is not sent twice; the log of the edge says more")
            .retry_after(STORE_RETRY_S),
    }
}

/// Refusal of changes during a takeover by a new edge.
pub(super) fn restarting() -> Problem {
    Problem::new(Code::Restarting, "A new edge takes over from this one.")
        .hint("try again in a moment; `devanture` does so by itself")
        .retry_after(RESTARTING_RETRY_S)
}

/// Refusal of changes during a pause, while the last changes are copied to another store.
pub(super) fn moving() -> Problem {
    Problem::new(Code::Restarting, "This edge moves to another store: nothing can be changed until it has.")
        .hint("try again in a moment; `devanture` does so by itself for two minutes")
        .retry_after(MOVING_RETRY_S)
}

/// Refusal while etcd is unreachable or refuses the edge; the log has the reason for the operator.
fn unavailable(error: &catalog::Error) -> Problem {
    tracing::warn!(%error, "a change was refused");
    Problem::new(
        Code::CatalogUnavailable,
        "The catalog cannot be reached; nothing was changed, and what is live stays.",
    )
    .hint("try again in a moment; the edge's log says more")
    .retry_after(UNAVAILABLE_RETRY_S)
}

fn disk_failed(error: &durable::Error) -> Problem {
    match error {
        durable::Error::Full { .. } => Problem::new(Code::DiskFull, "The edge has no room left to store the bundle.")
            .hint("make room on the disk of data_dir, as with `devanture delete VERSION --now --purge` and `devanture gc`, then push again: what was stored is not sent twice"),
        durable::Error::Gone { .. } => unwritable(error),
        durable::Error::Io { .. } if error.is_unwritable() => unwritable(error),
        durable::Error::Io { .. } if error.is_unreadable() => unreadable(error),
        durable::Error::Io { .. } => internal(error),
        durable::Error::Replaced { .. } => replaced(error),
    }
}

/// Refusal while the disk accepts no writes, full or not; the log has the reason for the operator.
fn unwritable(error: &dyn std::error::Error) -> Problem {
    tracing::error!(%error, "the disk cannot be written, and a change was refused");
    Problem::new(
        Code::DiskUnwritable,
        "The disk of the edge cannot be written: nothing was changed, and what is live stays.",
    )
    .hint("inform the operator of the edge, for whom docs/runbooks/disk-unwritable.md says what to do")
}

/// A needed read from the disk failed, which says nothing about writes.
fn unreadable(error: &dyn std::error::Error) -> Problem {
    tracing::error!(%error, "the disk cannot be read, and what needed it was refused");
    Problem::new(Code::Internal, "The disk of the edge cannot be read: nothing was changed, and what is live stays.")
        .hint("inform the operator of the edge, whose log names what cannot be read: docs/runbooks/disk-unwritable.md")
}

/// The data folder was replaced since the edge opened the folder.
fn replaced(error: &impl std::fmt::Display) -> Problem {
    Problem::new(Code::NotReady, format!("{error}."))
        .hint("put the data folder back, or restore it from a backup and start the edge again; until then it serves what is live and stores nothing")
}

/// Hint for an app over its memory budget.
const OVER_MEMORY_HINT: &str = "delete environments that nobody needs, or publish fewer files and rules; \
                                `app_memory_bytes_max` in edge.toml is the limit";

/// Turns an error's text into a sentence.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(characters).chain(['.']).collect()
}

/// Problem of a task without a result.
pub fn lost(error: &tokio::task::JoinError) -> Error {
    internal(error).into()
}

/// Refusal of work on the damaged page of the catalog; other work continues.
fn damaged(error: &catalog::Error) -> Problem {
    tracing::error!(%error, "a record cannot be read or written");
    Problem::new(
        Code::Internal,
        "A page of the edge's catalog is damaged: this cannot be done, and what is live is served.",
    )
    .hint("inform the operator of the edge, for whom docs/runbooks/catalog-damaged.md says what to do")
}

/// Hides an internal error from the client; the details are only in the edge's log.
fn internal(error: &dyn std::error::Error) -> Problem {
    tracing::error!(%error, "a request to publish failed");
    Problem::new(Code::Internal, "The edge failed; its log says more.")
        .hint("try again, and inform the operator of the edge")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_called_so_and_says_nothing_of_what_can_be_written() {
        // ENOENT, EIO, EACCES and EROFS.
        for (doing, errno, code, words) in [
            ("reading", 5, Code::Internal, "cannot be read"),
            ("opening", 13, Code::Internal, "cannot be read"),
            ("looking for", 13, Code::Internal, "cannot be read"),
            ("copying", 5, Code::Internal, "cannot be read"),
            ("reading", 2, Code::Internal, "its log says more"),
            ("creating", 13, Code::DiskUnwritable, "cannot be written"),
            ("renaming to", 30, Code::DiskUnwritable, "cannot be written"),
            ("writing", 5, Code::DiskUnwritable, "cannot be written"),
        ] {
            let source = std::io::Error::from_raw_os_error(errno);
            let error = Error::from(durable::Error::Io { doing, path: "a".to_owned(), source });
            assert!(error.0.code == code && error.0.detail.contains(words), "{doing} {errno}: {:?}", error.0);
        }
        let reason = || "EIO".to_owned();
        let read = Error::from(catalog::Error::Unreadable { reason: reason() });
        let written = Error::from(catalog::Error::Unwritable { reason: reason() });
        assert!(read.0.detail.contains("cannot be read") && written.0.detail.contains("cannot be written"));
    }
}
