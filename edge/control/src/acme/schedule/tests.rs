//! Tests of the schedule, over simulated times.

use super::*;

const DAY_MS: u64 = 24 * HOUR_MS;

fn life(from: u64, to: u64) -> Life {
    Life { not_before_ms: from * DAY_MS, not_after_ms: to * DAY_MS }
}

#[test]
fn a_certificate_is_due_at_two_thirds_of_its_life_or_a_little_earlier() {
    #[rustfmt::skip]
    let cases = [
        // life in days, spread, window, now in days, due
        (life(0, 90),    0,        None,           0,   false),
        (life(0, 90),    0,        None,           59,  false),
        (life(0, 90),    0,        None,           60,  true),
        (life(0, 90),    0,        None,           91,  true),
        (life(0, 90),    u32::MAX, None,           56,  false), // 60 days less 90 / 24
        (life(0, 90),    u32::MAX, None,           57,  true),
        (life(100, 106), 0,        None,           103, false),
        (life(100, 106), 0,        None,           104, true),
        (life(0, 90),    0,        Some((10, 12)), 9,   false), // RFC 9773 §4.2
        (life(0, 90),    0,        Some((10, 12)), 10,  true),
        (life(0, 90),    u32::MAX, Some((10, 12)), 10,  false),
        (life(0, 90),    u32::MAX, Some((10, 12)), 12,  true),
        (life(0, 90),    0,        Some((80, 85)), 60,  true),  // it makes nothing later
        (life(0, 90),    7,        Some((12, 10)), 12,  true),  // a window that makes no sense
        (life(9, 9),     7,        None,           9,   true),
        (life(9, 3),     7,        None,           9,   true),
    ];
    for (life, spread, window, day, due) in cases {
        let window = window.map(|(start, end)| Window { start_ms: start * DAY_MS, end_ms: end * DAY_MS });
        assert_eq!(life.is_due(spread, window, day * DAY_MS), due, "{life:?} {spread} {window:?} {day}");
    }
    assert!(!life(0, 90).is_over(89 * DAY_MS) && life(0, 90).is_over(90 * DAY_MS));
    let forever = Life { not_before_ms: 0, not_after_ms: u64::MAX };
    assert!(!forever.is_due(u32::MAX, None, 100 * 365 * DAY_MS));
}

#[test]
fn a_wait_doubles_up_to_its_limit() {
    let waits: Vec<u64> = (1..=12).map(|failures| backed_off_ms(failures, 1, 1_440)).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 1_440]);
    assert_eq!(backed_off_ms(u32::MAX, 1, 1_440), 1_440);
    assert_eq!(backed_off_ms(0, 1, 1_440), 1);
}

fn rules() -> Rules {
    Rules {
        names_max: 9,
        names_per_app_max: 9,
        orders_max: 4,
        orders_per_hour_max: 5,
        orders_per_hour_per_app_max: 5,
        retry_ms_min: 1_000,
        retry_ms_max: 4_000,
    }
}

/// Parses names from words `app:name`, or `app:name@end` with a certificate until the end; the app is `shop` by
/// default.
fn names(words: &[&str]) -> Vec<ManagedName> {
    let wanted = |word: &&str| {
        let (app, name) = word.split_once(':').unwrap_or(("shop", word));
        let (name, end) = name.split_once('@').map_or((name, None), |(name, end)| (name, end.parse().ok()));
        ManagedName { app: Some(app.parse().unwrap()), name: name.to_owned(), not_after_ms: end }
    };
    words.iter().map(wanted).collect()
}

fn begin(books: &mut Books, words: &[&str], rules: &Rules, now_ms: u64) -> Vec<String> {
    books.begin(names(words), rules, now_ms).into_iter().map(|begun| begun.name).collect()
}

fn issued() -> Ended {
    Ended::Issued { life: life(0, 90) }
}

#[test]
fn law_11_an_app_has_its_share_of_the_names() {
    let rules = Rules { names_max: 5, names_per_app_max: 3, ..rules() };
    #[rustfmt::skip]
    let cases: [(&[&str], &[&str]); 6] = [
        (&["a:1", "b:2"],                                    &["1", "2"]),
        // One of each app at a time, and at most its share of one app.
        (&["a:1", "a:2", "a:3", "a:4", "z:5"],               &["1", "5", "2", "3"]),
        (&["a:1", "a:2", "a:3", "b:4", "b:5", "b:6"],        &["1", "4", "2", "5", "3"]),
        // Names with a certificate keep it, and count.
        (&["a:1", "a:2@9", "a:3@9", "a:4@9", "a:5@9"],       &["2", "3", "4", "5"]),
        (&["a:1@9", "a:2@9", "a:3", "a:4", "b:5", "b:6"],    &["1", "2", "5", "6", "3"]),
        (&["a:1@1", "b:2@1", "c:3@1", "d:4@1", "e:5@1", "f:6@1", "g:7"], &["1", "2", "3", "4", "5", "6"]),
    ];
    for (wanted, expected) in cases {
        let (admitted, are_all) = admitted(names(wanted), &rules);
        let admitted: Vec<&str> = admitted.iter().map(|admitted| admitted.name.as_str()).collect();
        assert_eq!(admitted, expected, "{wanted:?}");
        assert_eq!(are_all, expected.len() == wanted.len(), "{wanted:?}");
    }
}

#[test]
fn law_11_an_app_has_its_share_of_the_orders() {
    let rules = Rules { orders_max: 8, orders_per_hour_max: 6, orders_per_hour_per_app_max: 3, ..rules() };
    #[rustfmt::skip]
    let cases: [(&[&str], &[&str]); 5] = [
        // Renewals first, by expiry; then one of each app at a time.
        (&["a:1", "a:2@9", "b:3@8"],                         &["3", "2", "1"]),
        (&["a:1", "a:2", "a:3", "a:4", "b:5", "c:6"],        &["1", "5", "6", "2", "3"]),
        (&["a:1", "a:2", "a:3", "a:4", "a:5"],               &["1", "2", "3"]),
        (&["a:1@1", "a:2@2", "a:3@3", "a:4@4", "b:5@9"],     &["1", "2", "3", "5"]),
        (&["a:1", "a:2", "b:3", "b:4", "c:5", "c:6", "d:7"], &["1", "3", "5", "7", "2", "4"]),
    ];
    for (due, expected) in cases {
        assert_eq!(begin(&mut Books::default(), due, &rules, 0), expected, "{due:?}");
    }
    // An app has half of the running orders, and apps already served come later within the hour.
    let (mut books, rules) = (Books::default(), Rules { orders_max: 4, ..rules });
    assert_eq!(begin(&mut books, &["a:1", "a:2", "a:3"], &rules, 0), ["1", "2"]);
    books.end("1", issued(), &rules, 1);
    assert_eq!(begin(&mut books, &["a:3", "b:4"], &rules, 1), ["4", "3"]);
    for name in ["2", "3", "4"] {
        books.end(name, issued(), &rules, 2);
    }
    let text = serde_json::to_string(&books).unwrap();
    let mut books: Books = serde_json::from_str(&text).unwrap();
    assert_eq!(begin(&mut books, &["a:5", "b:6"], &rules, 3), ["6"], "three of three in this hour");
    books.end("6", issued(), &rules, 4);
    assert_eq!(begin(&mut books, &["a:5"], &rules, HOUR_MS), ["5"]);
}

#[test]
fn a_name_has_one_order_at_a_time_and_all_together_have_a_limit() {
    let (mut books, rules) = (Books::default(), rules());
    assert_eq!(begin(&mut books, &["a", "b", "c"], &rules, 0), ["a", "b"]);
    assert_eq!(begin(&mut books, &["a", "b", "c"], &rules, 1), [""; 0]);
    books.end("a", issued(), &rules, 2);
    assert_eq!(begin(&mut books, &["b", "c"], &rules, 2), ["c"]);
    books.end("b", issued(), &rules, 3);
    books.end("c", issued(), &rules, 3);
    // Five in an hour, until the first leaves the hour.
    assert_eq!(begin(&mut books, &["d", "e", "f"], &rules, 4), ["d", "e"]);
    books.end("d", issued(), &rules, 5);
    books.end("e", issued(), &rules, 5);
    assert_eq!(begin(&mut books, &["f"], &rules, 6), [""; 0]);
    assert_eq!(begin(&mut books, &["f"], &rules, HOUR_MS - 1), [""; 0]);
    assert_eq!(begin(&mut books, &["f"], &rules, HOUR_MS), ["f"]);
}

#[test]
fn a_certificate_that_just_came_is_not_renewed_whatever_the_clock_says() {
    let rules = rules();
    let order = |books: &mut Books, now_ms| !begin(books, &["a@1"], &rules, now_ms).is_empty();
    // The clock is half a year fast: new certificates are due at once.
    let (mut books, mut now_ms) = (Books::default(), 180 * DAY_MS);
    for wait_ms in [1, 2, 4, 8, 16, 24, 24].map(|hours| hours * HOUR_MS) {
        assert!(order(&mut books, now_ms));
        books.end("a", issued(), &rules, now_ms);
        assert!(!order(&mut books, now_ms + wait_ms - 1), "{wait_ms}");
        now_ms += wait_ms;
    }
    // Once the clock is set right, the schedule is normal at once.
    assert!(order(&mut books, DAY_MS));
    books.end("a", issued(), &rules, DAY_MS);
    assert_eq!((books.names["a"].early, books.names["a"].rest.wait_ms), (0, HOUR_MS));
    books.forget(|_| true, DAY_MS + HOUR_MS - 1);
    assert_eq!(books.names.len(), 1);
    books.forget(|_| true, DAY_MS + HOUR_MS);
    assert_eq!(books.names.len(), 0);
    // A short life has a short rest.
    assert!(order(&mut books, 2 * DAY_MS));
    books.end("a", Ended::Issued { life: Life { not_before_ms: 0, not_after_ms: 3_000 } }, &rules, 10);
    assert_eq!(books.names["a"].rest.wait_ms, 1_000);
}

#[test]
fn an_account_that_orders_too_much_rests_as_a_whole_and_not_for_long() {
    let (mut books, rules) = (Books::default(), rules());
    assert_eq!(begin(&mut books, &["a:1"], &rules, 0), ["1"]);
    books.end("1", Ended::Limited { retry_after_ms: 60_000 }, &rules, 0);
    assert_eq!(begin(&mut books, &["a:1", "b:2"], &rules, 59_999), [""; 0]);
    assert_eq!(begin(&mut books, &["a:1", "b:2"], &rules, 60_000), ["2"], "another name asks whether it is over");
    books.end("2", Ended::Limited { retry_after_ms: u64::MAX }, &rules, 60_000);
    assert!(books.authority_rests(60_000 + HOUR_MS - 1) && !books.authority_rests(60_000 + HOUR_MS));
}

#[test]
fn a_name_that_failed_rests_longer_each_time_and_tries_another_way() {
    let (mut books, rules) = (Books::default(), rules());
    let mut now_ms = 0;
    for (failures, wait_ms) in [(1, 1_000), (2, 2_000), (3, 4_000), (4, 4_000)] {
        assert_eq!(begin(&mut books, &["a"], &rules, now_ms), ["a"]);
        assert_eq!(books.way("a"), failures as usize - 1);
        books.end("a", Ended::Failed { retry_after_ms: 0, unproven: true }, &rules, now_ms);
        assert_eq!(books.failures("a"), failures);
        assert_eq!(begin(&mut books, &["a"], &rules, now_ms + wait_ms - 1), [""; 0]);
        now_ms += wait_ms;
    }
    // The history outlives the process.
    let text = serde_json::to_string(&books).unwrap();
    let mut books: Books = serde_json::from_str(&text).unwrap();
    assert_eq!((books.failures("a"), books.way("a")), (4, 4));
    assert_eq!(begin(&mut books, &["a"], &rules, now_ms - 1), [""; 0]);
    assert_eq!(begin(&mut books, &["a", "b"], &rules, now_ms), ["b"], "those that never failed come first");
    books.end("b", issued(), &rules, now_ms);
    assert_eq!(begin(&mut books, &["a"], &rules, HOUR_MS), ["a"]);
    books.end("a", issued(), &rules, HOUR_MS);
    assert_eq!((books.failures("a"), books.way("a")), (0, 4), "the way that worked is kept");
    books.forget(|_| false, 2 * HOUR_MS);
    assert!(books.names.is_empty());
}

#[test]
fn the_authority_is_left_alone_as_long_as_it_asks_for() {
    let (mut books, rules) = (Books::default(), rules());
    assert_eq!(begin(&mut books, &["a"], &rules, 0), ["a"]);
    books.end("a", Ended::Failed { retry_after_ms: 60_000, unproven: false }, &rules, 0);
    assert_eq!(begin(&mut books, &["a"], &rules, 59_999), [""; 0]);
    assert_eq!(begin(&mut books, &["a"], &rules, 60_000), ["a"]);
    books.end("a", Ended::Failed { retry_after_ms: u64::MAX, unproven: false }, &rules, 60_000);
    assert_eq!((books.names["a"].rest.wait_ms, books.way("a")), (WAIT_MS_MAX, 0), "the way is not at fault");
    // A wrong clock does not defer a name for years.
    assert_eq!(begin(&mut books, &["a"], &rules, 1), ["a"]);
}

#[test]
fn an_authority_that_is_down_is_tried_by_one_order_and_is_no_names_fault() {
    let (mut books, rules) = (Books::default(), rules());
    assert_eq!(begin(&mut books, &["a", "b", "c"], &rules, 0), ["a", "b"]);
    books.end("a", Ended::Unanswered { retry_after_ms: 0 }, &rules, 10);
    books.end("b", Ended::Unanswered { retry_after_ms: 0 }, &rules, 10);
    assert_eq!(books.failures("a"), 0);
    assert_eq!(begin(&mut books, &["a", "b", "c"], &rules, 1_009), [""; 0]);
    assert_eq!(begin(&mut books, &["a", "b", "c"], &rules, 1_010), ["a"]);
    assert_eq!(begin(&mut books, &["a", "b", "c"], &rules, 1_011), [""; 0]);
    books.end("a", Ended::Unanswered { retry_after_ms: 5_000 }, &rules, 1_012);
    assert_eq!(begin(&mut books, &["a", "b", "c"], &rules, 6_011), [""; 0]);
    assert_eq!(begin(&mut books, &["a", "b", "c"], &rules, 6_012), ["a"]);
    books.end("a", issued(), &rules, 6_013);
    assert_eq!(begin(&mut books, &["b", "c"], &rules, 6_014), ["b"], "four of five in this hour");
}
