//! Tokens that outlive the session of their creation: available to an account with a just confirmed session, and ended
//! with the account.

use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;

use super::Credentials;
use super::sessions::{Owner, ended_session};
use crate::ledger::Error;
use devanture_store::catalog::Change;
use devanture_store::records::identities;
use devanture_store::records::{self, TokenAccount, TokenRecord};

/// Records of tokens and their uses deleted together with an account.
const REMOVED_AT_ONCE: usize = 64;

impl Credentials {
    /// Returns the account to which a token of lifetime `life_ms` is bound, for a token that outlives the account's
    /// session.
    ///
    /// # Errors
    /// `confirmation_required`; `forbidden` beyond `account_token_ms_max`; `bad_token` for an ended session.
    pub(super) async fn account_of_lasting(&self, session: &str, life_ms: u64) -> Result<TokenAccount, Error> {
        let session = self.session_in_force(session).await?.ok_or_else(ended_session)?;
        session.must_be_confirmed()?;
        let max = self.limits.account_token_ms_max;
        if life_ms > max {
            let detail = format!("A token of an account lives for {} at most.", counted(max / 1_000, "second"));
            let problem = Problem::new(Code::Forbidden, detail).hint("ask for a shorter life");
            return Err(problem.limit("account_token_ms_max", max, life_ms).into());
        }
        let Owner::Account(name, account) = session.owner else { return Err(ended_session()) };
        Ok(TokenAccount { name, id: account.id })
    }

    /// Returns true if the account of a token exists, or if the token has none.
    pub(super) async fn has_its_account(&self, token: &TokenRecord) -> Result<bool, Error> {
        let Some(of) = &token.account else { return Ok(true) };
        Ok(self.account(&of.name).await?.is_some_and(|(_, account)| account.id == of.id))
    }

    /// Deletes tokens bound to an account; tokens beyond the limit are already refused, and deleted at their expiry.
    pub(super) async fn remove_tokens_of(&self, account: &str) -> Result<Vec<Change>, Error> {
        let mut removed = Vec::new();
        for (key, record) in self.catalog.list(records::TOKENS_PREFIX, None, false, usize::MAX).await? {
            let token: TokenRecord = records::read(&key, &record)?;
            if token.account.is_some_and(|of| of.id == account) && removed.len() < REMOVED_AT_ONCE {
                let id = key.strip_prefix(records::TOKENS_PREFIX).unwrap_or_default();
                removed.extend([Change::Delete(identities::used_key(id)), Change::Delete(key.clone())]);
            }
        }
        Ok(removed)
    }
}
