//! The pass that remakes variants at the best level, behind the switch.

use std::collections::BTreeSet;
use std::sync::Arc;

use devanture_config::{Digest, Manifest, VersionId};
use futures_util::{StreamExt, TryStreamExt, stream};
use metrics::counter;
use tokio::sync::{broadcast, mpsc};

use super::encode::encode;
use super::pool::{Pool, Priority};
use crate::blobs::{self, Blobs, Key, Quality};

/// Files that may wait for the background pass; more are found again at the next start.
const QUEUE: usize = 1_024;

/// The pass that remakes variants at the best level, behind the switch, on threads of its own.
#[derive(Clone)]
pub struct Background(Option<mpsc::Sender<VersionId>>);

impl Background {
    /// Remakes nothing: the first variants stay.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Starts the pass with `threads` threads of low priority. `remade` is told of every version that got better.
    #[must_use]
    pub fn start(blobs: Arc<dyn Blobs>, threads: usize, remade: broadcast::Sender<VersionId>) -> Self {
        let (sender, mut receiver) = mpsc::channel(QUEUE);
        let pool = Arc::new(Pool::new("compress-best", threads, Priority::Lowest));
        tokio::spawn(async move {
            while let Some(version) = receiver.recv().await {
                match remake(&*blobs, &pool, version).await {
                    Ok(0) => {}
                    Ok(variants) => {
                        tracing::info!(version = %version, variants, "variants were remade at the best level");
                        // Nobody listens while the edge ends.
                        remade.send(version).ok();
                    }
                    Err(error) => {
                        tracing::warn!(version = %version, %error, "variants were not remade; the first ones stay");
                    }
                }
            }
        });
        Self(Some(sender))
    }

    /// Has the variants of a version remade when its turn comes.
    pub fn enqueue(&self, version: VersionId) {
        if let Some(sender) = &self.0
            && sender.try_send(version).is_err()
        {
            tracing::warn!(version = %version, "the queue of the background pass is full; it is found again at the next start");
        }
    }
}

async fn remake(blobs: &dyn Blobs, pool: &Pool, version: VersionId) -> Result<usize, blobs::Error> {
    let canonical = blobs.get(Key::Manifest(version)).await?;
    let Ok(manifest) = Manifest::parse(&canonical) else { return Ok(0) };
    let digests: BTreeSet<Digest> = manifest.files.values().map(|file| file.hash).collect();
    let files: Vec<_> = digests.into_iter().map(|digest| remake_file(blobs, pool, digest)).collect();
    let made: Vec<usize> = stream::iter(files).buffer_unordered(pool.threads()).try_collect().await?;
    Ok(made.iter().sum())
}

async fn remake_file(blobs: &dyn Blobs, pool: &Pool, digest: Digest) -> Result<usize, blobs::Error> {
    let quick: Vec<_> = blobs.variants(digest).await?.into_iter().filter(|v| v.quality == Quality::Quick).collect();
    if quick.is_empty() {
        return Ok(0);
    }
    let bytes = blobs.get(Key::Blob(digest)).await?;
    let mut made = Vec::with_capacity(quick.len());
    for variant in quick {
        let plain = bytes.clone();
        let encoded = pool.run(move || encode(&plain, variant.form, Quality::Best)).await.flatten();
        let smaller = encoded.filter(|encoded| (encoded.len() as u64) < variant.size);
        let bytes = match smaller {
            Some(encoded) => encoded.into(),
            // The quick one was the better: it stays, and is not tried again.
            None => blobs.get(Key::Variant(digest, variant.form)).await?,
        };
        counter!("devanture_variants_made_total", "form" => variant.form.suffix(), "quality" => "best").increment(1);
        made.push((variant.form, Quality::Best, bytes));
    }
    let count = made.len();
    blobs.put_variants(digest, made).await?;
    Ok(count)
}
