//! Endless event streams: number per credential.

use std::collections::HashMap;
use std::sync::Arc;

use devanture_config::problem::{Code, Problem};
use parking_lot::Mutex;

use crate::ledger::{Actor, Error};

/// Most deploys and logs followed at once on one node by a token, or by all logins and sessions of an account.
pub(super) const STREAMS_PER_CREDENTIAL_MAX: usize = 32;

/// Open streams by owner.
#[derive(Default)]
pub(super) struct EventStreams(Mutex<HashMap<String, usize>>);

/// Open stream, counted until dropped.
#[must_use = "the stream does not count once this is dropped"]
pub(super) struct EventStream {
    streams: Arc<EventStreams>,
    /// `None` for local clients, whose streams are not counted.
    owner: Option<String>,
}

impl EventStreams {
    /// Opens a stream for an actor.
    ///
    /// # Errors
    /// `too_many_streams`.
    pub(super) fn open(self: &Arc<Self>, actor: &Actor) -> Result<EventStream, Error> {
        let owner = actor.owner();
        if let Some(owner) = &owner {
            let mut open = self.0.lock();
            let own = open.get(owner).copied().unwrap_or(0);
            if own >= STREAMS_PER_CREDENTIAL_MAX {
                let detail = format!(
                    "This token or account follows {STREAMS_PER_CREDENTIAL_MAX} deploys and logs already, which is the most."
                );
                return Err(Problem::new(Code::TooManyStreams, detail).hint("end one of them, then try again").into());
            }
            open.insert(owner.clone(), own.saturating_add(1));
        }
        Ok(EventStream { streams: Arc::clone(self), owner })
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        let Some(owner) = &self.owner else { return };
        let mut open = self.streams.0.lock();
        if let Some(own) = open.get_mut(owner) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.remove(owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Credential, SessionOf};

    fn actor(credential: Credential, name: &str) -> Actor {
        Actor { name: name.to_owned(), credential, ..Actor::local() }
    }

    #[test]
    fn one_credential_has_so_many_streams_and_no_more_whatever_others_have() {
        let streams = Arc::new(EventStreams::default());
        let session = |id: &str, of| Credential::Session(id.to_owned(), of);
        let token = actor(Credential::Token("a".to_owned()), "ci");
        let by_token = actor(session("1", SessionOf::Token("a".to_owned())), "ci");
        let account = actor(session("2", SessionOf::Account), "ada");
        let login = actor(Credential::Login("3".to_owned()), "ada");
        for (first, same) in [(&token, &by_token), (&account, &login)] {
            let mut held: Vec<_> = (0..STREAMS_PER_CREDENTIAL_MAX).map(|_| streams.open(first).unwrap()).collect();
            for actor in [first, same] {
                assert_eq!(streams.open(actor).err().unwrap().0.code, Code::TooManyStreams);
            }
            drop(streams.open(&actor(Credential::Token("b".to_owned()), "ci")).unwrap());
            held.pop();
            drop(streams.open(same).unwrap());
        }
        let local: Vec<_> = (0..100).map(|_| streams.open(&Actor::local()).unwrap()).collect();
        drop(local);
        assert!(streams.0.lock().is_empty());
    }
}
