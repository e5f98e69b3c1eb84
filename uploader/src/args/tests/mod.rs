//! The command line as typed.

mod recipes;

use super::*;
use clap::{CommandFactory, ValueEnum};

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn flags_of_settings_stand_before_or_after_the_command() {
    for line in ["devanture --app shop push", "devanture push --app shop", "devanture push -a shop"] {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        assert_eq!(cli.common.flags(), [(Name::App, "shop".to_owned())].into());
    }
    assert!(Cli::try_parse_from(["devanture", "push", "--env", ""]).is_err());
    assert!(Cli::try_parse_from(["devanture", "switch", "xyz"]).is_err());
}

#[test]
fn a_hostname_is_read_in_either_form() {
    let read = |line: &str| match Cli::try_parse_from(line.split(' ')).map(|cli| cli.command) {
        Ok(Command::Hostnames(HostnamesCommand::Add { name, canonical, .. })) => Some((name.to_string(), canonical)),
        _ => None,
    };
    for (line, expected) in [
        ("Bücher.example", Some(("xn--bcher-kva.example", None))),
        ("*.example.org --canonical=false", Some(("*.example.org", Some(false)))),
        ("--canonical www.example.org", Some(("www.example.org", Some(true)))),
        ("127.0.0.1", None),
        ("a..b", None),
    ] {
        let expected = expected.map(|(name, canonical)| (name.to_owned(), canonical));
        assert_eq!(read(&format!("devanture hostnames add {line}")), expected, "{line}");
    }
}

#[test]
fn the_help_of_every_command_has_examples_that_are_understood() {
    for command in Cli::command().get_subcommands() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<&str> =
            help.lines().map(str::trim_start).filter(|line| line.starts_with("devanture ")).collect();
        assert!(!examples.is_empty(), "{}", command.get_name());
        for example in examples {
            let call = example.split(['|', '>']).next().unwrap_or_default();
            // Two blanks separate the call from its explanation; a quoted text is one word.
            let call = call.split("  ").next().unwrap_or_default();
            let parts = call.split('\'').enumerate();
            let call: String =
                parts.map(|(n, part)| if n % 2 == 1 { part.replace(' ', "_") } else { part.into() }).collect();
            let words = call.split_whitespace().take_while(|word| *word != "print");
            let parsed = Cli::try_parse_from(words);
            assert!(parsed.is_ok(), "{example}: {:?}", parsed.err().map(|error| error.to_string()));
        }
    }
}

#[test]
fn completions_have_every_command_and_flag() {
    fn words(command: &clap::Command, found: &mut Vec<String>) {
        found.push(command.get_name().to_owned());
        found.extend(command.get_arguments().filter_map(|a| a.get_long()).map(str::to_owned));
        command.get_subcommands().for_each(|command| words(command, found));
    }
    let mut wanted = Vec::new();
    words(&Cli::command(), &mut wanted);
    for shell in clap_complete::Shell::value_variants() {
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut Cli::command(), "devanture", &mut script);
        let script = String::from_utf8(script).unwrap();
        for word in &wanted {
            assert!(script.contains(word.as_str()), "{shell}: {word}");
        }
    }
}

#[test]
fn a_slip_of_a_command_or_flag_gets_a_suggestion() {
    for (line, meant) in [
        ("devanture psuh", "push"),
        ("devanture rolback", "rollback"),
        ("devanture push --no-swich", "--no-switch"),
        ("devanture alias lst", "list"),
        ("devanture check --format gihub", "github"),
    ] {
        let message = Cli::try_parse_from(line.split(' ')).unwrap_err().to_string();
        assert!(message.contains(&format!("'{meant}'")), "{line}: {message}");
    }
}

#[test]
fn every_command_has_its_help_and_no_line_of_it_is_overlong() {
    fn look(command: &mut clap::Command) {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        let help = command.clone().term_width(100).render_long_help().to_string();
        for line in help.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        command.get_subcommands_mut().for_each(look);
    }
    look(&mut Cli::command());
}

#[test]
fn an_alias_is_named_or_the_branchs() {
    let read = |line: &str| match Cli::try_parse_from(line.split(' ')).map(|cli| cli.command) {
        Ok(Command::Push(args)) => Some((args.alias, args.dir.map(|dir| dir.display().to_string()))),
        _ => None,
    };
    let some = |text: &str| Some(text.to_owned());
    for (line, expected) in [
        ("devanture push", Some((None, None))),
        ("devanture push --alias x dist", Some((some("x"), some("dist")))),
        ("devanture push dist --alias", Some((some(""), some("dist")))),
        ("devanture push --alias --expires 14d", Some((some(""), None))),
        ("devanture push --expires 14d", None),
        ("devanture push --alias x --expires soon", None),
    ] {
        assert_eq!(read(line), expected, "{line}");
    }
}
