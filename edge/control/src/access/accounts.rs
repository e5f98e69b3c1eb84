//! Accounts: name, password, and permissions of logins.

use devanture_config::api::{AccountInfo, AccountList, AccountName, AccountPrediction, AccountRequest, Scope, Secret};
use devanture_config::problem::{Code, Problem};

use super::passwords::PasswordOf;
use super::{Credentials, random_hex};
use crate::ledger::{Action, Actor, AuditEvent, Credential, Error, PART_CHANGES_MAX, unless_conflict, update};
use devanture_base::clock;
use devanture_store::catalog::{self, Change, Check, Commit, Revision};
use devanture_store::records;
use devanture_store::records::identities::{self, AccountRecord, LoginRecord};

/// Random bytes of an account id.
pub(super) const ID_BYTES: usize = 6;
/// Random bytes that distinguish successive passwords of an account.
const STAMP_BYTES: usize = 8;

impl Credentials {
    /// Creates an account.
    ///
    /// # Errors
    /// `forbidden` without lasting rights to operate the edge, as for a login, `conflict` for an existing name,
    /// `bad_request` for a short password, `too_many`, `busy`.
    pub async fn create_account(&self, actor: &Actor, request: AccountRequest) -> Result<AccountInfo, Error> {
        self.check_creation_of_account(actor, &request.name).await?;
        let key = identities::account_key(&request.name);
        let (password, password_ms) = match &request.password {
            Some(password) => (self.passwords.keep(PasswordOf::Account, password).await?, clock::now_ms()),
            None => (self.passwords.nobodys(), 0),
        };
        let record = AccountRecord {
            id: random_hex(ID_BYTES),
            password,
            stamp: random_hex(STAMP_BYTES),
            app: request.app,
            environment: request.environment,
            scope: request.scope.into(),
            created_ms: clock::now_ms(),
            password_ms,
            made_by: actor.name.clone(),
            invitation: None,
        };
        let commit = Commit {
            checks: vec![Check::Absent(key.clone())],
            changes: vec![Change::Put(key.clone(), records::write(&record)?)],
        };
        let event = of_account(Action::CreateAccount, &record).what(format!("{}, {}", request.name, request.scope));
        match self.audit.commit(actor, event, commit).await {
            Ok(_) => self.account_info(request.name, record).await,
            Err(catalog::Error::Conflict { key: taken }) if taken == key => Err(there_already(&request.name)),
            Err(error) => Err(error.into()),
        }
    }

    /// Predicts [`Credentials::create_account`] with its refusals, except those of the password.
    ///
    /// # Errors
    /// As [`Credentials::create_account`].
    pub async fn predict_account(&self, actor: &Actor, request: AccountRequest) -> Result<AccountPrediction, Error> {
        self.check_creation_of_account(actor, &request.name).await?;
        Ok(AccountPrediction {
            dry_run: true,
            name: request.name,
            app: request.app,
            environment: request.environment,
            scope: request.scope,
            invited_until_ms: None,
        })
    }

    /// Checks the actor's right to create accounts, the limit, and the name.
    async fn check_creation_of_account(&self, actor: &Actor, name: &AccountName) -> Result<(), Error> {
        must_manage_accounts(actor)?;
        let count_max = usize::try_from(self.limits.accounts_max).unwrap_or(usize::MAX);
        if self.catalog.list(identities::ACCOUNTS_PREFIX, None, false, count_max).await?.len() >= count_max {
            return Err(Problem::new(Code::TooMany, format!("There are {count_max} accounts already."))
                .hint("delete those that nobody uses, or raise `accounts_max` in edge.toml")
                .into());
        }
        if self.catalog.get(&identities::account_key(name)).await?.is_some() {
            return Err(there_already(name));
        }
        Ok(())
    }

    /// Returns all accounts.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn accounts(&self, actor: &Actor) -> Result<AccountList, Error> {
        actor.must_be_admin()?;
        let mut list = AccountList::default();
        for (key, record) in self.catalog.list(identities::ACCOUNTS_PREFIX, None, false, usize::MAX).await? {
            let account: AccountRecord = records::read(&key, &record)?;
            let Some(Ok(name)) = key.strip_prefix(identities::ACCOUNTS_PREFIX).map(str::parse) else { continue };
            list.accounts.push(self.account_info(name, account).await?);
        }
        Ok(list)
    }

    /// Changes the password of an account, and ends all its logins.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `bad_request` for a short password, `busy`.
    pub async fn set_password(&self, actor: &Actor, name: &AccountName, password: &Secret) -> Result<(), Error> {
        must_manage_accounts(actor)?;
        self.account(name).await?.ok_or_else(|| missing(name))?;
        let kept = self.passwords.keep(PasswordOf::Account, password).await?;
        let key = identities::account_key(name);
        update(&key, || async {
            let (revision, mut account) = self.account(name).await?.ok_or_else(|| missing(name))?;
            let changes = self.with_password(&key, &mut account, &kept).await?;
            let event = of_account(Action::SetPassword, &account).what(name);
            let commit = Commit { checks: vec![Check::At(key.clone(), revision)], changes };
            Ok(unless_conflict(self.audit.commit(actor, event, commit).await)?.map(|_| ()))
        })
        .await
    }

    /// Deletes an account, and ends all its logins. Its tokens stay, unless bound to the account. Records beyond the
    /// limit of one commit are refused at once, and deleted with expired records.
    ///
    /// # Errors
    /// `forbidden`, `not_found`; `conflict` for the last account able to operate the edge, except on the edge's
    /// machine.
    pub async fn delete_account(&self, actor: &Actor, name: &AccountName) -> Result<(), Error> {
        must_manage_accounts(actor)?;
        let key = identities::account_key(name);
        update(&key, || async {
            let (revision, account) = self.account(name).await?.ok_or_else(|| missing(name))?;
            let mut changes = vec![Change::Delete(key.clone())];
            changes.extend(self.remove_tokens_of(&account.id).await?);
            changes.extend(self.end_logins(&account).await?);
            changes.truncate(PART_CHANGES_MAX);
            let event = of_account(Action::DeleteAccount, &account).what(name);
            // Checked in the same commit: two admins may be deleted concurrently.
            let mut checks = vec![Check::At(key.clone(), revision)];
            checks.extend(self.admin_that_stays(actor, name, &account).await?);
            let commit = Commit { checks, changes };
            Ok(unless_conflict(self.audit.commit(actor, event, commit).await)?.map(|_| ()))
        })
        .await
    }

    /// Predicts [`Credentials::delete_account`] with its refusals; deletes nothing.
    ///
    /// # Errors
    /// As [`Credentials::delete_account`].
    pub async fn predict_deletion(&self, actor: &Actor, name: &AccountName) -> Result<AccountPrediction, Error> {
        must_manage_accounts(actor)?;
        let (_, account) = self.account(name).await?.ok_or_else(|| missing(name))?;
        self.admin_that_stays(actor, name, &account).await?;
        let invited_until_ms = account.invitation.as_ref().map(|invitation| invitation.expires_ms);
        Ok(prediction(name, account, invited_until_ms))
    }

    /// Returns a check for another account able to operate the edge, if `account` is able to. Local clients always have
    /// access.
    async fn admin_that_stays(
        &self,
        actor: &Actor,
        name: &AccountName,
        account: &AccountRecord,
    ) -> Result<Option<Check>, Error> {
        if actor.credential == Credential::Local || !runs_the_edge(account) {
            return Ok(None);
        }
        let own = identities::account_key(name);
        for (key, record) in self.catalog.list(identities::ACCOUNTS_PREFIX, None, false, usize::MAX).await? {
            if key != own && runs_the_edge(&records::read(&key, &record)?) {
                return Ok(Some(Check::At(key, record.revision)));
            }
        }
        Err(Problem::new(Code::Conflict, format!("{name} is the last account that may run the edge."))
            .hint(
                "make another one first; `devanture-edge account delete` on the edge's machine deletes it all the same",
            )
            .into())
    }

    /// Returns the record of an account.
    pub(super) async fn account(&self, name: &AccountName) -> Result<Option<(Revision, AccountRecord)>, Error> {
        let key = identities::account_key(name);
        let Some(record) = self.catalog.get(&key).await? else { return Ok(None) };
        Ok(Some((record.revision, records::read(&key, &record)?)))
    }

    /// Returns the logins of an account, by key.
    pub(super) async fn logins_of(&self, account: &AccountRecord) -> Result<Vec<(String, LoginRecord)>, Error> {
        let found = self.catalog.list(&identities::login_key(&account.id), None, false, usize::MAX).await?;
        let mut logins = Vec::with_capacity(found.len());
        for (key, record) in found {
            let login = records::read(&key, &record)?;
            logins.push((key, login));
        }
        Ok(logins)
    }

    /// Changes the password in an account's record, and ends its open invitation and all its logins.
    pub(super) async fn with_password(
        &self,
        key: &str,
        account: &mut AccountRecord,
        password: &str,
    ) -> Result<Vec<Change>, Error> {
        password.clone_into(&mut account.password);
        account.password_ms = clock::now_ms();
        account.stamp = random_hex(STAMP_BYTES);
        account.invitation = None;
        let mut changes = vec![Change::Put(key.to_owned(), records::write(account)?)];
        changes.extend(self.end_logins(account).await?);
        // The remaining logins have a stale stamp.
        changes.truncate(PART_CHANGES_MAX);
        Ok(changes)
    }

    /// Ends all logins of an account. A login created concurrently has a stale stamp, as do its sessions and passkeys:
    /// all are invalid, and deleted with expired records.
    async fn end_logins(&self, account: &AccountRecord) -> Result<Vec<Change>, Error> {
        Ok(self.logins_of(account).await?.into_iter().map(|(key, _)| Change::Delete(key)).collect())
    }

    async fn account_info(&self, name: AccountName, account: AccountRecord) -> Result<AccountInfo, Error> {
        let now_ms = clock::now_ms();
        let logins = self.logins_of(&account).await?;
        let in_force = logins.iter().filter(|(_, login)| login.expires_ms > now_ms && login.stamp == account.stamp);
        let mut in_force: Vec<u64> = in_force.map(|(_, login)| login.created_ms).collect();
        let sessions = self.sessions_of(&account.id).await?.into_iter();
        in_force.extend(sessions.filter(|found| found.is_of(&account)).map(|found| found.record.created_ms));
        Ok(AccountInfo {
            name,
            app: account.app,
            environment: account.environment,
            scope: account.scope.into(),
            created_ms: account.created_ms,
            password_ms: account.password_ms,
            logins: u64::try_from(in_force.len()).unwrap_or(u64::MAX),
            last_login_ms: in_force.into_iter().max(),
            invited_until_ms: account.invitation.map(|open| open.expires_ms).filter(|at_ms| *at_ms > now_ms),
        })
    }
}

/// Accounts are permanent: only an admin whose own credential does not expire may manage accounts.
pub(super) fn must_manage_accounts(actor: &Actor) -> Result<(), Error> {
    actor.must_be_admin()?;
    if actor.expires_ms.is_none() {
        return Ok(());
    }
    let detail = format!("{} ends, and an account would outlive it.", actor.shown());
    Err(Problem::new(Code::Forbidden, detail)
        .hint("`devanture-edge account` on the edge's machine needs no token")
        .into())
}

/// Creates an event about an account, in the account's app, if restricted to one.
pub(super) fn of_account(action: Action, account: &AccountRecord) -> AuditEvent {
    match (&account.app, &account.environment) {
        (Some(app), Some(environment)) => AuditEvent::of(action).place(app, environment),
        (Some(app), None) => AuditEvent::of(action).app(app),
        (None, _) => AuditEvent::of(action),
    }
}

/// Returns true if the account can log in and manage all apps.
fn runs_the_edge(account: &AccountRecord) -> bool {
    account.app.is_none() && account.scope == Scope::Admin && account.password_ms > 0
}

/// Returns the predicted state of an account, for a dry run.
pub(super) fn prediction(
    name: &AccountName,
    account: AccountRecord,
    invited_until_ms: Option<u64>,
) -> AccountPrediction {
    AccountPrediction {
        dry_run: true,
        name: name.clone(),
        app: account.app,
        environment: account.environment,
        scope: account.scope.into(),
        invited_until_ms,
    }
}

pub(super) fn missing(name: &AccountName) -> Error {
    let hint = "`devanture account list` lists the accounts";
    Problem::new(Code::NotFound, format!("There is no account {name}.")).hint(hint).into()
}

fn there_already(name: &AccountName) -> Error {
    Problem::new(Code::Conflict, format!("There is an account {name} already."))
        .hint("`devanture account invite` makes a link that sets another password")
        .into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use devanture_config::Digest;
    use devanture_config::api::LoginRequest;
    use devanture_config::limits::Limits;

    use super::*;
    use crate::access::logins::new_id;
    use crate::ledger::Audit;
    use devanture_store::catalog::overtaken::Overtaken;
    use devanture_store::catalog::{COMMIT_CHANGES_MAX, Catalog};
    use devanture_store::records::{TokenAccount, TokenRecord};

    /// The account `ada`, in a catalog limited to [`COMMIT_CHANGES_MAX`] changes per commit, like etcd.
    struct World {
        _folder: tempfile::TempDir,
        catalog: Arc<dyn Catalog>,
        credentials: Credentials,
        name: AccountName,
    }

    impl World {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let catalog: Arc<dyn Catalog> = Overtaken::new(catalog::open(&folder.path().join("catalog.redb")).unwrap());
            let limits =
                Limits { argon2_memory_kib: 7_168, argon2_passes: 1, logins_per_account_max: 1, ..Limits::default() };
            let audit = Audit::new(Arc::clone(&catalog), &limits);
            let credentials = Credentials::new(Arc::clone(&catalog), audit, &limits);
            let name: AccountName = "ada".parse().unwrap();
            let account = AccountRecord {
                id: random_hex(ID_BYTES),
                password: String::new(),
                stamp: random_hex(STAMP_BYTES),
                app: None,
                environment: None,
                scope: records::StoredScope::Admin,
                created_ms: 1,
                password_ms: 1,
                made_by: "me".to_owned(),
                invitation: None,
            };
            let world = Self { _folder: folder, catalog, credentials, name };
            world.put(identities::account_key(&world.name), &account).await;
            world
        }

        async fn put(&self, key: String, value: &impl serde::Serialize) {
            let changes = vec![Change::Put(key, records::write(value).unwrap())];
            self.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
        }

        /// Creates as many logins as before `logins_per_account_max` was lowered, and tokens bound to the account.
        async fn log_in_often(&self) {
            let (_, account) = self.credentials.account(&self.name).await.unwrap().unwrap();
            let login = LoginRecord {
                account: self.name.clone(),
                stamp: account.stamp,
                family: Digest::of(b""),
                refresh: Digest::of(b""),
                generation: 1,
                previous: None,
                access: Vec::new(),
                created_ms: 1,
                expires_ms: u64::MAX,
                from: String::new(),
            };
            let token = TokenRecord {
                hash: Digest::of(b""),
                name: "ci".to_owned(),
                app: None,
                environment: None,
                scope: records::StoredScope::Admin,
                created_ms: 1,
                expires_ms: Some(u64::MAX),
                made_by: None,
                root: None,
                account: Some(TokenAccount { name: self.name.clone(), id: account.id.clone() }),
            };
            for _ in 0..COMMIT_CHANGES_MAX {
                self.put(identities::login_key(&new_id(&account.id)), &login).await;
                self.put(records::token_key(&random_hex(ID_BYTES)), &token).await;
            }
        }

        async fn logins(&self) -> usize {
            self.credentials.remove_ended_sessions().await;
            self.catalog.list(identities::LOGINS_PREFIX, None, false, usize::MAX).await.unwrap().len()
        }
    }

    #[tokio::test]
    async fn an_account_with_any_number_of_logins_gets_another_password_and_logs_in() {
        let world = World::new().await;
        let password = Secret::new("correct horse battery".to_owned());
        world.log_in_often().await;
        world.credentials.set_password(&Actor::local(), &world.name, &password).await.unwrap();
        assert_eq!(world.logins().await, 0);
        world.log_in_often().await;
        let request = LoginRequest { login: world.name.to_string(), password };
        for _ in 0..2 {
            world.credentials.login(&request, None).await.unwrap();
        }
        assert_eq!(world.logins().await, 1);
    }

    #[tokio::test]
    async fn an_account_with_any_number_of_logins_and_tokens_is_deleted() {
        let world = World::new().await;
        world.log_in_often().await;
        world.credentials.delete_account(&Actor::local(), &world.name).await.unwrap();
        assert!(world.credentials.account(&world.name).await.unwrap().is_none());
        assert_eq!(world.logins().await, 0);
    }
}
