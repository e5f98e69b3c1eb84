//! Assembles commits from the events of a watch.

use crate::catalog::etcd::fault::Fault;
use crate::catalog::etcd::history::Marked;
use crate::catalog::etcd::keys::Keys;
use crate::catalog::etcd::wire::{EventType, WatchResponse};
use crate::catalog::{Change, Committed, Revision};

/// Assembles the events of a commit.
///
/// A message of a watch holds whole commits, of one revision each; only a fragment ends within a commit, which the next
/// message continues.
#[derive(Default)]
pub(super) struct Events {
    /// The commit that may be incomplete.
    begun: Option<(Revision, Vec<Change>)>,
    /// The latest marker.
    marked: Option<Marked>,
}

impl Events {
    /// Takes a message; returns the commits that are complete with this message.
    pub(super) fn push(
        &mut self,
        message: WatchResponse,
        keys: &Keys,
        endpoint: &str,
    ) -> Result<Vec<Committed>, Fault> {
        let malformed = |reason: &str| Fault::Malformed { endpoint: endpoint.to_owned(), reason: reason.to_owned() };
        let mut whole = Vec::new();
        for event in message.events {
            let kind = EventType::try_from(event.kind).map_err(|_error| malformed("an event of no known kind"))?;
            let kv = event.kv.ok_or_else(|| malformed("an event without a key"))?;
            let revision = Revision::try_from(kv.mod_revision).map_err(|_error| malformed("a negative revision"))?;
            if let Some(node) = keys.node_of(&kv.key) {
                self.marked = Marked::of(node, &kv).or_else(|| self.marked.take());
            }
            let change = keys.record_of(&kv.key).map(|key| match kind {
                EventType::Delete => Change::Delete(key.to_owned()),
                EventType::Put => Change::Put(key.to_owned(), kv.value.as_ref().into()),
            });
            if self.begun.as_ref().is_some_and(|(begun, _)| *begun != revision) {
                whole.extend(self.take());
            }
            // A marker is no record, but still makes a commit: an empty commit has a revision, too.
            let (_, changes) = self.begun.get_or_insert_with(|| (revision, Vec::new()));
            changes.extend(change);
        }
        if !message.fragment {
            whole.extend(self.take());
        }
        Ok(whole)
    }

    /// Returns the last marker of the commits so far, unless it belongs to an incomplete commit.
    pub(super) fn marked(&self) -> Option<&Marked> {
        let is_whole = |_marked: &&Marked| self.begun.is_none();
        self.marked.as_ref().filter(is_whole)
    }

    fn take(&mut self) -> Option<Committed> {
        self.begun.take().map(|(revision, changes)| Committed { revision, changes: changes.into() })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::etcd::wire::{Event, KeyValue};

    fn event(keys: &Keys, revision: Revision, key: Option<&str>, is_put: bool) -> Event {
        let key = key.map_or_else(|| keys.marker("a"), |key| keys.record(key));
        let kind = if is_put { EventType::Put } else { EventType::Delete };
        let mod_revision = i64::try_from(revision).unwrap();
        Event { kind: kind.into(), kv: Some(KeyValue { key, mod_revision, value: Bytes::from_static(b"1") }) }
    }

    fn message(events: &[Event], fragment: bool) -> WatchResponse {
        WatchResponse { events: events.to_vec(), fragment, ..WatchResponse::default() }
    }

    proptest! {
        #[test]
        fn a_commit_is_whole_however_its_events_arrive(
            commits in prop::collection::vec(prop::collection::vec(any::<bool>(), 0..5), 0..8),
            cuts in prop::collection::vec(1..6_usize, 1..8),
        ) {
            let keys = Keys::new("p/");
            let mut events = Vec::new();
            let mut expected = Vec::new();
            for (nth, puts) in commits.iter().enumerate() {
                let revision = 10 + 3 * nth as u64;
                let mut changes = Vec::new();
                for (number, is_put) in puts.iter().enumerate() {
                    let key = format!("k/{number}");
                    events.push(event(&keys, revision, Some(&key), *is_put));
                    changes.push(if *is_put {
                        Change::Put(key, b"1".as_slice().into())
                    } else {
                        Change::Delete(key)
                    });
                }
                events.push(event(&keys, revision, None, true));
                expected.push(Committed { revision, changes: changes.into() });
            }
            let (mut rest, mut found, mut reader) = (events.as_slice(), Vec::new(), Events::default());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                rest = after;
                found.extend(reader.push(message(piece, !rest.is_empty()), &keys, "a").unwrap());
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        let keys = Keys::new("p/");
        let mut odd = event(&keys, 1, Some("a"), true);
        odd.kind = 7;
        assert!(Events::default().push(message(&[odd], false), &keys, "a").is_err());
        assert!(Events::default().push(message(&[Event { kind: 0, kv: None }], false), &keys, "a").is_err());
    }
}
