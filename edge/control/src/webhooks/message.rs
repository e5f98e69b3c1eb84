//! Message formats of webhooks: JSON, or a line of text for a chat. Texts chosen by users are escaped to plain text.

use devanture_config::api::{WebhookData, WebhookEvent, WebhookFormat, WebhookPayload};
use devanture_config::text::{plain_text::is_plain, rfc3339};
use serde_json::json;

/// Maximum number of characters of a user text in a chat message.
const TEXT_CHARACTERS_MAX: usize = 200;
const WORD_JOINER: char = '\u{2060}';
/// Discord: neither mentions nor link previews (`SUPPRESS_EMBEDS`).
const DISCORD_FLAGS: u64 = 4;

/// Returns the payload of a message.
pub(super) fn payload(event: WebhookEvent, at_ms: u64, data: &WebhookData) -> WebhookPayload {
    WebhookPayload { event, timestamp: rfc3339(at_ms), data: data.clone() }
}

/// Returns the body of a message.
pub(super) fn body(format: WebhookFormat, payload: &WebhookPayload) -> Vec<u8> {
    let value = match format {
        WebhookFormat::Standard => serde_json::to_value(payload).unwrap_or_default(),
        WebhookFormat::Slack => {
            json!({ "text": line(payload, slack), "mrkdwn": false, "unfurl_links": false, "unfurl_media": false })
        }
        WebhookFormat::Discord => {
            json!({ "content": line(payload, discord), "allowed_mentions": { "parse": [] }, "flags": DISCORD_FLAGS })
        }
    };
    value.to_string().into_bytes()
}

/// Returns a user text as a single line of limited length, without control or direction characters and without host
/// names.
fn plain(text: &str) -> String {
    let mut characters = text.chars().map(|c| if is_plain(c) { c } else { ' ' });
    let mut plain = String::new();
    for c in characters.by_ref().take(TEXT_CHARACTERS_MAX) {
        // Chats turn bare host names into links: a zero-width joiner after the dot breaks the name.
        if c.is_alphabetic() && plain.ends_with('.') {
            plain.push(WORD_JOINER);
        }
        plain.push(c);
    }
    if characters.next().is_some() {
        plain.push('…');
    }
    plain
}

/// Escapes for Slack, where only `&`, `<` and `>` are special and form mentions, and addresses become links.
fn slack(text: &str) -> String {
    let text = plain(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    // Zero-width space: breaks addresses.
    text.replace("://", ":\u{200b}//")
}

/// Escapes for Discord, where Markdown characters take a backslash.
fn discord(text: &str) -> String {
    let mut escaped = String::new();
    for c in plain(text).chars() {
        if matches!(c, '\\' | '*' | '_' | '~' | '`' | '|' | '<' | '>' | '#' | '[' | ']' | '(' | ')' | '@' | ':' | '-') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Returns a message as a line of text; `escape` turns user texts into plain text.
fn line(payload: &WebhookPayload, escape: fn(&str) -> String) -> String {
    let data = &payload.data;
    let version = data.version.map_or_else(|| "a version".to_owned(), |version| version.short());
    let by = data.actor.as_deref().map(|actor| format!(" by {}", escape(actor))).unwrap_or_default();
    let what = data.kind.map_or("deploy", kind);
    let because =
        |reason: &Option<String>| reason.as_deref().map_or_else(String::new, |why| format!(": {}", escape(why)));
    let before = data.previous.map_or_else(String::new, |previous| format!(", before it {}", previous.short()));
    let text = match payload.event {
        WebhookEvent::DeployStarted => format!("a {what} of {version}{by} has begun"),
        WebhookEvent::DeployReady => format!("{version}{by} is stored and not live"),
        WebhookEvent::DeployLive => format!("{version} is live, a {what}{by}{before}"),
        WebhookEvent::DeployRollback => format!("rolled back to {version}{by}{before}"),
        WebhookEvent::DeployUndone => {
            format!("{version} is live again: the switch after it was undone{}", because(&data.reason))
        }
        WebhookEvent::DeployFailed => {
            let problem = data.problem.as_ref();
            let why = problem.map_or_else(String::new, |it| format!(": {} ({})", escape(&it.detail), it.code.as_str()));
            format!("a {what} of {version}{by} has failed{why}")
        }
        WebhookEvent::CanaryStep => format!("the canary {version}{by}{}", because(&data.reason)),
        WebhookEvent::EnvironmentLocked => format!("locked{by}{}", because(&data.reason)),
        WebhookEvent::EnvironmentUnlocked => format!("unlocked{by}"),
        WebhookEvent::CertificateFailed => {
            let name = escape(data.hostname.as_deref().unwrap_or_default());
            let ends = data
                .expires
                .as_deref()
                .map_or_else(|| "there is none yet".to_owned(), |expires| format!("the one there is ends {expires}"));
            format!("no certificate for {name}, {ends}{}", because(&data.reason))
        }
        WebhookEvent::WebhookDisabled => format!("the webhook {} was disabled{}", webhook(data), because(&data.reason)),
        WebhookEvent::WebhookTest => format!("a test of the webhook {}{by}", webhook(data)),
    };
    let place = data.environment.as_ref().map_or_else(String::new, |environment| format!(" {environment}"));
    let message = data.message.as_deref().map_or_else(String::new, |message| format!(" — {}", escape(message)));
    let is_live =
        matches!(payload.event, WebhookEvent::DeployLive | WebhookEvent::DeployRollback | WebhookEvent::DeployUndone);
    let address = if is_live { data.url.as_deref() } else { data.preview.as_deref() };
    let address = address.map_or_else(String::new, |address| format!(" {address}"));
    format!("{}{place}: {text}{message}{address}", data.app)
}

fn webhook(data: &WebhookData) -> &str {
    data.webhook.as_ref().map_or("", |name| name.as_str())
}

const fn kind(kind: devanture_config::api::DeployKind) -> &'static str {
    use devanture_config::api::DeployKind;
    match kind {
        DeployKind::Push => "push",
        DeployKind::Switch => "switch",
        DeployKind::Rollback => "rollback",
        DeployKind::Promote => "promotion",
        _ => "change",
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::Digest;
    use devanture_config::api::{DeployKind, DeployProblem};
    use devanture_config::problem::Code;

    use super::*;

    fn data() -> WebhookData {
        WebhookData {
            environment: Some("prod".parse().unwrap()),
            actor: Some("<!channel> @everyone".to_owned()),
            kind: Some(DeployKind::Push),
            version: Some(Digest::of(b"1")),
            url: Some("https://shop.example.app".to_owned()),
            preview: Some("https://preview.example.app".to_owned()),
            message: Some("**see** [here](https://evil.example)\n<@U1> & `x`".to_owned()),
            reason: Some("errors rose".to_owned()),
            problem: Some(DeployProblem { code: Code::SmokeFailed, detail: "/ answers 500.".to_owned() }),
            hostname: Some("www.example.org".to_owned()),
            webhook: Some("chat".parse().unwrap()),
            ..WebhookData::of(&"shop".parse().unwrap())
        }
    }

    fn text(format: WebhookFormat, event: WebhookEvent, member: &str) -> String {
        let body = body(format, &payload(event, 0, &data()));
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        value[member].as_str().unwrap().to_owned()
    }

    #[test]
    fn nothing_that_people_chose_is_a_mention_or_a_link_in_a_chat() {
        let id = Digest::of(b"1").short();
        let slack = text(WebhookFormat::Slack, WebhookEvent::DeployLive, "text");
        assert_eq!(
            slack,
            format!(
                "shop prod: {id} is live, a push by &lt;!channel&gt; @everyone — **see** \
                 [here](https:\u{200b}//evil.\u{2060}example) \
                 &lt;@U1&gt; &amp; `x` https://shop.example.app"
            )
        );
        let discord = text(WebhookFormat::Discord, WebhookEvent::DeployLive, "content");
        assert_eq!(
            discord,
            format!(
                "shop prod: {id} is live, a push by \\<!channel\\> \\@everyone — \\*\\*see\\*\\* \
                 \\[here\\]\\(https\\://evil.\u{2060}example\\) \\<\\@U1\\> & \\`x\\` https://shop.example.app"
            )
        );
        let discord = body(WebhookFormat::Discord, &payload(WebhookEvent::DeployLive, 0, &data()));
        let discord: serde_json::Value = serde_json::from_slice(&discord).unwrap();
        assert_eq!(discord["allowed_mentions"], json!({ "parse": [] }));
    }

    #[test]
    fn nothing_hides_turns_around_or_ends_the_line_in_a_chat() {
        for (text, shown) in [
            ("a\u{202e}b\u{2028}c\u{200b}d\r\ne", "a b c d  e"),
            ("see www.evil.com, a@b.c and v1.2.", "see www.\u{2060}evil.\u{2060}com, a@b.\u{2060}c and v1.2."),
            ("Well. It ends", "Well. It ends"),
        ] {
            assert_eq!(slack(text), shown);
        }
        assert_eq!(discord("discord.gg/x"), "discord.\u{2060}gg/x");
    }

    #[test]
    fn every_event_is_a_line_for_a_chat_and_never_too_long() {
        let long = WebhookData {
            message: Some("<".repeat(10_000)),
            reason: Some("<".repeat(10_000)),
            actor: Some("<".repeat(10_000)),
            problem: Some(DeployProblem { code: Code::SmokeFailed, detail: "<".repeat(10_000) }),
            ..data()
        };
        for event in WebhookEvent::ALL {
            for (escape, max) in [(slack as fn(&str) -> String, 40_000), (discord, 2_000)] {
                let line = line(&payload(*event, 0, &long), escape);
                assert!(!line.contains('\n') && line.chars().count() <= max, "{event}: {line}");
            }
            assert!(text(WebhookFormat::Slack, *event, "text").starts_with("shop prod: "), "{event}");
        }
    }

    #[test]
    fn a_message_of_the_standard_form_has_type_time_and_data() {
        let body = body(WebhookFormat::Standard, &payload(WebhookEvent::DeployLive, 1_795_442_700_999, &data()));
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["type"], "deploy.live");
        assert_eq!(value["timestamp"], "2026-11-23T14:05:00.999Z");
        assert_eq!(value["data"]["app"], "shop");
        assert_eq!(value["data"]["previous"], serde_json::Value::Null);
        assert!(value["data"].get("previous").is_none(), "what is not known is left out");
    }
}
