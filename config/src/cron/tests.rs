//! Tests of expressions and their times.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use proptest::prelude::*;

use super::*;

const MINUTE_MS: u64 = 60_000;
/// 2026-01-01 and 2030-01-01.
const SPAN_MS: std::ops::Range<u64> = 1_767_225_600_000..1_893_456_000_000;

fn cron(text: &str) -> Cron {
    text.parse().unwrap()
}

fn zone(text: &str) -> Zone {
    text.parse().unwrap()
}

/// Returns the local time and offset in `zone`.
fn clock(zone: &Zone, at_ms: u64) -> (DateTime, Offset) {
    let at = Timestamp::from_millisecond(at_ms.try_into().unwrap()).unwrap();
    let offset = zone.rules().to_offset(at);
    (offset.to_datetime(at), offset)
}

fn ms(zone: &Zone, text: &str) -> u64 {
    let at: DateTime = text.parse().unwrap();
    zone.rules().to_timestamp(at).unwrap().as_millisecond().try_into().unwrap()
}

/// Returns the next `count` times in Paris after a local time, with offsets in hours.
fn in_paris(text: &str, after: &str, count: usize) -> Vec<String> {
    let paris = zone("Europe/Paris");
    let mut at = ms(&paris, after);
    let mut next = || {
        at = cron(text).next_after(&paris, at).unwrap();
        let (shown, offset) = clock(&paris, at);
        format!("{}+{}", shown.strftime("%d %H:%M"), offset.seconds() / 3_600)
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn an_expression_is_read_as_it_is_written() {
    let utc = Zone::default();
    for (text, after, next) in [
        ("0 8 * * *", "2026-03-01T07:59:59", "2026-03-01T08:00"),
        ("0 8 * * *", "2026-03-01T08:00", "2026-03-02T08:00"),
        ("@hourly", "2026-12-31T23:00", "2027-01-01T00:00"),
        ("@weekly", "2026-03-02T00:00", "2026-03-08T00:00"),
        ("@yearly", "2026-03-02T00:00", "2027-01-01T00:00"),
        ("*/15 9-17 * * mon-fri", "2026-03-06T17:45", "2026-03-09T09:00"),
        ("1,31 * * * *", "2026-03-06T17:01", "2026-03-06T17:31"),
        ("0 0 * * 7", "2026-03-02T00:00", "2026-03-08T00:00"),
        ("0 0 29 feb *", "2026-03-02T00:00", "2028-02-29T00:00"),
        // Either day suffices if both are named.
        ("0 0 13 * fri", "2026-03-02T00:00", "2026-03-06T00:00"),
        ("0 0 */2 * mon", "2026-03-02T00:00", "2026-03-09T00:00"),
        ("0 12 31 * *", "2026-04-01T00:00", "2026-05-31T12:00"),
    ] {
        assert_eq!(cron(text).next_after(&utc, ms(&utc, after)), Some(ms(&utc, next)), "{text} after {after}");
        assert_eq!(cron(text).to_string(), text);
    }
}

#[test]
fn a_day_that_comes_once_in_decades_comes() {
    for (text, after, next) in [
        // A Saturday on 1, 8, 15, 22 and 29 August.
        ("0 0 */7 8 6", "2026-11-26T00:00", "2037-08-01T00:00"),
        ("0 0 */7 8 6", "2054-08-29T00:00", "2065-08-01T00:00"),
        ("0 0 29 2 *", "2096-02-29T00:00", "2104-02-29T00:00"),
        // A Sunday on 29 February.
        ("0 0 29 2 */7", "2088-02-29T00:00", "2128-02-29T00:00"),
        ("59 23 29 2 */7", "2088-02-29T23:59", "2128-02-29T23:59"),
    ] {
        let utc = Zone::default();
        assert_eq!(cron(text).next_after(&utc, ms(&utc, after)), Some(ms(&utc, next)), "{text} after {after}");
        assert_eq!(cron(text).last_within(&utc, ms(&utc, after), ms(&utc, next)), Some(ms(&utc, next)), "{text}");
        assert_eq!(cron(text).last_within(&utc, ms(&utc, after), ms(&utc, next) - 1), None, "{text} after {after}");
    }
}

#[test]
fn a_range_of_weekdays_may_end_in_sunday() {
    let weekdays = |text: &str| cron(&format!("0 8 * * {text}")).fields.weekdays;
    for (range, expected) in [
        ("sat-sun", "0,6"),
        ("SAT-Sun", "0,6"),
        ("sat-0", "0,6"),
        ("6-7", "0,6"),
        ("mon-sun", "0-6"),
        ("mon-sun/2", "0,1,3,5"),
        ("sat-sun/2", "6"),
        ("5-sun", "0,5,6"),
        ("7-sun", "0"),
        ("mon-wed,sat-sun", "0-3,6"),
        // Sunday is also the first day.
        ("sun-sun", "0"),
        ("0-sun", "0"),
        ("sun-tue", "0-2"),
        ("sun-sat", "0-6"),
        ("sun-7", "0-6"),
    ] {
        assert_eq!(weekdays(range), weekdays(expected), "{range}");
    }
    for bad in ["0 8 * * sat-mon", "0 8 * * 5-1", "5-0 8 * * *", "0 5-0 * * *", "0 8 * dec-0 *"] {
        assert!(bad.parse::<Cron>().is_err(), "{bad}");
    }
}

#[test]
fn what_is_no_expression_is_refused_with_its_field() {
    for (text, part) in [
        ("", "five fields"),
        ("0 8 * *", "five fields"),
        ("0 8 * * * *", "five fields"),
        ("@reboot", "five fields"),
        ("@Daily", "five fields"),
        ("60 8 * * *", "no minute"),
        ("0 24 * * *", "no hour"),
        ("0 8 0 * *", "no day"),
        ("0 8 * 13 *", "no month"),
        ("0 8 * * 8", "no weekday"),
        ("0 8 * * monday", "no weekday"),
        ("5-1 * * * *", "no minute"),
        ("*/0 * * * *", "no minute"),
        ("5/10 * * * *", "no minute"),
        ("1,,2 * * * *", "no minute"),
        ("+1 * * * *", "no minute"),
        ("001 * * * *", "no minute"),
        ("0 8 L * *", "no day"),
        ("0 8 30 feb *", "never comes"),
        ("0 8 31 4,6,9,11 *", "never comes"),
    ] {
        let error = text.parse::<Cron>().unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    assert!(format!("{}0 8 * * *", " ".repeat(BYTES_MAX)).parse::<Cron>().is_err());
    // A day of the week occurs in every month.
    assert!("0 8 30 feb mon".parse::<Cron>().is_ok());
}

#[test]
fn a_zone_has_one_name() {
    for name in ["UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata"] {
        assert_eq!(zone(name).as_str(), name);
    }
    for bad in ["", "Paris", "europe/paris", "../etc/localtime", "Europe/Paris\0", "+02:00", &"a".repeat(100)] {
        assert!(bad.parse::<Zone>().is_err(), "{bad}");
    }
}

#[test]
fn a_time_that_the_clock_leaves_out_comes_when_it_is_set_forward() {
    // On 29 March 2026, 02:00 is 03:00 in Paris.
    assert_eq!(in_paris("30 2 * * *", "2026-03-28T00:00", 3), ["28 02:30+1", "29 03:00+2", "30 02:30+2"]);
    // Several skipped times become a single run.
    assert_eq!(in_paris("0,20,40 2 * * *", "2026-03-28T03:00", 2), ["29 03:00+2", "30 02:00+2"]);
    assert_eq!(in_paris("0 2,3 * * *", "2026-03-28T04:00", 2), ["29 03:00+2", "30 02:00+2"]);
    assert_eq!(in_paris("*/30 * * * *", "2026-03-29T01:00", 3), ["29 01:30+1", "29 03:00+2", "29 03:30+2"]);
    assert_eq!(in_paris("30 * * * *", "2026-03-29T01:00", 2), ["29 01:30+1", "29 03:30+2"]);
}

#[test]
fn a_time_that_the_clock_shows_twice_comes_once_unless_it_is_every_hour() {
    // On 25 October 2026, 03:00 is 02:00 in Paris.
    assert_eq!(in_paris("30 2 * * *", "2026-10-24T03:00", 2), ["25 02:30+2", "26 02:30+1"]);
    assert_eq!(in_paris("0 3 * * *", "2026-10-24T04:00", 2), ["25 03:00+1", "26 03:00+1"]);
    assert_eq!(in_paris("30 1-3 * * *", "2026-10-25T00:00", 3), ["25 01:30+2", "25 02:30+2", "25 03:30+1"]);
    let twice = ["25 02:00+2", "25 02:30+2", "25 02:00+1", "25 02:30+1", "25 03:00+1"];
    assert_eq!(in_paris("*/30 * * * *", "2026-10-25T01:30", 5), twice);
}

fn any_cron() -> impl Strategy<Value = Cron> {
    let minute = prop_oneof!["\\*", "\\*/[1-9]", "[0-9]", "[0-5][0-9]", "[0-2]?[0-9]-[3-5][0-9]", "[0-9],[1-5][0-9]"];
    let hour = prop_oneof!["\\*", "\\*/[1-9]", "[0-9]", "[0-4],2[0-3]", "[0-9]-1[0-9]", "2"];
    let day = prop_oneof![Just("*".to_owned()), "[1-9]", "1[0-9]-2[0-9]", "\\*/[1-9]"];
    let month = prop_oneof![Just("*".to_owned()), "[1-9]", "mar-oct", "\\*/[1-6]"];
    let weekday = prop_oneof![Just("*".to_owned()), "[0-7]", "mon-fri", "sun"];
    (minute, hour, day, month, weekday)
        .prop_map(|(minute, hour, day, month, weekday)| cron(&format!("{minute} {hour} {day} {month} {weekday}")))
}

fn any_zone() -> impl Strategy<Value = Zone> {
    let names = ["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca"];
    proptest::sample::select(names.to_vec()).prop_map(zone)
}

/// Returns a time before a change of the clock: by up to a day, a minute, a millisecond, or zero; or any time.
fn near_a_change(zone: &Zone, at_ms: u64, near: u64) -> u64 {
    let at = Timestamp::from_millisecond(at_ms.try_into().unwrap()).unwrap();
    let rules = zone.rules();
    match rules.following(at).next().filter(|_| near > 0) {
        Some(change) => {
            let before = [at_ms % 86_400_000, MINUTE_MS, 1, 0][usize::try_from(near - 1).unwrap()];
            u64::try_from(change.timestamp().as_millisecond()).unwrap() - before
        }
        None => at_ms,
    }
}

proptest! {
    #[test]
    fn the_next_time_is_after_and_the_clock_shows_it(cron in any_cron(), zone in any_zone(), at in SPAN_MS, near in 0_u64..5) {
        let at = near_a_change(&zone, at, near);
        let next = cron.next_after(&zone, at).unwrap();
        prop_assert!(next > at && next % 1_000 == 0);
        let (shown, offset) = clock(&zone, next);
        let (_, before) = clock(&zone, next - 1);
        let has = |bits: u64, number: i8| bits & (1 << number) != 0;
        let matches = |shown: &DateTime| has(cron.fields.minutes, shown.minute())
            && has(cron.fields.hours, shown.hour()) && cron.fields.matches_date(shown.date());
        // Otherwise the clock was set forward at this time.
        prop_assert!(matches(&shown) || before.seconds() < offset.seconds(), "{cron} {shown}");
        // No match in between was skipped.
        let minutes = (at / MINUTE_MS + 1..next / MINUTE_MS).take(3_000).map(|minute| minute * MINUTE_MS);
        for left_out in minutes.filter(|at| matches(&clock(&zone, *at).0)) {
            let (text, then) = clock(&zone, left_out);
            let is_second = clock(&zone, left_out - 7_200_000).1.seconds() > then.seconds();
            prop_assert!(is_second && !cron.fields.is_every_hour, "{cron} left out {text}, before {shown}");
        }
    }

    #[test]
    fn a_day_of_both_kinds_comes_next_when_the_calendar_has_it_however_long_that_takes(
        day in prop_oneof!["\\*/[1-9]", "\\*/[1-3][0-9]", "[1-9]", "[12][0-9]", Just("31".to_owned())],
        month in prop_oneof!["[1-9]", "1[0-2]", Just("2".to_owned())],
        weekday in prop_oneof![Just("*/7".to_owned()), "[0-6]"],
        year in 1970_i16..2200,
    ) {
        // If either day begins with `*`, both days must match.
        let Ok(cron) = format!("0 0 {day} {month} {weekday}").parse::<Cron>() else { return Ok(()) };
        let utc = Zone::default();
        let begin = jiff::civil::date(year, 1, 1);
        let dates = (year..year + 42).flat_map(|year| (1..=12).flat_map(move |month| {
            (1..=31).filter_map(move |day| jiff::civil::Date::new(year, month, day).ok())
        }));
        let first = dates.skip(1).find(|date| cron.fields.matches_date(*date));
        let expected = first.map(|date| ms(&utc, &format!("{date}T00:00")));
        prop_assert!(expected.is_some(), "{cron} after {begin}");
        prop_assert_eq!(cron.next_after(&utc, ms(&utc, &format!("{begin}T00:00"))), expected, "{} after {}", cron, begin);
    }

    #[test]
    fn times_do_not_depend_on_where_the_search_begins(
        cron in any_cron(), zone in any_zone(), at in SPAN_MS, near in 0_u64..5, part in 0.0..1.0_f64,
    ) {
        let at = near_a_change(&zone, at, near);
        let next = cron.next_after(&zone, at).unwrap();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a test")]
        let between = at + ((next - at) as f64 * part) as u64;
        prop_assert_eq!(cron.next_after(&zone, between.min(next - 1)), Some(next));
    }

    #[test]
    fn the_last_time_is_the_one_before_the_next(cron in any_cron(), zone in any_zone(), at in SPAN_MS, days in 0_u64..90) {
        let until = at + days * 86_400_000;
        match cron.last_within(&zone, at, until) {
            Some(last) => {
                prop_assert!(last > at && last <= until);
                prop_assert!(cron.next_after(&zone, last).unwrap() > until);
            }
            None => prop_assert!(cron.next_after(&zone, at).unwrap() > until),
        }
    }

    #[test]
    fn no_text_is_too_much(text in "[*/,0-9a-z@ -]{0,40}") {
        if let Ok(cron) = text.parse::<Cron>() {
            let next = cron.next_after(&Zone::default(), SPAN_MS.start);
            prop_assert!(next.is_some(), "{}", text);
        }
    }
}
