//! Operations for a copy of the whole store: all records, and the pause of changes.

use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::{ChangesPauseRequest, ChangesPaused, RecordsPage, StoredRecord};
use devanture_config::problem::{Code, Problem};
use http::StatusCode;

use super::call::{Answer, Call};
use super::safekeeping::must_be_local;
use super::state::Admin;
use super::{answer, body};
use crate::ledger::{Error, WritePause, pause_changes, resume_changes};
use devanture_base::clock;
use devanture_store::catalog::scan::Scan;

/// Records per page.
const PAGE_RECORDS: usize = 1_000;
/// Bytes of values per page, exceeded only by the last few records.
const PAGE_BYTES: usize = 4 * 1_024 * 1_024;
/// Concurrent record reads: one record may have several megabytes.
const READ_AT_ONCE: usize = 32;
/// Longest accepted pause of changes.
const PAUSE_SECONDS_MAX: u64 = 86_400;
/// Longest wait for running deploys before the pause begins.
const SETTLE_MAX: Duration = Duration::from_secs(30);

impl Admin {
    pub(super) async fn records(&self, call: Call) -> Answer {
        must_be_local(&call.actor)?;
        let catalog = &*self.publisher.ledger().catalog;
        let after = body::parameter(call.uri(), "after");
        let mut scan = Scan::new(catalog, "").after(after).pages_of(READ_AT_ONCE);
        let (mut page, mut bytes) = (RecordsPage::default(), 0_usize);
        while let Some((key, record)) = scan.next().await? {
            let value = std::str::from_utf8(&record.value).map_err(|_reason| unreadable(&key))?.to_owned();
            bytes = bytes.saturating_add(value.len());
            page.records.push(StoredRecord { key, revision: record.revision, value });
            if page.records.len() >= PAGE_RECORDS || bytes >= PAGE_BYTES {
                page.next = page.records.last().map(|record| record.key.clone());
                break;
            }
        }
        Ok(answer::json(StatusCode::OK, &page))
    }

    pub(super) async fn pause_changes(&self, call: Call) -> Answer {
        let Call { actor, request, .. } = call;
        must_be_local(&actor)?;
        let ChangesPauseRequest { seconds } = self.json(request).await?;
        if !(1..=PAUSE_SECONDS_MAX).contains(&seconds) {
            let detail = format!("`seconds` must be from 1 to {PAUSE_SECONDS_MAX}, not {seconds}.");
            return Err(Problem::new(Code::BadRequest, detail).into());
        }
        let (publisher, credentials) = (Arc::clone(&self.publisher), Arc::clone(&self.credentials));
        // Runs to completion even if the caller disconnects: changes refused from here on are accepted again only after
        // the end or the failure of the pause.
        let paused = self.publisher.to_its_end(async move {
            let ledger = publisher.ledger();
            ledger.note_pause(true);
            publisher.settle(SETTLE_MAX).await;
            credentials.write_last_uses().await;
            let at_ms = clock::now_ms();
            let paused = pause_changes(&*ledger.catalog, &WritePause { at_ms, seconds }).await;
            if paused.is_err() {
                ledger.note_pause(false);
            }
            let resumes_ms = at_ms.saturating_add(seconds.saturating_mul(1_000));
            Ok(ChangesPaused { revision: paused?, resumes_ms })
        });
        Ok(answer::json(StatusCode::OK, &paused.await?))
    }

    pub(super) async fn resume_changes(&self, call: Call) -> Answer {
        must_be_local(&call.actor)?;
        let ledger = self.publisher.ledger();
        resume_changes(&*ledger.catalog, None).await?;
        ledger.note_pause(false);
        Ok(answer::no_content())
    }
}

fn unreadable(key: &str) -> Error {
    let detail = format!("The record {key} is damaged: it is not UTF-8.");
    Problem::new(Code::NotReady, detail)
        .hint("restore the catalog from a backup, or remove what the record is of")
        .into()
}
