//! DNS proofs: an actor with write access to a TXT record below a name may have the name.
//!
//! The value of the record is bound to this edge by a secret, to the app and to the name: records of another edge, app
//! or name prove nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, Hostname};
use futures_util::future::join_all;
use hickory_resolver::proto::rr::Name;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::ledger::{Error, shared_secret};
use devanture_base::fair::{AppTurns, TurnsByApp};
use devanture_serve::proxy::Names;
use devanture_store::catalog::Catalog;
use devanture_store::records::PROOF_SECRET_KEY;

/// Label in front of a name for the proof record.
const LABEL: &str = "_devanture";
/// Prefix of the value: shows the purpose of the record to readers of a zone file.
const VALUE: &str = "devanture-app=";
/// Maximum number of names with a spelled-out record in a hint; further names are counted.
const HINTS_MAX: usize = 10;
/// Divisor for the part of the concurrent lookups open to a single app: a slow DNS server of an app must not block
/// lookups of other apps (law 11).
const SHARES: usize = 4;
/// Maximum wait of a lookup for its turn, as a multiple of the lookup time.
const WAITS: u32 = 2;

/// Resolver of DNS proofs.
pub(crate) struct Prover {
    catalog: Arc<dyn Catalog>,
    names: Names,
    time_max: Duration,
    lookups: TurnsByApp,
    secret: OnceCell<[u8; 32]>,
}

/// Runs a lookup in turn for the app; waits at most `wait_max`, then runs at most `time_max`.
async fn ask_in_turn<T>(
    turns: &AppTurns,
    (wait_max, time_max): (Duration, Duration),
    question: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let Ok(_turn) = timeout(wait_max, turns.take()).await else {
        return Err("too much else is asked of DNS at the moment".to_owned());
    };
    let late = |_elapsed| Err(format!("DNS did not answer within {} ms", time_max.as_millis()));
    timeout(time_max, question).await.unwrap_or_else(late)
}

/// TXT record that proves a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    name: String,
    value: String,
}

/// Name without a DNS proof.
pub(crate) struct MissingProof {
    host: Hostname,
    proof: Proof,
    why: String,
}

impl Prover {
    pub(crate) fn new(catalog: Arc<dyn Catalog>, servers: &[SocketAddr], time_ms_max: u64, lookups_max: u64) -> Self {
        let lookups_max = usize::try_from(lookups_max).unwrap_or(usize::MAX);
        let time_max = Duration::from_millis(time_ms_max);
        Self {
            catalog,
            // Longer than the time of a lookup: the timeout of the turn ends the lookup.
            names: Names::within(servers, time_max * 2),
            time_max,
            lookups: TurnsByApp::new(lookups_max, SHARES),
            secret: OnceCell::new(),
        }
    }

    /// Returns the `hosts` without a DNS proof for `app`.
    ///
    /// # Errors
    /// Errors of the catalog; a DNS failure counts as unproven.
    pub(crate) async fn unproven(&self, app: &AppName, hosts: &[Hostname]) -> Result<Vec<MissingProof>, Error> {
        if hosts.is_empty() {
            return Ok(Vec::new());
        }
        let secret = self.secret().await?;
        let own = self.lookups.of_app(app);
        let times = (self.time_max * WAITS, self.time_max);
        let ask = |host: &Hostname| {
            let (host, proof) = (host.clone(), Proof::new(&secret, app, host));
            let own = &own;
            async move {
                let why = ask_in_turn(own, times, proof.look_up(&self.names)).await.err()?;
                Some(MissingProof { host, proof, why })
            }
        };
        // All lookups start to wait now: a list of names waits no longer than a single name.
        let answers: Vec<Option<MissingProof>> = join_all(hosts.iter().map(ask)).await;
        Ok(answers.into_iter().flatten().collect())
    }

    /// Returns the secret, created on first use; all nodes of a cluster share the secret.
    async fn secret(&self) -> Result<[u8; 32], Error> {
        self.secret.get_or_try_init(|| shared_secret(&*self.catalog, PROOF_SECRET_KEY)).await.copied()
    }
}

impl Proof {
    fn new(secret: &[u8; 32], app: &AppName, host: &Hostname) -> Self {
        // Neither name can contain the zero separator, so two distinct pairs never collide.
        let bound = blake3::keyed_hash(secret, format!("hostname-proof\0{app}\0{host}").as_bytes());
        Self { name: format!("{LABEL}.{host}."), value: format!("{VALUE}{}", bound.to_hex()) }
    }

    /// Looks up the record.
    ///
    /// # Errors
    /// Reason for a missing record, as the second half of a sentence.
    async fn look_up(&self, names: &Names) -> Result<(), String> {
        let name = Name::from_ascii(&self.name).map_err(|_reason| "its record's name would be too long".to_owned())?;
        let texts = names.texts(&name).await?;
        match texts.iter().any(|text| text.trim_ascii() == self.value.as_bytes()) {
            true => Ok(()),
            false if texts.is_empty() => Err("there is no such record".to_owned()),
            false => Err("its record has another value".to_owned()),
        }
    }
}

/// Returns the problem of unproven names, with the record to create for each name.
pub(crate) fn problem(app: &AppName, unproven: &[MissingProof]) -> Problem {
    let listed = |text: &dyn Fn(&MissingProof) -> String, parted: &str| {
        let mut texts: Vec<String> = unproven.iter().take(HINTS_MAX).map(text).collect();
        if unproven.len() > HINTS_MAX {
            texts.push(format!("{} more", unproven.len() - HINTS_MAX));
        }
        texts.join(parted)
    };
    let detail = listed(&|one| format!("{} ({})", one.host.unicode(), one.why), ", ");
    let records = listed(&|one| format!("{} TXT \"{}\"", one.proof.name, one.proof.value), "; ");
    let detail = format!("DNS does not prove that the app {app} may have {detail}.");
    Problem::new(Code::HostnameUnproven, detail).hint(format!(
        "create the record {records}, wait until DNS shows it, and try again; or let an admin token add it, one for every \
         app where the name is above or below another app's"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_of_one_edge_one_app_and_one_name() {
        let proof =
            |edge: u8, app: &str, host: &str| Proof::new(&[edge; 32], &app.parse().unwrap(), &host.parse().unwrap());
        let one = proof(1, "shop", "www.example.org");
        assert_eq!(one.name, "_devanture.www.example.org.");
        assert_eq!(one.value.len(), VALUE.len() + 64);
        assert_eq!(one, proof(1, "shop", "WWW.Example.org."));
        for other in [
            proof(2, "shop", "www.example.org"),
            proof(1, "shop-2", "www.example.org"),
            proof(1, "shop", "www.example.com"),
            proof(1, "shop", "example.org"),
        ] {
            assert_ne!(one.value, other.value);
        }
    }

    #[tokio::test]
    async fn law_11_an_app_that_waits_for_dns_keeps_no_other_from_asking() {
        const LONG: Duration = Duration::from_secs(60);
        let turns = TurnsByApp::new(8, SHARES);
        let (slow, other) = (turns.of_app(&"slow".parse().unwrap()), turns.of_app(&"other".parse().unwrap()));
        let silence = || std::future::pending::<Result<(), String>>();
        let slow_ones = join_all((0..20).map(|_| ask_in_turn(&slow, (LONG, LONG), silence())));
        tokio::select! {
            biased;
            _ = slow_ones => panic!("nobody answered"),
            answer = ask_in_turn(&other, (LONG, LONG), async { Ok(()) }) => answer.unwrap(),
        }
        drop((slow, other));
        let _third = turns.of_app(&"third".parse().unwrap());
        assert_eq!(turns.apps().len(), 1, "apps that ask no more are forgotten");
    }

    #[tokio::test]
    async fn the_time_of_a_question_counts_from_its_turn_and_its_turn_is_not_waited_for_without_end() {
        let turns = TurnsByApp::new(1, SHARES);
        let own = turns.of_app(&"shop".parse().unwrap());
        let times = (Duration::from_millis(200), Duration::from_millis(150));
        let silence = || std::future::pending::<Result<(), String>>();
        let answers = join_all((0..4).map(|_| ask_in_turn(&own, times, silence()))).await;
        // The second turn comes after 150 ms; after 200 ms the rest give up.
        let expected =
            ["did not answer within 150 ms", "did not answer within 150 ms", "too much else", "too much else"];
        for (answer, expected) in answers.iter().zip(expected) {
            assert!(answer.as_ref().unwrap_err().contains(expected), "{answers:?}");
        }
    }
}
