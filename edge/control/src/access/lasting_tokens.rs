//! Tokens that outlive the session that makes them: an account that has just confirmed its session may ask for them,
//! and they end with it.

use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;

use super::Credentials;
use super::sessions::{Owner, ended_session};
use crate::ledger::Error;
use devanture_store::catalog::Change;
use devanture_store::records::identities;
use devanture_store::records::{self, TokenAccount, TokenRecord};

/// Records of tokens, and of their uses, that the deletion of an account removes with it.
const REMOVED_AT_ONCE: usize = 64;

impl Credentials {
    /// The account that a token ends with which lives for `life_ms`, longer than the session of the account that makes
    /// it.
    ///
    /// # Errors
    /// `confirmation_required`; `forbidden` beyond `account_token_ms_max`; `bad_token` if the session has ended.
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

    /// Whether the account that a token ends with is there; true for a token without one.
    pub(super) async fn has_its_account(&self, token: &TokenRecord) -> Result<bool, Error> {
        let Some(of) = &token.account else { return Ok(true) };
        Ok(self.account(&of.name).await?.is_some_and(|(_, account)| account.id == of.id))
    }

    /// Removes tokens that end with an account; those beyond a bound are refused all the same, until they go at their
    /// end.
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
