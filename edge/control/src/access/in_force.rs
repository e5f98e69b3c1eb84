//! Continuous check of a credential, for endless responses such as log streams.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::Credentials;
use crate::ledger::{Actor, Credential, Error, SessionOf};
use devanture_base::clock;
use devanture_store::catalog::Check;
use devanture_store::records::follow::{Follow, FollowStep};
use devanture_store::records::sessions::session_key;
use devanture_store::records::table::FollowedBy;
use devanture_store::records::{self, identities};

/// Watch over the credential of an actor.
pub struct InForce {
    credentials: Arc<Credentials>,
    actor: Actor,
    /// Records on which the credential depends.
    keys: Vec<String>,
    follow: Follow,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Valid until the given time, as far as known.
    Good(Instant),
    /// To be checked: expired, or one of its records has changed.
    InDoubt,
    Ended,
}

impl Credentials {
    /// Watches the credential of `actor` from now on.
    pub async fn in_force(self: &Arc<Self>, actor: Actor) -> InForce {
        let keys = self.keys_of(&actor).await;
        // Before the first look, so that no change falls between the two.
        let follow = Follow::new(&*self.catalog, FollowedBy::Credentials).begun();
        InForce { credentials: Arc::clone(self), actor, keys, follow, state: State::InDoubt }
    }

    /// Checks that the credential of `actor` is valid, and returns checks for a later commit, for actions permitted
    /// before a wait.
    ///
    /// # Errors
    /// `bad_token`; errors of the catalog.
    pub(super) async fn hold_in_force(&self, actor: &Actor) -> Result<Vec<Check>, Error> {
        let mut checks = Vec::new();
        for key in self.keys_of(actor).await {
            let revision = self.catalog.get(&key).await?.map(|record| record.revision);
            checks.push(Check::of(key, revision));
        }
        // Checked after reading the revisions: the commit detects later changes.
        self.check(actor).await?;
        Ok(checks)
    }

    /// Returns the records on which the credential of `actor` depends; empty for a permanent credential.
    async fn keys_of(&self, actor: &Actor) -> Vec<String> {
        let account_key = |name: &str| format!("{}{name}", identities::ACCOUNTS_PREFIX);
        let mut keys = match &actor.credential {
            Credential::Local => vec![],
            Credential::Token(id) => vec![records::token_key(id)],
            Credential::Login(id) => vec![identities::login_key(id), account_key(&actor.name)],
            Credential::Session(id, SessionOf::Account) => vec![session_key(id), account_key(&actor.name)],
            Credential::Session(id, SessionOf::Token(token)) => vec![session_key(id), records::token_key(token)],
        };
        if let Credential::Token(id) | Credential::Session(_, SessionOf::Token(id)) = &actor.credential
            && let Ok(Some((_, records::TokenRecord { account: Some(of), .. }))) = self.token(id).await
        {
            keys.push(identities::account_key(&of.name));
        }
        keys
    }
}

impl InForce {
    /// Returns true if the credential is valid by all present commits.
    ///
    /// A response checks before each sent part: data from after a revocation may be available before [`InForce::ended`]
    /// has noticed.
    pub async fn is_good(&mut self) -> bool {
        while let Poll::Ready(step) = self.follow.next_now() {
            self.take(step);
            if self.state == State::Ended {
                return false;
            }
        }
        if matches!(self.state, State::Good(until) if until <= Instant::now()) {
            self.doubt();
        }
        self.look().await;
        self.state != State::Ended
    }

    /// Completes when the credential becomes invalid. Cancel safe.
    pub async fn ended(&mut self) {
        loop {
            self.look().await;
            let State::Good(until) = self.state else { return };
            tokio::select! {
                () = tokio::time::sleep_until(until) => self.doubt(),
                step = self.follow.next() => self.take(step),
            }
        }
    }

    fn take(&mut self, step: Option<FollowStep>) {
        match step {
            Some(FollowStep::Changes(commit)) => {
                if commit.changes.iter().any(|change| self.keys.contains(&change.key)) {
                    self.doubt();
                }
            }
            Some(FollowStep::ReadAll) => self.doubt(),
            None => self.state = State::Ended,
        }
    }

    fn doubt(&mut self) {
        if self.state != State::Ended {
            self.state = State::InDoubt;
        }
    }

    /// Checks a doubtful credential.
    async fn look(&mut self) {
        if self.state != State::InDoubt {
            return;
        }
        self.state = match self.credentials.is_good(&self.actor).await {
            Ok(Some(ends_ms)) => {
                let left = Duration::from_millis(ends_ms.saturating_sub(clock::now_ms()));
                let now = Instant::now();
                State::Good(now.checked_add(left).unwrap_or(now))
            }
            Ok(None) => State::Ended,
            Err(error) => {
                tracing::warn!(%error, "whether a token is still good could not be looked up");
                State::Ended
            }
        };
    }
}
