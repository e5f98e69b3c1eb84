//! Arguments of `webhooks`.

use clap::{Args, Subcommand};
use devanture_config::PlaceName;
use devanture_config::api::{WebhookEvent, WebhookFormat, WebhookName};

pub(super) const EXAMPLES: &str = "\
Examples:
  devanture webhooks                       every webhook, and whether its receiver takes messages
  devanture webhooks add ci https://ci.example.org/hooks/devanture
  devanture webhooks add chat - --format slack               the address, a secret itself, is read from stdin
  devanture webhooks add pager https://example.org/pager --event deploy.failed --event deploy.undone --from prod
  devanture webhooks add pager             enable it again, as it is
  devanture webhooks test ci               send a message now, and print the answer
  devanture webhooks show ci               its last messages, with attempts and answers
  devanture webhooks redeliver ci msg_0198c2f0a1b2c3d4e5f60718
  devanture webhooks rotate ci             another secret; the one before still signs for a day
  devanture webhooks remove ci

Events: deploy.started, deploy.ready, deploy.live, deploy.failed, deploy.undone, deploy.rollback, canary.step,
environment.locked, environment.unlocked, certificate.failed, webhook.disabled.";

/// Arguments of `webhooks`.
#[derive(Debug, Args)]
pub(crate) struct WebhooksArgs {
    /// The command; by default the webhooks are listed.
    #[command(subcommand)]
    pub(crate) command: Option<WebhooksCommand>,
}

/// Commands about webhooks.
#[derive(Debug, Subcommand)]
pub(crate) enum WebhooksCommand {
    /// List the webhooks of the app
    List,
    /// Add a webhook, or set one to something else and enable it again
    Add {
        /// Name of the webhook
        name: WebhookName,
        /// Address that messages go to; `-` reads it from stdin; an existing webhook keeps its own by default
        #[arg(value_name = "URL")]
        address: Option<String>,
        /// Only this event; may be given again; a new webhook is sent every event by default, and another keeps its own
        #[arg(long)]
        event: Vec<WebhookEvent>,
        /// Every event, where only some were sent
        #[arg(long, conflicts_with = "event")]
        every_event: bool,
        /// Only events of this environment; may be given again, with the same default
        #[arg(long, value_name = "ENV")]
        from: Vec<PlaceName>,
        /// Events of all environments, where only those of some were sent
        #[arg(long, conflicts_with = "from")]
        from_all: bool,
        /// Form of the messages: standard, as a new webhook has it, slack or discord
        #[arg(long, value_name = "FORMAT")]
        format: Option<WebhookFormat>,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove a webhook; messages that wait for it are dropped
    Remove {
        /// Name of the webhook
        name: WebhookName,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Send a message now, once, and print what came of it
    Test {
        /// Name of the webhook
        name: WebhookName,
    },
    /// Show a webhook with its last messages
    Show {
        /// Name of the webhook
        name: WebhookName,
        /// Messages to show
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: usize,
    },
    /// Make another secret; messages are signed with the one before, too, for 24 hours
    Rotate {
        /// Name of the webhook
        name: WebhookName,
        /// Sign with no secret before it any more, as where somebody else has one
        #[arg(long)]
        now: bool,
    },
    /// Send a message again that was delivered, failed or dropped, or now if it waits
    Redeliver {
        /// Name of the webhook
        name: WebhookName,
        /// Id of the message, as listed by `show`
        id: String,
    },
}
