//! A content served in one place, with the counters and `release.json` of the place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use devanture_config::Digest;
use devanture_config::api::Source;

use super::{Claim, Content, DictionaryMisses, OverMemory, Traffic, Version};
use devanture_base::telemetry::{RequestMetrics, Tally};

/// Estimated size of a version in one place without its content: its counters, and their series in the metrics.
const PLACE_BYTES: u64 = 2 * 1024;

/// The number of the next loaded version.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// Place and settings of a served content.
pub struct PlaceContext {
    /// The environment or alias, or `preview`.
    pub place: String,
    /// The source of the bundle.
    pub source: Source,
    /// Receives missing deltas of visitors.
    pub misses: DictionaryMisses,
    /// The dictionaries that the place's visitors may have, in order.
    pub dictionaries: Box<[Digest]>,
    /// The counters of the place.
    pub tally: Tally,
    /// Traffic of the app.
    pub traffic: Arc<Traffic>,
    /// Previews that may be evicted for the version.
    pub claim: Claim,
}

impl Version {
    /// Makes the version that serves `content` in a place.
    ///
    /// # Errors
    /// [`OverMemory`].
    pub fn new(content: Arc<Content>, served: PlaceContext) -> Result<Self, OverMemory> {
        let PlaceContext { place, source, misses, dictionaries, tally, traffic, claim } = served;
        let release = release(&content, &place, &source);
        let charge = content.charge.app().charge(claim);
        let bytes = release.len().saturating_add(size_of_val::<[Digest]>(&dictionaries));
        charge.grow(PLACE_BYTES.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX)))?;
        let metrics = RequestMetrics::new(content.app.as_str(), &place, &content.id.short());
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Ok(Self { serial, place, release, metrics, tally, traffic, misses, dictionaries, content, _charge: charge })
    }
}

fn release(content: &Content, place: &str, source: &Source) -> Bytes {
    let stored = i64::try_from(content.stored_ms / 1000).unwrap_or_default();
    let stored = time::OffsetDateTime::from_unix_timestamp(stored).ok();
    let stored = stored.and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok());
    let mut release = serde_json::json!({
        "app": content.app,
        "environment": place,
        "version": content.id,
        "stored": stored,
    });
    // Public, while notes for colleagues name customers, weaknesses and plans.
    if content.public_source
        && let Some(release) = release.as_object_mut()
    {
        release.insert("commit".to_owned(), source.commit.clone().into());
        release.insert("branch".to_owned(), source.branch.clone().into());
        release.insert("message".to_owned(), source.message.clone().into());
    }
    // Without spare capacity.
    Bytes::from(release.to_string().into_bytes().into_boxed_slice())
}
