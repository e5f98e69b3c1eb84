//! Every MUST of RFC 9113 and RFC 7541 for a server, as raw frames over TLS against a running edge.
//!
//! A case consists of a section, a fact, bytes, and the set of outcomes that the section allows (`table`). `world` is
//! the edge with the apps and their backend, `wire` and `fields` are frames and field blocks as bytes; the remaining
//! modules are the table, by section. The tests are independent of the server implementation.

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test says what is wrong by panicking, in its helpers too"
)]
#![allow(clippy::too_many_lines, reason = "a table is as long as its section")]
#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

mod fields;
mod table;
mod wire;
pub(crate) mod world;

pub(crate) mod clients;
mod connections;
mod drain;
mod early;
mod flow;
mod formats;
mod frames;
mod hpack;
mod large;
mod limits;
mod memory;
mod messages;
mod preface;
pub(crate) mod proxied;
mod pseudo;
mod resets;
mod settings;
mod slow;
mod streams;

use std::collections::BTreeSet;

use table::{Case, play};
use world::World;

/// Minimum number of cases, which may only grow.
const CASES_MIN: usize = 340;

fn tables() -> Vec<Case> {
    let tables = [
        connections::cases(),
        flow::cases(),
        formats::cases(),
        frames::cases(),
        hpack::cases(),
        limits::cases(),
        messages::cases(),
        preface::cases(),
        pseudo::cases(),
        resets::cases(),
        settings::cases(),
        slow::cases(),
        streams::cases(),
    ];
    tables.into_iter().flatten().collect()
}

#[test]
fn the_table_is_as_long_as_it_was_and_no_case_is_in_it_twice() {
    let cases = tables();
    let names: BTreeSet<String> = cases.iter().map(Case::name).collect();
    assert_eq!(names.len(), cases.len());
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
}

/// Defines a test for each module of the table, each with a separate edge.
macro_rules! tests {
    ($($fact:ident => $module:ident;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                play($module::cases(), World::start().await).await;
            }
        )+
    };
}

tests! {
    connections_are_reused_only_for_hosts_of_their_certificate => connections;
    field_blocks_are_decoded_as_rfc_7541_says => hpack;
    frames_are_read_as_their_format_says => frames;
    frames_of_each_type_are_checked_as_section_6_says => formats;
    messages_that_are_malformed_are_refused => messages;
    pseudo_fields_are_checked => pseudo;
    settings_are_followed_and_acknowledged => settings;
    streams_go_through_their_states => streams;
    the_preface_comes_first => preface;
    windows_are_kept_in_both_directions => flow;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_end_and_limits_are_answered() {
    play(limits::cases(), World::with(limits::setup()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_begun_to_be_reset_end_their_connection() {
    play(resets::cases(), World::with(resets::setup()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_stop_are_not_waited_for() {
    play(slow::cases(), World::with(slow::setup()).await).await;
}
