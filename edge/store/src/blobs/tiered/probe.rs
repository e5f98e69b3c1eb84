//! Probes a bucket before use: the rights of the credentials, and the guarantees that a store needs.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt as _;

use crate::s3::{self, Bucket};
use devanture_base::clock::now_ms;

/// The object with the purpose of a prefix. Backups write a different text there, so that a store never takes over a
/// prefix of backups, nor the reverse.
const FORMAT_NAME: &str = "format";
/// The content of the format object.
const FORMAT: &str = "devanture-shared 1\n";
/// Longest time for one check.
const CHECK_MAX: Duration = Duration::from_secs(20);
/// Upper bound of the difference, in seconds, between the clocks of the store and of this machine: collections compare
/// the two.
const CLOCK_SECONDS_MAX: u64 = 300;
/// The first content, …
const FIRST: &[u8] = b"devanture probe: the first bytes";
/// … and its replacement.
const SECOND: &[u8] = b"devanture probe: other bytes, and more of them";

/// One check of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeCheck {
    /// The name of the check, such as `list what was just written`.
    pub name: &'static str,
    /// The reason of a failure, and the remedy; `None` after success.
    pub fault: Option<(String, &'static str)>,
    /// Duration in milliseconds.
    pub ms: u64,
}

/// The results of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// The bucket and its prefix.
    pub bucket: String,
    /// Every check, in order. The first two precede all others: after a fault in the first two, no further check is
    /// made.
    pub checks: Vec<ProbeCheck>,
}

impl ProbeReport {
    /// Returns true if the bucket is fit for use.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.checks.iter().all(|check| check.fault.is_none())
    }
}

/// A failed check: the reason and the remedy.
type Fault = (String, &'static str);

/// Writes, reads, lists and deletes objects below `probe/` of the bucket, and reports failures. States the purpose of
/// the prefix in a bucket that has no such object yet. Ends in bounded time.
pub async fn probe(bucket: &Bucket) -> ProbeReport {
    let folder = format!("probe/{}", hex::encode(rand::random::<[u8; 8]>()));
    let path = format!("{folder}/object");
    let mut probe = Probe { checks: Vec::new() };
    probe.run(bucket, &folder, &path).await;
    // After any failure: the test objects are removed as far as possible.
    drop(tokio::time::timeout(CHECK_MAX, bucket.remove([path, format!("{folder}/parts")])).await);
    ProbeReport { bucket: bucket.shown(""), checks: probe.checks }
}

struct Probe {
    checks: Vec<ProbeCheck>,
}

impl Probe {
    async fn run(&mut self, bucket: &Bucket, folder: &str, path: &str) {
        let is_ours = self.check("know what the prefix is for", format(bucket)).await;
        if !is_ours || !self.check("write an object", write(bucket, path, FIRST)).await {
            return;
        }
        self.check("read it", reads(bucket, path, FIRST)).await;
        self.check("read a part of it", reads_part(bucket, path)).await;
        self.check("list what was just written", lists(bucket, folder, path)).await;
        self.check("have the time of day", has_time(bucket, path)).await;
        self.check("replace it", replaces(bucket, path)).await;
        self.check("write an object in parts", writes_parts(bucket, &format!("{folder}/parts"))).await;
        self.check("delete it", deletes(bucket, path)).await;
    }

    /// Runs a check within its time limit. Returns true on success.
    async fn check(&mut self, name: &'static str, check: impl Future<Output = Result<(), Fault>> + Send) -> bool {
        let began = Instant::now();
        let late = || Err(("it did not end in time".to_owned(), "check the endpoint and the network"));
        let fault = tokio::time::timeout(CHECK_MAX, check).await.unwrap_or_else(|_elapsed| late()).err();
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let is_good = fault.is_none();
        self.checks.push(ProbeCheck { name, fault, ms });
        is_good
    }
}

/// Adds the remedy to an error.
fn fault(right: &'static str) -> impl Fn(s3::Error) -> Fault {
    move |error| {
        let hint = match &error {
            s3::Error::Clock { .. } => "set the clock of this machine",
            s3::Error::Denied { .. } => right,
            s3::Error::Failed { .. } => "the log of the store says more",
            s3::Error::Full { .. } => "make room in the store, or raise its quota",
            s3::Error::NoBucket { .. } => {
                "create the bucket, or correct `bucket` or `endpoint` of `[blobs]` in edge.toml"
            }
            s3::Error::NoCredentials { .. } => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role"
            }
            s3::Error::Region { .. } => "correct `region` of `[blobs]` in edge.toml",
            s3::Error::Settings { .. } => "correct the setting",
            s3::Error::Unreachable { .. } => "check `endpoint` of `[blobs]` in edge.toml and the network",
            s3::Error::Untrusted { .. } => "name the authority of the certificate in AWS_CA_BUNDLE",
        };
        (error.to_string(), hint)
    }
}

const READ: &str = "let the credentials read objects (s3:GetObject)";
const WRITE: &str = "let the credentials write objects (s3:PutObject)";
const LIST: &str = "let the credentials list the bucket (s3:ListBucket)";
const DELETE: &str = "let the credentials delete objects (s3:DeleteObject)";
const OTHER_STORE: &str = "use a store that answers with what was written last, as S3 does";

async fn format(bucket: &Bucket) -> Result<(), Fault> {
    match bucket.read(FORMAT_NAME).await.map_err(fault(READ))? {
        Some(found) if found == FORMAT => Ok(()),
        Some(_) => Err((
            format!("{} says that something else lies there", bucket.shown(FORMAT_NAME)),
            "name another `prefix` of `[blobs]` in edge.toml: backups have one of their own",
        )),
        None => write(bucket, FORMAT_NAME, FORMAT.as_bytes()).await,
    }
}

async fn write(bucket: &Bucket, path: &str, bytes: &'static [u8]) -> Result<(), Fault> {
    bucket.write(path, [Bytes::from_static(bytes)]).await.map_err(fault(WRITE))
}

async fn reads(bucket: &Bucket, path: &str, bytes: &[u8]) -> Result<(), Fault> {
    match bucket.read(path).await.map_err(fault(READ))? {
        Some(found) if found == bytes => Ok(()),
        Some(_) => Err(("other bytes were read than those that were written".to_owned(), OTHER_STORE)),
        None => Err(("it is not there".to_owned(), OTHER_STORE)),
    }
}

async fn reads_part(bucket: &Bucket, path: &str) -> Result<(), Fault> {
    let found = bucket.read_range(path, 10..15).await.map_err(fault(READ))?;
    match found.as_deref() == FIRST.get(10..15) {
        true => Ok(()),
        false => Err(("other bytes were read than those of the part".to_owned(), "use a store that honours ranges")),
    }
}

async fn lists(bucket: &Bucket, folder: &str, path: &str) -> Result<(), Fault> {
    let listed: Vec<s3::Entry> = bucket.list(folder).try_collect().await.map_err(fault(LIST))?;
    match listed.iter().any(|entry| entry.path == path && entry.size == FIRST.len() as u64) {
        true => Ok(()),
        false => Err(("it is not listed".to_owned(), "use a store that lists what was just written, as S3 does")),
    }
}

async fn has_time(bucket: &Bucket, path: &str) -> Result<(), Fault> {
    let written_s = bucket.head(path).await.map_err(fault(READ))?.map_or(0, |entry| entry.written_s);
    match written_s.abs_diff(now_ms() / 1_000) {
        0..=CLOCK_SECONDS_MAX => Ok(()),
        apart => Err((
            format!("the clocks of the store and of this machine are {apart} seconds apart"),
            "set both by NTP: what may be collected is found by comparing them",
        )),
    }
}

async fn replaces(bucket: &Bucket, path: &str) -> Result<(), Fault> {
    write(bucket, path, SECOND).await?;
    reads(bucket, path, SECOND).await
}

async fn writes_parts(bucket: &Bucket, path: &str) -> Result<(), Fault> {
    let mut upload = bucket.write_large(path).await.map_err(fault(WRITE))?;
    // Less than a part waits in memory for `finish`, which removes the parts of a failed upload.
    upload.write(Bytes::from_static(SECOND)).await.map_err(fault(WRITE))?;
    upload.finish().await.map_err(fault(WRITE))?;
    reads(bucket, path, SECOND).await
}

async fn deletes(bucket: &Bucket, path: &str) -> Result<(), Fault> {
    bucket.remove([path.to_owned()]).await.map_err(fault(DELETE))?;
    match bucket.head(path).await.map_err(fault(READ))? {
        None => Ok(()),
        Some(_) => Err(("it is still there".to_owned(), OTHER_STORE)),
    }
}
