//! The pass behind the switch: deltas that are not there yet, and variants and deltas at the best level.

use std::collections::BTreeSet;
use std::sync::Arc;

use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};
use futures_util::{StreamExt, TryStreamExt, stream};
use metrics::counter;
use tokio::sync::{broadcast, mpsc};

use super::encode::encode;
use super::pool::{Pool, Priority};
use crate::blobs::{self, Blobs, Key, Quality};
use crate::live::DictionaryWish;
use crate::publish::Dictionaries;

/// Versions and wishes that may wait for the background pass; more are found again at the next start.
const QUEUE: usize = 1_024;

/// The pass that remakes variants at the best level, behind the switch, on threads of its own.
#[derive(Clone)]
pub struct Background(Option<mpsc::Sender<Job>>);

/// What waits for its turn.
enum Job {
    /// A version that went live in an environment.
    Live { app: AppName, environment: PlaceName, version: VersionId },
    /// A delta that was made because a browser came with a dictionary.
    Wish(DictionaryWish),
}

/// What the pass works with.
pub struct BackgroundParts {
    /// The store.
    pub blobs: Arc<dyn Blobs>,
    /// Threads of low priority.
    pub threads: usize,
    /// Is told of every version that got better.
    pub remade: broadcast::Sender<VersionId>,
    /// Whether what was made quickly is made again at the best level.
    pub best: bool,
    /// What makes deltas, where that is on, and what browsers come with.
    pub dictionaries: Option<(Arc<Dictionaries>, mpsc::Receiver<DictionaryWish>)>,
}

struct Remaker {
    blobs: Arc<dyn Blobs>,
    pool: Arc<Pool>,
    remade: broadcast::Sender<VersionId>,
    best: bool,
    dictionaries: Option<Arc<Dictionaries>>,
}

impl Background {
    /// Remakes nothing: the first variants stay.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Starts the pass.
    #[must_use]
    pub fn start(parts: BackgroundParts) -> Self {
        let BackgroundParts { blobs, threads, remade, best, dictionaries } = parts;
        let (sender, mut receiver) = mpsc::channel(QUEUE);
        let pool = Arc::new(Pool::new("compress-best", threads, Priority::Lowest));
        let (dictionaries, wishes) = dictionaries.unzip();
        let background = Self(Some(sender));
        if let (Some(dictionaries), Some(wishes)) = (&dictionaries, wishes) {
            let improving = background.clone();
            let improve = move |wish: DictionaryWish| improving.put(Job::Wish(wish));
            // Apart from the versions: a browser comes again soon, and a version's turn may take long.
            tokio::spawn(Arc::clone(dictionaries).fulfil(wishes, Arc::clone(&pool), remade.clone(), improve));
        }
        let remaker = Remaker { blobs, pool, remade, best, dictionaries };
        tokio::spawn(async move {
            while let Some(job) = receiver.recv().await {
                match job {
                    Job::Live { app, environment, version } => remaker.live(&app, &environment, version).await,
                    Job::Wish(wish) => remaker.wish(&wish).await,
                }
            }
        });
        background
    }

    /// Has the variants and deltas of a version that went live remade when its turn comes.
    pub fn enqueue(&self, app: &AppName, environment: &PlaceName, version: VersionId) {
        self.put(Job::Live { app: app.clone(), environment: environment.clone(), version });
    }

    fn put(&self, job: Job) {
        if let Some(sender) = &self.0
            && sender.try_send(job).is_err()
        {
            tracing::warn!(
                "the queue of the background pass is full; what is left out is found again at the next start"
            );
        }
    }
}

impl Remaker {
    /// First the deltas that are not there at all, then everything at the best level.
    async fn live(&self, app: &AppName, environment: &PlaceName, version: VersionId) {
        if let Some(dictionaries) = &self.dictionaries {
            match dictionaries.after_switch(app, environment, version, &self.pool).await {
                Ok(true) => self.tell(version),
                Ok(false) => {}
                Err(error) => tracing::warn!(app = %app, version = %version, %error, "deltas were not made"),
            }
        }
        if !self.best {
            return;
        }
        match remake(&*self.blobs, &self.pool, version).await {
            Ok(0) => {}
            Ok(variants) => {
                tracing::info!(version = %version, variants, "variants were remade at the best level");
                self.tell(version);
            }
            Err(error) => tracing::warn!(version = %version, %error, "variants were not remade; the first ones stay"),
        }
        let Some(dictionaries) = &self.dictionaries else { return };
        match dictionaries.improve(app, version, &self.pool).await {
            Ok(0) => {}
            Ok(deltas) => {
                tracing::info!(app = %app, version = %version, deltas, "deltas were remade at the best level");
                self.tell(version);
            }
            Err(error) => tracing::warn!(app = %app, version = %version, %error, "deltas were not remade"),
        }
    }

    async fn wish(&self, wish: &DictionaryWish) {
        let Some(dictionaries) = self.dictionaries.as_ref().filter(|_| self.best) else { return };
        match dictionaries.improve_wish(wish, &self.pool).await {
            Ok(true) => self.tell(wish.version),
            Ok(false) => {}
            Err(error) => tracing::warn!(app = %wish.app, %error, "a wished delta was not remade"),
        }
    }

    fn tell(&self, version: VersionId) {
        // Nobody listens while the edge ends.
        self.remade.send(version).ok();
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
