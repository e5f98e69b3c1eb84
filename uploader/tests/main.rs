//! The tests of the command line and of both programs together, in one program: each module is a subject.
//!
//! Modules that begin with `cli_` start `devanture` with [`cli_support`], without an edge or with a fake edge; all
//! others start the real edge with [`support`].

mod attacks;
mod browser;
mod cli_backend;
mod cli_check;
mod cli_despite;
mod cli_edge;
mod cli_failures;
mod cli_help;
mod cli_init;
#[cfg(unix)]
mod cli_left_out;
mod cli_login;
mod cli_moving;
mod cli_offline;
mod cli_proxy;
mod cli_restart;
mod cli_routes;
mod cli_support;
mod cli_words;
mod docs_moving;
mod e2e;
mod frameworks;
#[path = "../../edge/tests/support/relay.rs"]
mod relay;
mod support;
