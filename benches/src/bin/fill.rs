//! Fills a data folder with many small apps, in the state after their pushes: `fill DATA_DIR APPS VERSIONS`.
//!
//! Each app has six files of the example shop, unique to the app; the versions of an app differ in the page and the
//! script. The last version has been live for longer than the grace period. `benches/scale` measures an edge over the
//! data folder. Writes are synced like a push's, so that a folder in memory is filled fastest.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::manifest::FileEntry;
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};
use devanture_store::blobs::{self, Blobs, Form, Key, Quality};
use devanture_store::catalog::{self, Change, Commit};
use devanture_store::records::{self, StoredDeploy, StoredKind, StoredOutcome, StoredSource};
use tokio::task::JoinSet;

/// Files of an app: path, source, comment delimiters, and true if each version has a different file.
const FILES: [(&str, &str, [&str; 2], bool); 6] = [
    ("index.html", include_str!("../../../examples/shop/www/index.html"), ["<!-- ", " -->"], true),
    ("about.html", include_str!("../../../examples/shop/www/about.html"), ["<!-- ", " -->"], false),
    ("404.html", include_str!("../../../examples/shop/www/404.html"), ["<!-- ", " -->"], false),
    ("assets/shop.css", include_str!("../../../examples/shop/www/assets/shop.css"), ["/* ", " */"], false),
    ("assets/shop.js", include_str!("../../../examples/shop/www/assets/shop.js"), ["/* ", " */"], true),
    ("assets/jungle.svg", include_str!("../../../examples/shop/www/assets/jungle.svg"), ["<!-- ", " -->"], false),
];
/// Apps written concurrently.
const APPS_AT_ONCE: usize = 50;
/// Age of the live versions in milliseconds.
const AGE_MS: u64 = 30 * 86_400_000;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, apps, versions] = arguments.as_slice() else { return Err("fill DATA_DIR APPS VERSIONS".into()) };
    let (apps, versions): (usize, usize) = (apps.parse()?, versions.parse()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    runtime.block_on(fill(Path::new(folder), apps, versions))
}

async fn fill(folder: &Path, apps: usize, versions: usize) -> Result<(), Failure> {
    let blobs = blobs::open(folder.to_owned())?;
    let catalog = catalog::open(&folder.join("catalog.redb"))?;
    let numbers: Vec<usize> = (0..apps).collect();
    for chunk in numbers.chunks(APPS_AT_ONCE) {
        let mut running = JoinSet::new();
        for number in chunk.iter().copied() {
            let blobs = Arc::clone(&blobs);
            running.spawn(async move { app(&*blobs, number, versions).await });
        }
        let mut changes = Vec::new();
        while let Some(written) = running.join_next().await {
            changes.extend(written??);
        }
        catalog.commit(Commit { checks: Vec::new(), changes }).await?;
    }
    Ok(())
}

/// Stores the files of an app, and returns the app's records.
async fn app(blobs: &dyn Blobs, number: usize, versions: usize) -> Result<Vec<Change>, Failure> {
    let app: AppName = format!("app-{number}").parse()?;
    let prod = PlaceName::prod();
    let now_ms = u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis())?;
    let at_ms = now_ms.saturating_sub(AGE_MS);
    let mut changes = vec![Change::Put(
        format!("{}{app}", records::APPS_PREFIX),
        records::write(&records::AppRecord { created_ms: at_ms, who: "fill".to_owned() })?,
    )];
    let mut previous = None;
    for version in 1..=versions {
        let id = self::version(blobs, &app, version, version == versions).await?;
        let record = serde_json::json!({
            "stored_ms": at_ms, "who": "fill", "trusted": true, "source": {}, "files": FILES.len(), "bytes": 0,
        });
        changes.push(Change::Put(records::version_key(&app, &id), records::write(&record)?));
        let key = records::history_key(&app, &prod, u64::try_from(version)?);
        let entry = records::HistoryEntry { deploy: deploy(id, previous, at_ms), position: key.clone() };
        changes.push(Change::Put(key.clone(), records::write(&entry)?));
        if version == versions {
            let pointer = serde_json::json!({
                "version": id, "settings": 0, "switched_ms": at_ms, "deploy": "", "begun": 0, "position": key,
            });
            changes.push(Change::Put(records::live_key(&app, &prod), records::write(&pointer)?));
        }
        previous = Some(id);
    }
    Ok(changes)
}

fn deploy(version: VersionId, previous: Option<VersionId>, at_ms: u64) -> StoredDeploy {
    StoredDeploy {
        id: version.short(),
        kind: StoredKind::Push,
        environment: PlaceName::prod(),
        version,
        previous,
        who: "fill".to_owned(),
        at_ms,
        source: StoredSource::default(),
        steps: Vec::new(),
        outcome: StoredOutcome::Live,
        alias: None,
        problem: None,
        log: Vec::new(),
        reason: None,
        settings: 0,
        went_back: None,
        halves: None,
        with: None,
    }
}

/// Stores a version, including encoded files if `is_live`.
async fn version(blobs: &dyn Blobs, app: &AppName, version: usize, is_live: bool) -> Result<VersionId, Failure> {
    let mut files = BTreeMap::new();
    for (path, text, [begin, end], differs) in FILES {
        let version = if differs { version } else { 0 };
        let text = format!("{text}\n{begin}{app} {version}{end}\n");
        let hash = Digest::of(text.as_bytes());
        if blobs.size(Key::Blob(hash)).await?.is_none() {
            blobs.put(Key::Blob(hash), text.clone().into()).await?;
        }
        if is_live {
            blobs.put_variants(hash, variants(text.as_bytes())?).await?;
        }
        let size = u64::try_from(text.len())?;
        files.insert(path.parse()?, FileEntry { hash, size, media_type: None });
    }
    let manifest = Manifest::of_files(files);
    blobs.put(Key::Manifest(manifest.id()), manifest.canonical().into()).await?;
    Ok(manifest.id())
}

/// Encodings in the state after the background compression.
fn variants(text: &[u8]) -> Result<Vec<(Form, Quality, Bytes)>, Failure> {
    let mut br = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams { quality: 5, ..Default::default() };
    brotli::BrotliCompress(&mut &*text, &mut br, &parameters)?;
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(text)?;
    let (gz, zst) = (gz.finish()?, zstd::encode_all(text, 9)?);
    Ok([(Form::Br, br), (Form::Gz, gz), (Form::Zst, zst)].map(|(form, made)| (form, Quality::Best, made.into())).into())
}
