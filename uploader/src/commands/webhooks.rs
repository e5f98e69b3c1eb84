//! `webhooks`: addresses that are notified of the events of the app, and the messages to them.

use std::io::{BufRead as _, Read as _};

use devanture_config::api::{
    DeliveryState, Secret, WebhookDelivery, WebhookDetails, WebhookList, WebhookName, WebhookRequest, WebhookSet,
    WebhookState, WebhookStatus,
};
use devanture_config::problem::Code;
use devanture_config::text::counted;

use super::dry_run;
use crate::args::{WebhooksArgs, WebhooksCommand};
use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::progress::Style;
use crate::output::report::time_text;
use crate::output::terminal::escaped;
use crate::signals::blocking;

/// Bytes of an address on stdin.
const URL_BYTES_MAX: u64 = 4_096;
/// The note beside a secret.
const ONCE: &str = "the secret is shown this once; `devanture webhooks rotate` makes another";

/// `webhooks`.
///
/// # Errors
/// The error of the edge; `usage` if stdin has no address.
pub(crate) async fn webhooks(context: &Context, args: &WebhooksArgs) -> Result<(), Failure> {
    let (edge, style) = (context.edge()?, context.output.style);
    match &args.command {
        None | Some(WebhooksCommand::List) => {
            let list = edge.webhooks().await?;
            context.output.write(&list, || list_lines(style, &list));
        }
        Some(WebhooksCommand::Add { name, address: typed, event, every_event, from, from_all, format, dry_run }) => {
            let url = match typed.clone() {
                Some(typed) => Some(blocking(move || address(&typed)).await?),
                None => None,
            };
            // No event stands for all; omitted settings stay unchanged.
            let events = (*every_event || !event.is_empty()).then(|| event.clone());
            let environments = (*from_all || !from.is_empty()).then(|| from.clone());
            let wanted = WebhookRequest { url, events, environments, format: *format };
            let set = edge.set_webhook(name, &wanted, *dry_run).await?;
            if set.secret.is_some() {
                context.progress.note(ONCE);
            }
            context.output.of_change(*dry_run).write(&set, || set_lines(style, &set));
        }
        Some(WebhooksCommand::Remove { name, dry_run }) => {
            let removed = edge.remove_webhook(name, *dry_run).await?;
            context.output.of_change(*dry_run).report(&removed, || {
                let dropped = match removed.dropped {
                    0 => String::new(),
                    count => format!("; {} dropped", counted(usize::try_from(count).unwrap_or(usize::MAX), "message")),
                };
                match removed.dry_run {
                    true => {
                        vec![style.line("would", &format!("remove {name}{dropped}")), dry_run::nothing_changed(style)]
                    }
                    false => vec![style.line("removed", &format!("{name}{dropped}"))],
                }
            });
        }
        Some(WebhooksCommand::Test { name }) => {
            let delivery = edge.test_webhook(name).await?;
            let is_taken = delivery.state == DeliveryState::Delivered;
            // A failure has its own line of JSON.
            if is_taken || !context.output.is_json {
                context.output.write(&delivery, || delivery_lines(style, &delivery));
            }
            if !is_taken {
                return Err(not_taken(name, &delivery));
            }
        }
        Some(WebhooksCommand::Show { name, limit }) => {
            let details = edge.webhook(name, *limit).await?;
            context.output.write(&details, || details_lines(style, &details));
        }
        Some(WebhooksCommand::Rotate { name, now }) => {
            let rotated = edge.rotate_webhook(name, *now).await?;
            context.progress.note(ONCE);
            let until = time_text(rotated.old_secret_until_ms);
            context.progress.note(&match now {
                true => "messages are signed with none before it any more".to_owned(),
                false => format!("messages are signed with the one before, too, until {until}"),
            });
            context.output.write(&rotated, || vec![rotated.secret.expose().to_owned()]);
        }
        Some(WebhooksCommand::Redeliver { name, id }) => {
            let delivery = edge.redeliver(name, id).await?;
            context.output.report(&delivery, || vec![style.line("waiting", &escaped(&delivery.id))]);
        }
    }
    Ok(())
}

/// Returns the typed address, or the address from stdin.
fn address(typed: &str) -> Result<Secret, Failure> {
    if typed != "-" {
        return Ok(Secret::new(typed));
    }
    let mut line = String::new();
    let read = std::io::stdin().lock().take(URL_BYTES_MAX).read_line(&mut line);
    let line = line.trim();
    if read.is_err() || line.is_empty() {
        let message = "No address came on stdin.";
        return Err(Failure::new(Code::Usage, message).hint("such as `… webhooks add chat - < url.txt`"));
    }
    Ok(Secret::new(line))
}

fn not_taken(name: &WebhookName, delivery: &WebhookDelivery) -> Failure {
    let last = delivery.last.as_ref();
    let error = last.and_then(|last| last.error.as_deref()).unwrap_or("there is no answer");
    let message = format!("The receiver of the webhook {name} did not take the message: {}.", escaped(error));
    let hint = match last.and_then(|last| last.status) {
        Some(_) => "look at the receiver's own log, then test it again",
        None => "see that the edge can reach that address and that a receiver is there, then test it again",
    };
    Failure::new(Code::WebhookFailed, message).hint(hint)
}

/// Returns the selected events of a webhook, in a few words.
fn wants(webhook: &WebhookStatus) -> String {
    let events: Vec<&str> = webhook.events.iter().map(|event| event.as_str()).collect();
    let events = if events.is_empty() { "every event".to_owned() } else { events.join(", ") };
    let places: Vec<&str> = webhook.environments.iter().map(|place| place.as_str()).collect();
    let places = if places.is_empty() { String::new() } else { format!(" in {}", places.join(", ")) };
    format!("{}: {events}{places}", webhook.format)
}

fn state_text(style: Style, webhook: &WebhookStatus) -> String {
    match (webhook.state, &webhook.disabled) {
        (WebhookState::Active, _) => style.good("active"),
        (WebhookState::Failing, _) => {
            let since =
                webhook.failing_since_ms.map_or_else(String::new, |since| format!(" since {}", time_text(since)));
            style.bad(&format!("failing{since}"))
        }
        (WebhookState::Disabled, end) => {
            let end = end.as_ref();
            let why =
                end.map_or_else(String::new, |end| format!(" {}: {}", time_text(end.at_ms), escaped(&end.reason)));
            style.bad(&format!("disabled{why}"))
        }
    }
}

fn webhook_lines(style: Style, webhook: &WebhookStatus) -> Vec<String> {
    let mut lines = vec![
        format!("  {}  {}  {}", webhook.name, escaped(&webhook.address), state_text(style, webhook)),
        style.dim(&format!("    {}; set by {}", wants(webhook), escaped(&webhook.who))),
    ];
    if webhook.waiting > 0 {
        let waiting = counted(usize::try_from(webhook.waiting).unwrap_or(usize::MAX), "message");
        lines.push(style.dim(&format!("    {waiting} waiting")));
    }
    if let Some(until_ms) = webhook.old_secret_until_ms {
        lines.push(style.dim(&format!("    signed with the secret before, too, until {}", time_text(until_ms))));
    }
    lines
}

fn list_lines(style: Style, list: &WebhookList) -> Vec<String> {
    if list.webhooks.is_empty() {
        return vec!["The app has no webhook.".to_owned()];
    }
    list.webhooks.iter().flat_map(|webhook| webhook_lines(style, webhook)).collect()
}

fn set_lines(style: Style, set: &WebhookSet) -> Vec<String> {
    let webhook = &set.webhook;
    let text = format!("{} {} ({})", webhook.name, escaped(&webhook.address), wants(webhook));
    let what = if set.is_new { "add" } else { "set" };
    match (&set.secret, set.dry_run) {
        (_, true) => vec![style.line("would", &format!("{what} {text}")), dry_run::nothing_changed(style)],
        (Some(secret), false) => vec![style.line("added", &text), style.line("secret", secret.expose())],
        (None, false) => vec![style.line(what, &text)],
    }
}

fn delivery_lines(style: Style, delivery: &WebhookDelivery) -> Vec<String> {
    let payload = &delivery.payload;
    let place = payload.data.environment.as_ref().map_or_else(String::new, |place| format!(" {place}"));
    let state = match delivery.state {
        DeliveryState::Delivered => style.good("delivered"),
        DeliveryState::Waiting => "waiting".to_owned(),
        DeliveryState::Failed | DeliveryState::Dropped => style.bad(&delivery.state.to_string()),
    };
    let attempts = counted(usize::try_from(delivery.attempts).unwrap_or(usize::MAX), "attempt");
    let next = delivery.next_ms.map_or_else(String::new, |next| format!(", next {}", time_text(next)));
    let (time, event) = (escaped(&payload.timestamp), payload.event);
    let mut lines = vec![format!("  {time}  {event}{place}  {state}, {attempts}{next}  {}", escaped(&delivery.id))];
    if let Some(last) = &delivery.last {
        let status = last.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        let error = last.error.as_ref().map_or_else(String::new, |error| format!(": {}", escaped(error)));
        let answer = if last.answer.is_empty() { String::new() } else { format!("  {}", escaped(&last.answer)) };
        lines.push(style.dim(&format!("    {status} after {} ms{error}{answer}", last.ms)));
    }
    lines
}

fn details_lines(style: Style, details: &WebhookDetails) -> Vec<String> {
    let mut lines = webhook_lines(style, &details.webhook);
    if details.deliveries.is_empty() {
        lines.push("  No message was sent yet.".to_owned());
    }
    lines.extend(details.deliveries.iter().flat_map(|delivery| delivery_lines(style, delivery)));
    lines
}

#[cfg(test)]
mod tests {
    use devanture_config::api::{WebhookAttempt, WebhookData, WebhookEnd, WebhookEvent, WebhookFormat, WebhookPayload};

    use super::*;

    fn plain() -> Style {
        Style::of(&[("NO_COLOR".to_owned(), "1".to_owned())].into(), false)
    }

    fn status() -> WebhookStatus {
        WebhookStatus {
            name: "ci".parse().unwrap(),
            address: "https://ci.example.org".to_owned(),
            format: WebhookFormat::Standard,
            events: vec![WebhookEvent::DeployLive, WebhookEvent::DeployFailed],
            environments: vec!["prod".parse().unwrap()],
            who: "ada".to_owned(),
            created_ms: 0,
            state: WebhookState::Active,
            failing_since_ms: None,
            disabled: None,
            old_secret_until_ms: None,
            waiting: 0,
        }
    }

    #[test]
    fn a_webhook_is_listed_with_what_it_wants_and_how_it_is() {
        let list = WebhookList { webhooks: vec![status()] };
        let lines = list_lines(plain(), &list);
        assert_eq!(
            lines,
            ["  ci  https://ci.example.org  active", "    standard: deploy.live, deploy.failed in prod; set by ada"]
        );
        assert_eq!(list_lines(plain(), &WebhookList::default()), ["The app has no webhook."]);
        let end = Some(WebhookEnd { at_ms: 0, reason: "It is\u{1b}[31m gone.".to_owned() });
        let disabled = WebhookStatus { state: WebhookState::Disabled, disabled: end, waiting: 2, ..status() };
        let lines = webhook_lines(plain(), &WebhookStatus { old_secret_until_ms: Some(1_000), ..disabled });
        assert!(lines[0].contains("disabled 1970-01-01 00:00:00 UTC: It is"), "{lines:?}");
        assert!(!lines[0].contains('\u{1b}'));
        assert_eq!(lines[2], "    2 messages waiting");
        assert!(lines[3].ends_with("until 1970-01-01 00:00:01 UTC"), "{lines:?}");
    }

    #[test]
    fn a_message_is_shown_with_its_attempts_and_the_last_answer() {
        let last = WebhookAttempt {
            at_ms: 0,
            ms: 12,
            status: Some(500),
            error: Some("it answers 500".to_owned()),
            answer: "oops\u{7}".to_owned(),
        };
        let data =
            WebhookData { environment: Some("prod".parse().unwrap()), ..WebhookData::of(&"shop".parse().unwrap()) };
        let delivery = WebhookDelivery {
            id: "msg_1".to_owned(),
            state: DeliveryState::Waiting,
            attempts: 1,
            next_ms: Some(5_000),
            last: Some(last),
            payload: WebhookPayload {
                event: WebhookEvent::DeployLive,
                timestamp: "1970-01-01T00:00:00.000Z".to_owned(),
                data,
            },
        };
        let lines = delivery_lines(plain(), &delivery);
        let head =
            "  1970-01-01T00:00:00.000Z  deploy.live prod  waiting, 1 attempt, next 1970-01-01 00:00:05 UTC  msg_1";
        assert_eq!(lines[0], head);
        assert!(lines[1].starts_with("    500 after 12 ms: it answers 500  oops"), "{lines:?}");
        assert!(!lines[1].contains('\u{7}'));
        let details = WebhookDetails { webhook: status(), deliveries: Vec::new() };
        assert_eq!(details_lines(plain(), &details).last().unwrap(), "  No message was sent yet.");
    }

    #[test]
    fn a_secret_is_shown_with_a_new_webhook_alone() {
        let set = WebhookSet {
            dry_run: false,
            app: "shop".parse().unwrap(),
            is_new: true,
            webhook: status(),
            secret: Some(Secret::new("whsec_1")),
        };
        assert_eq!(set_lines(plain(), &set)[1], "  secret    whsec_1");
        let again = WebhookSet { is_new: false, secret: None, ..set.clone() };
        assert_eq!(set_lines(plain(), &again).len(), 1);
        let dry = WebhookSet { dry_run: true, secret: None, ..set };
        assert!(set_lines(plain(), &dry)[0].starts_with("  would     add ci"), "{:?}", set_lines(plain(), &dry));
    }
}
