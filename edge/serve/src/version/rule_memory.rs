//! Memory for rules during parsing, divided so that no app takes another app's memory (law 11).
//!
//! Parsed rules take many times the memory of their text. Each reader waits for its turn before even the text is in
//! memory: first among the readers of its environment, then among the environments of its app, then among all apps.

use std::sync::Arc;

use devanture_base::fair::KeyedSemaphore;
use devanture_config::limits::Limits;
use devanture_config::site_toml::Serving;
use devanture_config::{AppName, Manifest};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of memory for each byte of rule text during parsing and checking: 16 to 25 were measured, with long lists of
/// conditions.
const BYTES_BY_TEXT: u64 = 25;
/// Unit of memory in bytes, since one reader takes at most `u32::MAX` permits of a semaphore.
const PIECE_BYTES: u64 = 1_024;
/// Divisor of the memory for one app.
const SHARES: u32 = 2;

/// The memory for the rules of all apps.
pub struct RuleMemory {
    all: Arc<Semaphore>,
    of_app_max: u32,
    /// Permits by app with rules being read.
    of_app: KeyedSemaphore<AppName>,
    /// Queues by environment or previews of an app with waiting readers.
    queues: KeyedSemaphore<(AppName, String)>,
}

/// Reads rules for one environment of an app, or for its previews.
#[derive(Clone)]
pub struct RuleReader {
    memory: Arc<RuleMemory>,
    app: AppName,
    environment: String,
}

/// Memory for the rules of one version, until dropped.
#[must_use = "the memory is free again once this is dropped"]
#[derive(Debug, Default)]
pub(super) struct RuleTurn {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl RuleMemory {
    /// Memory without readers.
    #[must_use]
    pub fn new(limits: &Limits) -> Arc<Self> {
        let pieces = u32::try_from(limits.rules_memory_bytes_max / PIECE_BYTES).unwrap_or(u32::MAX).max(SHARES);
        let size = |pieces: u32| usize::try_from(pieces).unwrap_or(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            all: Arc::new(Semaphore::new(size(pieces))),
            of_app_max: pieces / SHARES,
            of_app: KeyedSemaphore::new(size(pieces / SHARES)),
            queues: KeyedSemaphore::new(1),
        })
    }

    /// The reader of rules of `app` for `environment`.
    pub fn reader(self: &Arc<Self>, app: &AppName, environment: impl Into<String>) -> RuleReader {
        RuleReader { memory: Arc::clone(self), app: app.clone(), environment: environment.into() }
    }
}

impl RuleReader {
    /// Waits for memory for `text_bytes` bytes of rule text. Larger rules than the share of an app wait for the whole
    /// share, and so are read one at a time. A holder of a turn must not wait for another turn.
    ///
    /// Only the first reader of an environment waits in the app's queue, so that environments take turns, however many
    /// readers an environment has.
    pub(super) async fn turn(&self, text_bytes: u64) -> RuleTurn {
        let Self { memory, app, environment } = self;
        let pieces = text_bytes.saturating_mul(BYTES_BY_TEXT).div_ceil(PIECE_BYTES);
        let pieces = u32::try_from(pieces).unwrap_or(u32::MAX).min(memory.of_app_max);
        if pieces == 0 {
            return RuleTurn::default();
        }
        // No semaphore here is ever closed.
        let first = memory.queues.take((app.clone(), environment.clone())).await;
        // The app's share before the common memory, so that among all apps no app waits with more than its share.
        let own = memory.of_app.of(app.clone()).acquire_many_owned(pieces).await;
        drop(first);
        let all = Arc::clone(&memory.all).acquire_many_owned(pieces).await;
        RuleTurn { _permits: own.into_iter().chain(all).collect() }
    }
}

/// Bytes of the rules in the settings of a manifest, of all its tables, as JSON.
pub(super) fn table_bytes(manifest: &Manifest) -> u64 {
    let of_table = |table: &Serving| {
        let Serving { cache, headers, redirects, rewrites, .. } = table;
        length(cache.as_ref())
            .saturating_add(length(headers.as_ref()))
            .saturating_add(length(redirects.as_ref()))
            .saturating_add(length(rewrites.as_ref()))
    };
    manifest.tables().map(of_table).fold(0, u64::saturating_add)
}

fn length(rules: Option<&impl Serialize>) -> u64 {
    let text = rules.and_then(|rules| serde_json::to_vec(rules).ok());
    text.map_or(0, |text| u64::try_from(text.len()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::{FutureExt as _, poll};

    use super::*;

    /// Memory for so many bytes of text.
    fn memory(text_bytes: u64) -> Arc<RuleMemory> {
        let rules_memory_bytes_max = text_bytes * BYTES_BY_TEXT;
        RuleMemory::new(&Limits { rules_memory_bytes_max, ..Limits::default() })
    }

    #[tokio::test]
    async fn law_11_rules_of_one_app_are_read_in_half_of_the_memory() {
        let memory = memory(1_024_000);
        let [greedy, shop, blog]: [AppName; 3] = ["greedy", "shop", "blog"].map(|app| app.parse().unwrap());
        let [greedy, shop, blog] = [greedy, shop, blog].map(|app| memory.reader(&app, "prod"));
        let first = greedy.turn(300_000).await;
        let mut second = pin!(greedy.turn(300_000));
        assert!(poll!(&mut second).is_pending(), "beyond its half");
        // The other half is free, however many readers wait.
        let other = shop.turn(512_000).await;
        drop(first);
        let second = second.now_or_never().unwrap();
        let mut third = pin!(blog.turn(300_000));
        assert!(poll!(&mut third).is_pending(), "nothing is left of the whole");
        drop(other);
        assert!(poll!(&mut third).is_ready());
        drop(second);
    }

    #[tokio::test]
    async fn rules_that_need_more_than_the_share_of_an_app_are_read_one_at_a_time() {
        let memory = memory(1_024_000);
        let [shop, blog]: [AppName; 2] = ["shop", "blog"].map(|app| app.parse().unwrap());
        let [shop, blog] = [shop, blog].map(|app| memory.reader(&app, "prod"));
        let first = shop.turn(u64::MAX).await;
        let mut second = pin!(shop.turn(1));
        assert!(poll!(&mut second).is_pending());
        let other = blog.turn(u64::MAX).await;
        // A version without rules does not wait.
        drop(shop.turn(0).await);
        drop(first);
        assert!(poll!(&mut second).is_ready());
        drop(other);
    }

    #[tokio::test]
    async fn apps_whose_rules_nobody_reads_are_forgotten() {
        let memory = memory(1_024_000);
        let [shop, blog]: [AppName; 2] = ["shop", "blog"].map(|app| app.parse().unwrap());
        drop(memory.reader(&shop, "prod").turn(1).await);
        let _turn = memory.reader(&blog, "prod").turn(1).await;
        assert_eq!(memory.of_app.keys(), std::slice::from_ref(&blog));
        assert_eq!(memory.queues.keys(), [(blog, "prod".to_owned())]);
    }

    #[tokio::test]
    async fn law_11_environments_of_an_app_have_their_turns_one_after_the_other() {
        let memory = memory(1_024_000);
        let app: AppName = "shop".parse().unwrap();
        let [preview, prod] = ["preview", "prod"].map(|environment| memory.reader(&app, environment));
        let first = preview.turn(u64::MAX).await;
        let mut waiting: Vec<_> = (0..20).map(|_| Box::pin(preview.turn(u64::MAX))).collect();
        for turn in &mut waiting {
            assert!(poll!(turn).is_pending());
        }
        let mut wanted = pin!(prod.turn(1));
        assert!(poll!(&mut wanted).is_pending());
        drop(first);
        let mut waiting = waiting.into_iter();
        let second = waiting.next().unwrap().now_or_never().unwrap();
        assert!(poll!(&mut wanted).is_pending(), "one of the previews came before it");
        // The next reader of the previews joins the end of the app's queue.
        let mut others: Vec<_> = waiting.collect();
        for turn in &mut others {
            assert!(poll!(turn).is_pending());
        }
        drop(second);
        assert!(poll!(&mut wanted).is_ready(), "no other one does");
    }

    #[test]
    fn the_rules_of_every_table_count_and_other_settings_do_not() {
        let mut manifest = Manifest::of_files([].into());
        assert_eq!(table_bytes(&manifest), 0);
        manifest.base = serde_json::from_str(r#"{"not_found":"none","redirects":[{"from":"/a","to":"/b"}]}"#).unwrap();
        let of_base = table_bytes(&manifest);
        assert!(of_base > 20, "{of_base}");
        let table = r#"{"cache":{"/x":{"control":"1h"}}}"#;
        manifest.env.insert("staging".parse().unwrap(), serde_json::from_str(table).unwrap());
        assert!(table_bytes(&manifest) > of_base);
    }
}
