//! A single order from request to chain: the steps of RFC 8555 §7.4 for one name.

use std::time::Duration;

use devanture_config::edge_toml::ChallengeKind;
use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Identifier, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::challenges::{Challenges, Shown, is_token};
use super::failure::Failure;
use super::store::{Proof, Store};
use devanture_serve::tls::Error;

/// Polling delays: first short, then longer.
const POLLING: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).backoff(1.5).timeout(Duration::from_secs(120));

/// Most authorizations of an order for one name; one is usual.
const AUTHORIZATIONS_MAX: usize = 8;

/// Order to be made.
pub(crate) struct OrderRequest<'w> {
    pub(crate) name: &'w str,
    /// Challenge kinds, preferred first.
    pub(crate) ways: Vec<ChallengeKind>,
    /// Replaced certificate, if the authority accepts the information (RFC 9773 §5).
    pub(crate) replaces: Option<CertificateIdentifier<'static>>,
}

/// Orders a certificate and waits for its issue. Returns key and chain in PEM. Proofs are presented only during the
/// call.
pub(crate) async fn obtain(
    account: &Account,
    (challenges, store): (&Challenges, &dyn Store),
    request: OrderRequest<'_>,
) -> Result<String, Failure> {
    let identifiers = [Identifier::Dns(request.name.to_owned())];
    let mut new = NewOrder::new(&identifiers);
    if let Some(replaces) = request.replaces {
        new = new.replaces(replaces);
    }
    let mut order = account.new_order(&new).await?;
    let shown = prove(&mut order, (challenges, store), request.name, &request.ways).await?;
    let ready = order.poll_ready(&POLLING).await;
    drop(shown);
    match ready {
        Ok(OrderStatus::Ready) => {}
        Ok(status) => return Err(unproven(&mut order, &format!("the order is {status:?}")).await),
        Err(instant_acme::Error::Api(problem)) => return Err(unproven(&mut order, &problem.to_string()).await),
        Err(error) => return Err(error.into()),
    }
    // Each certificate has a fresh key: a leaked key is useful only during the validity of its certificate.
    let key = KeyPair::generate().map_err(Error::from)?;
    let mut params = CertificateParams::new(vec![request.name.to_owned()]).map_err(Error::from)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(Error::from)?;
    order.finalize_csr(request.der()).await?;
    let chain = order.poll_certificate(&POLLING).await?;
    Ok(key.serialize_pem() + &chain)
}

/// Presents the proof for each pending authorization, and notifies the authority.
async fn prove(
    order: &mut Order,
    (challenges, store): (&Challenges, &dyn Store),
    name: &str,
    ways: &[ChallengeKind],
) -> Result<Option<Shown>, Failure> {
    let mut shown = None;
    let count = order.state().authorizations.len();
    if count > AUTHORIZATIONS_MAX {
        return Err(Failure::refused(format!("the authority asks for {count} authorizations of one name")));
    }
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if !matches!(authorization.identifier().identifier, Identifier::Dns(of) if of == name) {
            return Err(Failure::refused("the authority asks for an authorization for another name".to_owned()));
        }
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            status => return Err(Failure::refused(format!("its authorization is {status:?}"))),
        }
        let offered = |way: &&ChallengeKind| authorization.challenges.iter().any(|c| c.r#type == kind(**way));
        let Some(way) = ways.iter().find(offered).copied() else {
            return Err(Failure::refused("the authority offers none of the ways of `acme.challenges`".to_owned()));
        };
        let Some(mut challenge) = authorization.challenge(kind(way)) else { continue };
        if !is_token(&challenge.token) {
            return Err(Failure::refused("the authority's token is not base64url".to_owned()));
        }
        let authorized = challenge.key_authorization();
        let proof = match way {
            ChallengeKind::Http => {
                Proof::Http { token: challenge.token.clone(), key_authorization: authorized.as_str().to_owned() }
            }
            ChallengeKind::TlsAlpn => Proof::TlsAlpn { digest: authorized.digest().as_ref().to_vec() },
        };
        shown = Some(challenges.show(name, &proof)?);
        // From the next line on, the authority may contact any node.
        store.show_proof(name, &proof).await?;
        challenge.set_ready().await?;
    }
    Ok(shown)
}

const fn kind(way: ChallengeKind) -> ChallengeType {
    match way {
        ChallengeKind::Http => ChallengeType::Http01,
        ChallengeKind::TlsAlpn => ChallengeType::TlsAlpn01,
    }
}

/// Returns the authority's reason for rejecting the proof, reported with the authorization rather than the order.
async fn unproven(order: &mut Order, otherwise: &str) -> Failure {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        let failed = state.challenges.iter().find_map(|c| Some((&c.r#type, c.error.as_ref()?)));
        if let Some((kind, problem)) = failed {
            return Failure::unproven(format!("{kind:?}: {problem}"));
        }
    }
    Failure::unproven(otherwise.to_owned())
}
