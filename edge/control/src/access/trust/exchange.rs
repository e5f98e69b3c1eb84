//! Exchange of an identity token for a token of the edge: once per identity token, and logged.

use std::net::IpAddr;
use std::time::Duration;

use devanture_config::api::{ExchangeRequest, Exchanged, Scope, Secret, TOKEN_PREFIX};
use devanture_config::edge_toml::{Oidc, Trust};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use devanture_config::{AppName, Digest, PlaceName};
use metrics::counter;

use super::claims::{check_times, check_trust};
use super::jwks::Verdict;
use super::jwt::{self, Jwt};
use super::keys::Unavailable;
use super::oidc;
use crate::access::tokens::{ID_BYTES, SECRET_BYTES};
use crate::access::{Credentials, random_hex};
use crate::ledger::{Action, Actor, AuditEvent, Credential, Error, TRUST_PREFIX, from_text, is_exchanged, update};
use devanture_base::clock;
use devanture_store::catalog::{self, Change, Check, Commit};
use devanture_store::records::identities::{self, ExchangedRecord};
use devanture_store::records::{self, TokenRecord};

/// Records of expired tokens and identity tokens deleted by an exchange.
const REMOVED_AT_ONCE: usize = 16;
/// Logged characters of a refusal.
const REASON_CHARACTERS_MAX: usize = 1_000;
/// Limit of an identity token's length.
pub(crate) const LENGTH_LIMIT: &str = "identity_token_bytes_max";
/// Metrics label of logins of people; no trust name contains an underscore.
pub(super) const OIDC_LABEL: &str = "_oidc";

/// Identity token accepted by a trust, or by the groups of a person.
struct Accepted {
    /// Name of the trust; `None` for a login of a person.
    trust: Option<String>,
    /// Name of the token in the history and the audit log.
    name: String,
    app: Option<AppName>,
    environment: Option<PlaceName>,
    scope: Scope,
    lifetime_s: u64,
    /// Key of the record of the exchange.
    key: String,
    /// Expiry of the identity token.
    expires_ms: u64,
    /// Subject, for the audit log.
    subject: String,
}

/// Reason for refusing an identity token.
enum Refused {
    /// Mismatch, only for the edge's log.
    Mismatch(String),
    /// Known person without a role by groups.
    NoRole(String),
    /// Length in bytes, beyond the limit.
    TooLong(usize),
    Unavailable(Unavailable),
}

impl Credentials {
    /// Replaces the trusts and the provider of `edge.toml`.
    pub fn set_trusts(&self, trusts: &[Trust], oidc: Option<&Oidc>) {
        self.trusts.set(trusts.to_vec(), oidc.cloned());
    }

    /// Returns the field `WWW-Authenticate` of a refusal: login instructions, with the provider if configured.
    #[must_use]
    pub fn challenge_field(&self) -> String {
        self.trusts.oidc.load().as_deref().map_or_else(|| "Bearer".to_owned(), oidc::challenge_field)
    }

    /// Exchanges an identity token for a token of the edge. A token by a trust is for one environment of an app, with
    /// the lifetime of the trust; a token of a person has the requested extent, limited by the person's groups.
    ///
    /// # Errors
    /// `bad_identity_token` without an accepting trust, unexplained to the client, or after an earlier exchange;
    /// `identity_keys_unavailable`, `too_many_attempts`, `too_many`; errors of the catalog.
    pub async fn exchange(&self, request: &ExchangeRequest, from: Option<IpAddr>) -> Result<Exchanged, Error> {
        let attempt = self.attempts.begin_identity(from).map_err(limited)?;
        let exchanged = self.try_exchange(request, from).await;
        // Successful exchanges, and failures unrelated to the credential, do not count.
        if !exchanged.as_ref().is_err_and(|error| error.0.code == Code::BadIdentityToken) {
            self.attempts.take_back_identity(&attempt);
        }
        exchanged
    }

    async fn try_exchange(&self, request: &ExchangeRequest, from: Option<IpAddr>) -> Result<Exchanged, Error> {
        let accepted = match self.accepted(request).await {
            Ok(accepted) => accepted,
            Err(Refused::Mismatch(reason)) => return Err(self.mismatch(request, &reason, from)),
            Err(Refused::TooLong(bytes)) => return Err(self.too_long(request, bytes, from)),
            Err(Refused::NoRole(person)) => return Err(self.without_role(request, &person, from)),
            Err(Refused::Unavailable(Unavailable { wait })) => {
                return Err(unavailable("The keys of the issuer of the identity token cannot be fetched.", wait));
            }
        };
        // Blocks concurrent creations until the commit, so that the limits hold.
        let _making = self.making.lock().await;
        update(&accepted.key, || self.commit_exchange(&accepted, from)).await
    }

    /// Finds the trust that accepts an identity token.
    async fn accepted(&self, request: &ExchangeRequest) -> Result<Accepted, Refused> {
        let text = request.identity_token.expose();
        let bytes_max = usize::try_from(self.limits.identity_token_bytes_max).unwrap_or(usize::MAX);
        if text.len() > bytes_max {
            return Err(Refused::TooLong(text.len()));
        }
        let jwt = jwt::parse(text).map_err(|refusal| Refused::Mismatch(refusal.to_string()))?;
        let (trusts, oidc) = (self.trusts.all.load_full(), self.trusts.oidc.load_full());
        let issuer = jwt.text("iss").unwrap_or_default();
        let of_issuer: Vec<&Trust> = trusts.iter().filter(|trust| trust.issuer.as_str() == issuer).collect();
        let oidc = oidc.as_deref().filter(|oidc| oidc.issuer.as_str() == issuer);
        let Some(known) = of_issuer.first().map(|trust| &trust.issuer).or_else(|| oidc.map(|oidc| &oidc.issuer)) else {
            let issuer: String = issuer.chars().take(200).collect();
            return Err(Refused::Mismatch(format!("neither a trust nor `[oidc]` has the issuer {issuer:?}")));
        };
        match self.trusts.issuers.check(known, &jwt).await.map_err(Refused::Unavailable)? {
            Verdict::Good => {}
            Verdict::UnknownKey => return Err(Refused::Mismatch("its issuer has no such key".to_owned())),
            Verdict::Wrong => return Err(Refused::Mismatch("its signature is not that of its key".to_owned())),
        }
        let now_ms = clock::now_ms();
        let expires_ms =
            check_times(&jwt.claims, now_ms, self.limits.identity_token_ms_max).map_err(Refused::Mismatch)?;
        // An identity token for the client of people is never for a job: an issuer may serve both.
        if let Some(oidc) = oidc.filter(|oidc| oidc::is_for_client(oidc, &jwt.claims)) {
            return accepted_person(oidc, &jwt, request, expires_ms);
        }
        accepted_job(&of_issuer, &jwt, request, expires_ms)
    }

    /// Creates the token and the record of the exchange in one commit. `None` if another commit won the race, unless
    /// for the same identity token.
    async fn commit_exchange(&self, accepted: &Accepted, from: Option<IpAddr>) -> Result<Option<Exchanged>, Error> {
        let Accepted { name, app, environment, key, .. } = accepted;
        if self.catalog.get(key).await?.is_some() {
            return Err(self.replayed(accepted, from));
        }
        let now_ms = clock::now_ms();
        let (id, secret) = (random_hex(ID_BYTES), random_hex(SECRET_BYTES));
        let token_key = records::token_key(&id);
        let expires_ms = now_ms.saturating_add(accepted.lifetime_s.saturating_mul(1_000));
        let record = TokenRecord {
            hash: Digest::of(secret.as_bytes()),
            name: name.clone(),
            app: app.clone(),
            environment: environment.clone(),
            scope: accepted.scope.into(),
            created_ms: now_ms,
            expires_ms: Some(expires_ms),
            made_by: Some(name.clone()),
            root: None,
            account: None,
        };
        let mut changes = self.room_for_exchange((app.as_ref(), name), now_ms, clock::settled_ms()).await?;
        changes.push(Change::Put(token_key.clone(), records::write(&record)?));
        let exchanged = ExchangedRecord { expires_ms: accepted.expires_ms, by: name.clone() };
        changes.push(Change::Put(key.clone(), records::write(&exchanged)?));
        // The identity token's check comes first: of two failed checks, the first is reported.
        let commit = Commit { checks: vec![Check::Absent(key.clone()), Check::Absent(token_key)], changes };
        let actor = Actor {
            name: name.clone(),
            app: record.app.clone(),
            environment: record.environment.clone(),
            scope: accepted.scope,
            from,
            credential: Credential::Token(id.clone()),
            root: None,
            expires_ms: record.expires_ms,
            unconfirmed: false,
        };
        let by = accepted.trust.as_ref().unwrap_or(name);
        let event = AuditEvent::of(Action::ExchangeToken)
            .what(format!("{id} {by}, {}, for {}", accepted.scope, accepted.subject));
        let event = match (app, environment) {
            (Some(app), Some(environment)) => event.place(app, environment),
            (Some(app), None) => event.app(app),
            (None, _) => event,
        };
        match self.audit.commit(&actor, event, commit).await {
            Ok(_revision) => {}
            Err(catalog::Error::Conflict { key: taken }) if taken == *key => return Err(self.replayed(accepted, from)),
            Err(catalog::Error::Conflict { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        count(accepted.label(), "ok");
        Ok(Some(Exchanged {
            token: Secret::new(format!("{TOKEN_PREFIX}_{id}_{secret}")),
            id,
            trust: accepted.trust.clone(),
            person: accepted.trust.is_none().then(|| name.clone()),
            app: app.clone(),
            environment: environment.clone(),
            scope: accepted.scope,
            expires_ms,
            expires_in_s: accepted.lifetime_s,
        }))
    }

    /// Checks the limits of tokens and exchange records. Expired records take no room, and are deleted with the commit
    /// once also expired by `settled_ms`: otherwise short-lived tokens would fill the lists.
    async fn room_for_exchange(
        &self,
        (app, name): (Option<&AppName>, &str),
        now_ms: u64,
        settled_ms: u64,
    ) -> Result<Vec<Change>, Error> {
        let mut removed = self.check_token_count(None).await?;
        let mut of_name = 0_u64;
        for (key, record) in self.catalog.list(records::TOKENS_PREFIX, None, false, usize::MAX).await? {
            let token: TokenRecord = records::read(&key, &record)?;
            let Some(maker) = token.made_by.as_deref().filter(|maker| is_exchanged(maker)) else { continue };
            let id = key.strip_prefix(records::TOKENS_PREFIX).unwrap_or_default().to_owned();
            if token.expires_ms.is_none_or(|at_ms| at_ms > now_ms) {
                of_name = of_name.saturating_add(u64::from(maker == name && token.app.as_ref() == app));
            } else if token.expires_ms.is_some_and(|at_ms| at_ms <= settled_ms) && !removed.contains(&id) {
                removed.push(id);
            }
        }
        let max = self.limits.tokens_per_trust_max;
        if of_name >= max {
            let of = app.map_or_else(|| "all apps".to_owned(), |app| format!("the app {app}"));
            let detail = format!("{name} has {} for {of} already.", counted(max, "token"));
            let problem = Problem::new(Code::TooMany, detail).hint("try again when some of them have expired");
            return Err(problem.limit("tokens_per_trust_max", max, of_name).into());
        }
        removed.truncate(REMOVED_AT_ONCE);
        removed.iter().for_each(|id| self.used.forget(id));
        let mut changes: Vec<Change> = removed
            .iter()
            .flat_map(|id| [Change::Delete(records::token_key(id)), Change::Delete(identities::used_key(id))])
            .collect();
        let (mut count, mut by_name, mut expired) = (0_u64, 0_u64, Vec::new());
        for (key, record) in self.catalog.list(identities::EXCHANGED_PREFIX, None, false, usize::MAX).await? {
            let exchanged: ExchangedRecord = records::read(&key, &record)?;
            if exchanged.expires_ms > now_ms {
                count = count.saturating_add(1);
                by_name = by_name.saturating_add(u64::from(exchanged.by == name));
            } else if exchanged.expires_ms <= settled_ms && expired.len() < REMOVED_AT_ONCE {
                expired.push(Change::Delete(key));
            }
        }
        let max = self.limits.identity_tokens_max;
        if count >= max {
            let detail = "The edge remembers as many exchanged identity tokens as it may.";
            let problem = Problem::new(Code::TooMany, detail).hint("try again when some of them have expired");
            return Err(problem.limit("identity_tokens_max", max, count).into());
        }
        // At most half for one trust, so that its jobs do not block other trusts.
        if by_name >= max.div_ceil(2) {
            let detail = format!("The edge remembers as many exchanged identity tokens of {name} as it may.");
            let problem = Problem::new(Code::TooMany, detail).hint("try again when some of them have expired");
            return Err(problem.limit("identity_tokens_max", max.div_ceil(2), by_name).into());
        }
        changes.extend(expired);
        Ok(changes)
    }

    fn mismatch(&self, request: &ExchangeRequest, reason: &str, from: Option<IpAddr>) -> Error {
        count("", "refused");
        if self.log_quota.take(&()).is_ok() {
            let app = request.app.as_ref().map(AppName::as_str);
            let environment = request.environment.as_ref().map(PlaceName::as_str);
            let from = from_text(from);
            tracing::warn!(target: "audit", app, environment, from, reason, "an identity token was refused");
        }
        Problem::new(Code::BadIdentityToken, format!("The identity token gives no access to {}.", place(request)))
            .hint(
                "its issuer, audience and claims have to match a `[[trust]]` of the edge's edge.toml for this app and \
                 environment, or its `[oidc]`; the log of the edge says what does not",
            )
            .into()
    }

    /// The sender knows the length; the response states the limit.
    fn too_long(&self, request: &ExchangeRequest, bytes: usize, from: Option<IpAddr>) -> Error {
        let bytes_max = self.limits.identity_token_bytes_max;
        // The client's problem omits the details.
        drop(self.mismatch(request, &format!("it has {bytes} bytes, and `{LENGTH_LIMIT}` allows {bytes_max}"), from));
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let detail = format!("The identity token has {bytes} bytes, and may have {bytes_max}.");
        Problem::new(Code::TooLarge, detail)
            .hint("one with fewer claims, such as groups, is shorter")
            .limit(LENGTH_LIMIT, bytes_max, bytes)
            .into()
    }

    /// A person authenticated by the provider learns the missing role, and nothing else.
    fn without_role(&self, request: &ExchangeRequest, person: &str, from: Option<IpAddr>) -> Error {
        count(OIDC_LABEL, "no_role");
        if self.log_quota.take(&()).is_ok() {
            let app = request.app.as_ref().map(AppName::as_str);
            tracing::warn!(target: "audit", app, person, from = from_text(from), "no group of a person has a role");
        }
        let detail = format!("None of the groups of {person} has a role in {}.", place(request));
        Problem::new(Code::Forbidden, detail)
            .hint("`[[oidc.groups]]` of edge.toml maps groups to roles; name another app by --app")
            .into()
    }

    fn replayed(&self, accepted: &Accepted, from: Option<IpAddr>) -> Error {
        count(accepted.label(), "replayed");
        if self.log_quota.take(&()).is_ok() {
            let name = accepted.name.as_str();
            tracing::warn!(target: "audit", name, from = from_text(from), "an identity token was presented again");
        }
        Problem::new(Code::BadIdentityToken, "The identity token was exchanged before, which can be done once.")
            .hint("have its issuer make another one, or keep the token that it was exchanged for")
            .into()
    }
}

impl Accepted {
    /// Returns the metrics label, independent of the person.
    fn label(&self) -> &str {
        self.trust.as_deref().unwrap_or(OIDC_LABEL)
    }
}

/// Refusal of an address after too many refusals.
pub(super) fn limited(wait: Duration) -> Error {
    count("", "limited");
    let seconds = seconds(wait);
    let problem = Problem::new(Code::TooManyAttempts, "Too many credentials from this address were refused.");
    problem.hint(format!("try again in {}", counted(seconds, "second"))).retry_after(seconds).into()
}

/// Refusal while an issuer is unreachable.
pub(super) fn unavailable(detail: &str, wait: Duration) -> Error {
    count("", "unavailable");
    let problem = Problem::new(Code::IdentityKeysUnavailable, detail);
    problem.hint("try again in a moment; the log of the edge says why").retry_after(seconds(wait)).into()
}

pub(super) fn seconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX).max(1)
}

/// Names app and environment of a request within a sentence.
fn place(request: &ExchangeRequest) -> String {
    let environment = request.environment.as_ref().map_or_else(String::new, |name| format!("{name} of "));
    let app = request.app.as_ref().map_or_else(|| "every app".to_owned(), |app| format!("the app {app}"));
    format!("{environment}{app}")
}

/// Returns the grant of a trust to a CI job.
fn accepted_job(
    of_issuer: &[&Trust],
    jwt: &Jwt<'_>,
    request: &ExchangeRequest,
    expires_ms: u64,
) -> Result<Accepted, Refused> {
    let Some(app) = &request.app else { return Err(Refused::Mismatch("no app is named".to_owned())) };
    let mut mismatches = Vec::new();
    for trust in of_issuer {
        let environment = request.environment.as_ref().or_else(|| trust.environments.first());
        let Some(environment) = environment else { continue };
        match check_trust(trust, &jwt.claims, (app, environment)) {
            Ok(()) => {
                return Ok(Accepted {
                    name: format!("{TRUST_PREFIX}{}", trust.name),
                    trust: Some(trust.name.clone()),
                    app: Some(app.clone()),
                    environment: Some(environment.clone()),
                    scope: trust.scope,
                    lifetime_s: trust.lifetime_s,
                    key: exchanged_key(jwt),
                    expires_ms,
                    subject: jwt.text("sub").unwrap_or_default().to_owned(),
                });
            }
            Err(mismatch) => mismatches.push(format!("{}: {mismatch}", trust.name)),
        }
    }
    Err(Refused::Mismatch(mismatches.join("; ").chars().take(REASON_CHARACTERS_MAX).collect()))
}

/// Returns the grant of a person's groups.
fn accepted_person(
    oidc: &Oidc,
    jwt: &Jwt<'_>,
    request: &ExchangeRequest,
    expires_ms: u64,
) -> Result<Accepted, Refused> {
    let person = oidc::person(&jwt.claims).map_err(Refused::Mismatch)?;
    let groups = oidc::groups(oidc, &jwt.claims);
    let grant = oidc.grant(&groups, request.app.as_ref(), request.environment.as_ref());
    let Some(grant) = grant else { return Err(Refused::NoRole(person)) };
    Ok(Accepted {
        name: person,
        trust: None,
        app: request.app.clone(),
        environment: grant.environment,
        scope: grant.scope,
        lifetime_s: oidc.lifetime_s,
        key: exchanged_key(jwt),
        expires_ms,
        subject: jwt.text("sub").unwrap_or_default().chars().take(oidc::SUBJECT_CHARACTERS_MAX).collect(),
    })
}

/// Returns the key of an exchange record: by the issuer's token id, or by the signed bytes. The signature is excluded,
/// since ECDSA signatures have two forms.
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

pub(super) fn count(trust: &str, outcome: &'static str) {
    counter!("devanture_identity_tokens_total", "trust" => trust.to_owned(), "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use devanture_config::limits::Limits;
    use serde_json::json;

    use super::*;
    use crate::ledger::Audit;
    use devanture_store::catalog::Catalog;

    #[tokio::test]
    async fn what_a_clock_that_is_ahead_lets_expire_takes_no_room_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let catalog: Arc<dyn Catalog> = catalog::open(&folder.path().join("catalog.redb")).unwrap();
        let limits = Limits { tokens_per_trust_max: 1, identity_tokens_max: 1, ..Limits::default() };
        let credentials = Credentials::new(Arc::clone(&catalog), Audit::new(Arc::clone(&catalog), &limits), &limits);
        let name = format!("{TRUST_PREFIX}ci");
        let token = json!({
            "hash": Digest::of(b""), "name": name, "app": null, "environment": null, "scope": "push",
            "created_ms": 1, "expires_ms": 10, "made_by": name,
        });
        let records = [
            (records::token_key("aa"), token),
            (identities::exchanged_key("bb"), json!({ "expires_ms": 10, "by": name })),
        ];
        let put = |(key, value): (String, serde_json::Value)| Change::Put(key, value.to_string().into_bytes().into());
        catalog.commit(Commit { checks: Vec::new(), changes: records.map(put).into() }).await.unwrap();
        let room = async |now_ms, settled_ms| {
            credentials.room_for_exchange((None, &name), now_ms, settled_ms).await.map_err(|error| error.0.code)
        };
        assert_eq!(room(9, 9).await, Err(Code::TooMany));
        assert_eq!(room(10, 9).await, Ok(Vec::new()));
        let gone = [records::token_key("aa"), identities::used_key("aa"), identities::exchanged_key("bb")];
        assert_eq!(room(10, 10).await, Ok(gone.map(Change::Delete).into()));
    }
}
