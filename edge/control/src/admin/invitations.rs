//! Operations on invitations: an admin creates and revokes invitations; a recipient sets the password of the account.
//!
//! The link carries the invitation behind `#`. Browsers never send the fragment, so no log and no `Referer` contains
//! the invitation, and programs that follow links in mails do not use up an invitation. All recipients see the same
//! page.

use std::net::IpAddr;

use bytes::Bytes;
use devanture_config::api::{AcceptRequest, AccountRequest, InvitationAccepted, InvitationRequest, Secret};
use devanture_config::problem::{Code, Problem};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, Request, StatusCode};

use super::body::RequestBody;
use super::call::{Answer, Call};
use super::pages::{INVITATION, Page};
use super::state::Admin;
use super::{access, answer, body};
use crate::ledger::Error;

const FORM: &str = "application/x-www-form-urlencoded";

impl Admin {
    pub(super) async fn create_account(&self, call: Call) -> Answer {
        let Call { actor, request, .. } = call;
        let dry_run = body::dry_run(request.uri())?;
        let wanted: AccountRequest = self.json(request).await?;
        if dry_run {
            return Ok(answer::json(StatusCode::OK, &self.credentials.predict_account(&actor, wanted).await?));
        }
        Ok(answer::json(StatusCode::CREATED, &self.credentials.create_account(&actor, wanted).await?))
    }

    pub(super) async fn delete_account(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let name = path.account()?;
        if body::dry_run(request.uri())? {
            return Ok(answer::json(StatusCode::OK, &self.credentials.predict_deletion(&actor, &name).await?));
        }
        self.credentials.delete_account(&actor, &name).await?;
        Ok(answer::no_content())
    }

    pub(super) async fn invite(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (name, dry_run) = (path.account()?, body::dry_run(request.uri())?);
        let wanted: InvitationRequest = self.json_or_default(request).await?;
        if dry_run {
            let predicted = self.credentials.predict_invitation(&actor, &name, &wanted).await?;
            return Ok(answer::json(StatusCode::OK, &predicted));
        }
        Ok(answer::json(StatusCode::CREATED, &self.credentials.invite(&actor, &name, &wanted).await?))
    }

    pub(super) async fn revoke_invitation(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let name = path.account()?;
        if body::dry_run(request.uri())? {
            let predicted = self.credentials.predict_invitation_revoked(&actor, &name).await?;
            return Ok(answer::json(StatusCode::OK, &predicted));
        }
        self.credentials.revoke_invitation(&actor, &name).await?;
        Ok(answer::no_content())
    }

    /// Page of all invitations. To strangers, the page replaces every refusal, with instructions to log in.
    pub(super) async fn invitation_page(&self, request: Request<RequestBody>, _: Option<IpAddr>) -> Answer {
        body::only_parameters(request.uri(), &[])?;
        let mut response = INVITATION.answer(StatusCode::UNAUTHORIZED);
        // RFC 9110 §11.6.1.
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        Ok(response)
    }

    /// Accepts an invitation, as JSON from a program or as a form from the page.
    pub(super) async fn accept_invitation(&self, request: Request<RequestBody>, from: Option<IpAddr>) -> Answer {
        if body::media_type(request.headers()).as_deref() != Some(FORM) {
            let wanted: AcceptRequest = access::shown(request).await?;
            return Ok(answer::json(StatusCode::OK, &self.accepted(&wanted, from).await?));
        }
        let accepted = async {
            body::only_parameters(request.uri(), &[])?;
            let wanted = fields(&body::whole(request.into_body(), access::OPEN_BODY_BYTES_MAX).await?)?;
            self.accepted(&wanted, from).await
        };
        Ok(match accepted.await {
            Ok(accepted) => {
                let text = format!("The password of {} is set. You can close this page.", accepted.account);
                Page::of_text("Done", &[text]).answer(StatusCode::OK)
            }
            Err(Error(problem)) => {
                let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                // Password hints address users of the command line.
                let hint = problem.hint.filter(|_| problem.code != Code::BadRequest);
                let hint = hint.as_deref().unwrap_or("go back to try again");
                let sentences = [problem.detail, format!("Hint: {hint}.")];
                Page::of_text("The password is not set", &sentences).answer(status)
            }
        })
    }

    async fn accepted(&self, wanted: &AcceptRequest, from: Option<IpAddr>) -> Result<InvitationAccepted, Error> {
        let accepted = self.credentials.accept(wanted, from).await;
        match accepted {
            // Another node may have just created the invitation.
            Err(error) if error.0.code == Code::BadToken && self.is_shared() => {
                self.catch_up_for_stranger().await;
                self.credentials.accept(wanted, from).await
            }
            accepted => accepted,
        }
    }
}

/// Reads the form of the page.
fn fields(bytes: &Bytes) -> Result<AcceptRequest, Error> {
    let bad = || Problem::new(Code::BadRequest, "The form has an invitation and a password.");
    let (mut invitation, mut password) = (None, None);
    for pair in std::str::from_utf8(bytes).map_err(|_reason| bad())?.split('&') {
        let (name, value) = body::decoded_pair(pair)?;
        let field = match name.as_str() {
            "invitation" => &mut invitation,
            "password" => &mut password,
            _ => return Err(bad().into()),
        };
        if field.replace(value).is_some() {
            return Err(bad().into());
        }
    }
    let (invitation, password) = invitation.zip(password).ok_or_else(bad)?;
    // The user may paste the whole link.
    let invitation = invitation.rsplit('#').next().unwrap_or_default().trim();
    Ok(AcceptRequest { invitation: Secret::new(invitation), password: Secret::new(password) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_its_two_fields_once_and_may_hold_the_whole_link() {
        let form = |text: &'static str| fields(&Bytes::from_static(text.as_bytes()));
        let read = form("password=a+b%26c&invitation=https%3A%2F%2Fedge%2Fv1%2Finvitations%23dvi_1_2+").unwrap();
        assert_eq!((read.invitation.expose(), read.password.expose()), ("dvi_1_2", "a b&c"));
        for bad in
            ["", "password=a", "invitation=a", "invitation=a&password=b&password=c", "invitation=a&password=b&x=y"]
        {
            assert_eq!(form(bad).unwrap_err().0.code, Code::BadRequest, "{bad}");
        }
        fields(&Bytes::from_static(b"invitation=\xff&password=a")).unwrap_err();
    }
}
