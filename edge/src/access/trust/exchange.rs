//! The exchange of an identity token for a token of the edge: once for each, and logged.

use std::net::IpAddr;

use devanture_config::api::{ExchangeRequest, Exchanged, Secret};
use devanture_config::edge_toml::Trust;
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use devanture_config::{AppName, Digest, PlaceName};
use metrics::counter;

use super::claims::{check_times, check_trust};
use super::jwks::Verdict;
use super::jwt::{self, Jwt};
use super::keys::Unavailable;
use crate::access::tokens::{ID_BYTES, PREFIX, SECRET_BYTES};
use crate::access::{Credentials, random_hex};
use crate::catalog::identities::{self, ExchangedRecord};
use crate::catalog::records::{self, TokenRecord};
use crate::catalog::{self, Change, Check, Commit};
use crate::ledger::{Action, Actor, AuditEvent, Credential, Error, from_text, update};
use crate::telemetry;

/// Records of expired tokens, and of expired identity tokens, that one exchange removes.
const REMOVED_AT_ONCE: usize = 16;
/// Characters of a refusal in the log.
const REASON_CHARACTERS_MAX: usize = 1_000;

/// An identity token that a trust takes.
struct Accepted {
    trust: Trust,
    environment: PlaceName,
    /// The key of the record that it was exchanged.
    key: String,
    /// From when on it would be refused as expired.
    expires_ms: u64,
    /// Whom it is about, for the audit log.
    subject: String,
}

/// Why an identity token is not exchanged.
enum Refused {
    /// Why, for the log of the edge: the answer does not say.
    Mismatch(String),
    Unavailable(Unavailable),
}

impl Credentials {
    /// Replaces the trusts of `edge.toml`.
    pub fn set_trusts(&self, trusts: &[Trust]) {
        self.trusts.set(trusts.to_vec());
    }

    /// Exchanges an identity token for a token of the edge. It is for one environment of one app, and lives as long as the
    /// trust says.
    ///
    /// # Errors
    /// `bad_identity_token` if no trust takes it, which the answer does not explain, or if it was exchanged before;
    /// `identity_keys_unavailable`, `too_many_attempts`, `too_many`; those of the catalog.
    pub async fn exchange(&self, request: &ExchangeRequest, from: Option<IpAddr>) -> Result<Exchanged, Error> {
        let attempt = self.attempts.begin_identity(from).map_err(|wait| {
            count("", "limited");
            let seconds = u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX).max(1);
            let problem = Problem::new(Code::TooManyAttempts, "Too many credentials from this address were refused.");
            Error::from(problem.hint(format!("try again in {}", counted(seconds, "second"))).retry_after(seconds))
        })?;
        let exchanged = self.try_exchange(request, from).await;
        // What is let in, and what no credential can help, does not count.
        if !exchanged.as_ref().is_err_and(|error| error.0.code == Code::BadIdentityToken) {
            self.attempts.take_back_identity(&attempt);
        }
        exchanged
    }

    async fn try_exchange(&self, request: &ExchangeRequest, from: Option<IpAddr>) -> Result<Exchanged, Error> {
        let accepted = match self.accepted(request).await {
            Ok(accepted) => accepted,
            Err(Refused::Mismatch(reason)) => return Err(self.mismatch(request, &reason, from)),
            Err(Refused::Unavailable(Unavailable { wait })) => {
                count("", "unavailable");
                let seconds = u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX).max(1);
                let detail = "The keys of the issuer of the identity token cannot be fetched.";
                return Err(Problem::new(Code::IdentityKeysUnavailable, detail)
                    .hint("try again in a moment; the log of the edge says why")
                    .retry_after(seconds)
                    .into());
            }
        };
        // Until the commit nobody else makes a token, so that the limits hold.
        let _making = self.making.lock().await;
        update(&accepted.key, || self.commit_exchange(request, &accepted, from)).await
    }

    /// Finds the trust that takes an identity token.
    async fn accepted(&self, request: &ExchangeRequest) -> Result<Accepted, Refused> {
        let text = request.identity_token.expose();
        let bytes_max = usize::try_from(self.limits.identity_token_bytes_max).unwrap_or(usize::MAX);
        if text.len() > bytes_max {
            return Err(Refused::Mismatch(format!("it has more than {bytes_max} bytes")));
        }
        let jwt = jwt::parse(text).map_err(|refusal| Refused::Mismatch(refusal.to_string()))?;
        let trusts = self.trusts.all.load_full();
        let issuer = jwt.text("iss").unwrap_or_default();
        let of_issuer: Vec<&Trust> = trusts.iter().filter(|trust| trust.issuer.as_str() == issuer).collect();
        let Some(first) = of_issuer.first() else {
            let issuer: String = issuer.chars().take(200).collect();
            return Err(Refused::Mismatch(format!("no trust has the issuer {issuer:?}")));
        };
        match self.trusts.issuers.check(&first.issuer, &jwt).await.map_err(Refused::Unavailable)? {
            Verdict::Good => {}
            Verdict::UnknownKey => return Err(Refused::Mismatch("its issuer has no such key".to_owned())),
            Verdict::Wrong => return Err(Refused::Mismatch("its signature is not that of its key".to_owned())),
        }
        let now_ms = telemetry::now_ms();
        let expires_ms =
            check_times(&jwt.claims, now_ms, self.limits.identity_token_ms_max).map_err(Refused::Mismatch)?;
        let mut mismatches = Vec::new();
        for trust in of_issuer {
            let environment = request.environment.as_ref().or_else(|| trust.environments.first());
            let Some(environment) = environment else { continue };
            match check_trust(trust, &jwt.claims, (&request.app, environment)) {
                Ok(()) => {
                    return Ok(Accepted {
                        environment: environment.clone(),
                        trust: trust.clone(),
                        key: exchanged_key(&jwt),
                        expires_ms,
                        subject: jwt.text("sub").unwrap_or_default().to_owned(),
                    });
                }
                Err(mismatch) => mismatches.push(format!("{}: {mismatch}", trust.name)),
            }
        }
        Err(Refused::Mismatch(mismatches.join("; ").chars().take(REASON_CHARACTERS_MAX).collect()))
    }

    /// Makes the token, and the record that the identity token was exchanged, in one commit. `None` if another commit was
    /// first, and it was not of the same identity token.
    async fn commit_exchange(
        &self,
        request: &ExchangeRequest,
        accepted: &Accepted,
        from: Option<IpAddr>,
    ) -> Result<Option<Exchanged>, Error> {
        let Accepted { trust, environment, key, .. } = accepted;
        if self.catalog.get(key).await?.is_some() {
            return Err(self.replayed(trust, from));
        }
        let now_ms = telemetry::now_ms();
        let (id, secret) = (random_hex(ID_BYTES), random_hex(SECRET_BYTES));
        let token_key = records::token_key(&id);
        let lifetime_ms = trust.lifetime_s.saturating_mul(1_000);
        let name = TokenRecord::maker_of(&trust.name);
        let record = TokenRecord {
            hash: Digest::of(secret.as_bytes()),
            name: name.clone(),
            app: Some(request.app.clone()),
            environment: Some(environment.clone()),
            scope: trust.scope,
            created_ms: now_ms,
            expires_ms: Some(now_ms.saturating_add(lifetime_ms)),
            made_by: Some(name.clone()),
            account: None,
        };
        let mut changes = self.room_for_exchange(&request.app, &trust.name, now_ms).await?;
        changes.push(Change::Put(token_key.clone(), records::write(&record)?));
        changes.push(Change::Put(key.clone(), records::write(&ExchangedRecord { expires_ms: accepted.expires_ms, trust: trust.name.clone() })?));
        // That of the identity token first: of two checks that fail it is the one that counts.
        let commit = Commit { checks: vec![Check::Absent(key.clone()), Check::Absent(token_key)], changes };
        let actor = Actor {
            name,
            app: record.app.clone(),
            environment: record.environment.clone(),
            scope: trust.scope,
            from,
            credential: Credential::Token(id.clone()),
            expires_ms: record.expires_ms,
        };
        let event = AuditEvent::of(Action::ExchangeToken)
            .place(&request.app, environment)
            .what(format!("{id} {}, {}, for {}", trust.name, trust.scope, accepted.subject));
        match self.audit.commit(&actor, event, commit).await {
            Ok(_revision) => {}
            Err(catalog::Error::Conflict { key: taken }) if taken == *key => return Err(self.replayed(trust, from)),
            Err(catalog::Error::Conflict { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        count(&trust.name, "ok");
        Ok(Some(Exchanged {
            token: Secret::new(format!("{PREFIX}_{id}_{secret}")),
            id,
            trust: trust.name.clone(),
            app: request.app.clone(),
            environment: environment.clone(),
            scope: trust.scope,
            expires_ms: now_ms.saturating_add(lifetime_ms),
            expires_in_s: trust.lifetime_s,
        }))
    }

    /// Checks that there is room for one more token and one more record. What has expired goes with the commit: tokens of
    /// minutes would fill the lists otherwise.
    async fn room_for_exchange(&self, app: &AppName, trust: &str, now_ms: u64) -> Result<Vec<Change>, Error> {
        let mut removed = self.check_token_count(None, now_ms).await?;
        let mut of_trust = 0_u64;
        for (key, record) in self.catalog.list(records::TOKENS_PREFIX, None, false, usize::MAX).await? {
            let token: TokenRecord = records::read(&key, &record)?;
            let Some(maker) = token.trust() else { continue };
            let id = key.strip_prefix(records::TOKENS_PREFIX).unwrap_or_default().to_owned();
            if token.expires_ms.is_none_or(|at_ms| at_ms > now_ms) {
                of_trust = of_trust.saturating_add(u64::from(maker == trust && token.app.as_ref() == Some(app)));
            } else if !removed.contains(&id) {
                removed.push(id);
            }
        }
        let max = self.limits.tokens_per_trust_max;
        if of_trust >= max {
            let detail = format!("The trust {trust} has {} for the app {app} already.", counted(max, "token"));
            let problem = Problem::new(Code::TooMany, detail).hint("try again when some of them have expired");
            return Err(problem.limit("tokens_per_trust_max", max, of_trust).into());
        }
        removed.truncate(REMOVED_AT_ONCE);
        removed.iter().for_each(|id| self.used.forget(id));
        let mut changes: Vec<Change> = removed
            .iter()
            .flat_map(|id| [Change::Delete(records::token_key(id)), Change::Delete(identities::used_key(id))])
            .collect();
        let (mut count, mut by_trust, mut expired) = (0_u64, 0_u64, Vec::new());
        for (key, record) in self.catalog.list(identities::EXCHANGED_PREFIX, None, false, usize::MAX).await? {
            let exchanged: ExchangedRecord = records::read(&key, &record)?;
            if exchanged.expires_ms > now_ms {
                count = count.saturating_add(1);
                by_trust = by_trust.saturating_add(u64::from(exchanged.trust == trust));
            } else if expired.len() < REMOVED_AT_ONCE {
                expired.push(Change::Delete(key));
            }
        }
        let max = self.limits.identity_tokens_max;
        if count >= max {
            let detail = "The edge remembers as many exchanged identity tokens as it may.";
            let problem = Problem::new(Code::TooMany, detail).hint("try again when some of them have expired");
            return Err(problem.limit("identity_tokens_max", max, count).into());
        }
        // Half of them for one trust at most, so that its jobs keep those of no other one out.
        if by_trust >= max.div_ceil(2) {
            let detail = format!("The edge remembers as many exchanged identity tokens of the trust {trust} as it may.");
            let problem = Problem::new(Code::TooMany, detail).hint("try again when some of them have expired");
            return Err(problem.limit("identity_tokens_max", max.div_ceil(2), by_trust).into());
        }
        changes.extend(expired);
        Ok(changes)
    }

    fn mismatch(&self, request: &ExchangeRequest, reason: &str, from: Option<IpAddr>) -> Error {
        count("", "refused");
        if self.log_quota.take() {
            let (app, environment) = (request.app.as_str(), request.environment.as_ref().map(PlaceName::as_str));
            let from = from_text(from);
            tracing::warn!(target: "audit", app, environment, from, reason, "an identity token was refused");
        }
        let place = request.environment.as_ref().map_or_else(String::new, |name| format!("{name} of "));
        let detail = format!("The identity token gives no access to {place}the app {}.", request.app);
        Problem::new(Code::BadIdentityToken, detail)
            .hint(
                "its issuer, audience and claims have to match a `[[trust]]` of the edge's edge.toml for this app and \
                 environment; the log of the edge says what does not",
            )
            .into()
    }

    fn replayed(&self, trust: &Trust, from: Option<IpAddr>) -> Error {
        count(&trust.name, "replayed");
        if self.log_quota.take() {
            let trust = trust.name.as_str();
            tracing::warn!(target: "audit", trust, from = from_text(from), "an identity token was presented again");
        }
        Problem::new(Code::BadIdentityToken, "The identity token was exchanged before, which can be done once.")
            .hint("have the CI system make another one, or keep the token that it was exchanged for")
            .into()
    }
}

/// The key of the record that an identity token was exchanged: by the id that its issuer gave it, or by what is signed.
/// The signature is no part of it: that of ECDSA has two forms.
fn exchanged_key(jwt: &Jwt<'_>) -> String {
    let issuer = jwt.text("iss").unwrap_or_default();
    let (kind, id) = match jwt.text("jti").filter(|id| !id.is_empty()) {
        Some(id) => ("jti", id.as_bytes()),
        None => ("signed", jwt.signed),
    };
    let mut hasher = blake3::Hasher::new();
    for part in [kind.as_bytes(), issuer.as_bytes(), id] {
        hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(part);
    }
    identities::exchanged_key(&hasher.finalize().to_hex())
}

fn count(trust: &str, outcome: &'static str) {
    counter!("devanture_identity_tokens_total", "trust" => trust.to_owned(), "outcome" => outcome).increment(1);
}
