//! Claims on fetches of objects: the first caller fetches an object, and further callers wait for the result.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::blobs::Key;
use crate::s3;

/// The result of a fetch.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    /// The object is not in the bucket.
    Absent,
    /// The bucket did not answer.
    Failed(s3::Error),
    /// The object is in the local tier.
    Here,
    /// The bytes of the object do not match its name.
    Mismatch,
}

type Waiting = watch::Receiver<Option<Ending>>;

/// The objects that are being fetched.
#[derive(Default)]
pub(super) struct Claims(Mutex<HashMap<Key, Waiting>>);

/// The right to fetch an object. A claim dropped without a result, as with its caller, lets the next caller fetch.
pub(super) struct Claim {
    claims: Arc<Claims>,
    key: Key,
    ending: Option<watch::Sender<Option<Ending>>>,
}

/// A fetch by an earlier caller.
pub(super) struct Other(Waiting);

impl Claims {
    /// Claims an object, unless an earlier caller is fetching the object.
    pub(super) fn claim(self: &Arc<Self>, key: Key) -> Result<Claim, Other> {
        let mut claimed = self.0.lock();
        if let Some(waiting) = claimed.get(&key) {
            return Err(Other(waiting.clone()));
        }
        let (sender, waiting) = watch::channel(None);
        claimed.insert(key, waiting);
        Ok(Claim { claims: Arc::clone(self), key, ending: Some(sender) })
    }
}

impl Claim {
    /// Reports the result to all waiting callers.
    pub(super) fn end(mut self, ending: Ending) {
        if let Some(sender) = self.release() {
            sender.send_replace(Some(ending));
        }
    }

    /// Lets the next caller claim the object, once.
    fn release(&mut self) -> Option<watch::Sender<Option<Ending>>> {
        let sender = self.ending.take()?;
        self.claims.0.lock().remove(&self.key);
        Some(sender)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        drop(self.release());
    }
}

impl Other {
    /// Waits for the end; `None` if the fetch was given up.
    pub(super) async fn ended(mut self) -> Option<Ending> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|ending| ending.clone())
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::Digest;

    use super::*;

    #[tokio::test]
    async fn one_fetches_and_the_others_learn_how_it_ended() {
        let (claims, key) = (Arc::new(Claims::default()), Key::Blob(Digest::of(b"x")));
        let claim = claims.claim(key).ok().unwrap();
        let others = [claims.claim(key).err().unwrap(), claims.claim(key).err().unwrap()];
        assert!(claims.claim(Key::Manifest(Digest::of(b"x"))).is_ok());
        claim.end(Ending::Absent);
        for other in others {
            assert!(matches!(other.ended().await, Some(Ending::Absent)));
        }
        assert!(claims.claim(key).is_ok());
    }

    #[tokio::test]
    async fn a_fetch_that_is_given_up_is_anybodys() {
        let (claims, key) = (Arc::new(Claims::default()), Key::Blob(Digest::of(b"x")));
        let claim = claims.claim(key).ok().unwrap();
        let other = claims.claim(key).err().unwrap();
        drop(claim);
        let next = claims.claim(key).ok().unwrap();
        assert!(other.ended().await.is_none());
        assert!(claims.claim(key).is_err(), "an old end does not end a new claim");
        drop(next);
    }
}
