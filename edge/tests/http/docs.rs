//! `docs/http.md` lists every status that the edge generates: no more and no less than the code.

use devanture_serve::handler::Refused;

/// Statuses without a text: successes and redirects, a site's page, and statuses decided below the handler.
const WITHOUT_SENTENCE: [u16; 18] =
    [100, 101, 200, 204, 206, 301, 302, 303, 304, 307, 308, 400, 404, 410, 414, 431, 451, 501];

/// Rows: status, condition, text, section.
fn rows() -> Vec<(u16, String, String, String)> {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/http.md")).unwrap();
    let (_, table) = document.split_once("<!-- statuses -->\n").unwrap();
    let (table, _) = table.split_once("<!-- /statuses -->").unwrap();
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let row = |line: &str| match &cells(line)[..] {
        [status, when, sentence, section] => (status.parse().unwrap(), when.clone(), sentence.clone(), section.clone()),
        other => panic!("{other:?}"),
    };
    table.lines().skip(2).map(row).collect()
}

#[test]
fn every_refusal_has_its_row_with_its_sentence() {
    let rows = rows();
    for refused in Refused::ALL {
        let (status, sentence) = refused.row();
        let found = rows.iter().any(|row| (row.0, row.2.as_str()) == (status, sentence));
        assert!(found, "{refused:?}: {status} `{sentence}` is not in docs/http.md");
    }
}

#[test]
fn every_row_is_one_that_the_edge_can_send() {
    let rows = rows();
    for (status, when, sentence, section) in &rows {
        if !sentence.is_empty() {
            let found = Refused::ALL.iter().any(|refused| refused.row() == (*status, sentence.as_str()));
            assert!(found, "{status} `{sentence}` is in docs/http.md and nowhere else");
        }
        assert!(!when.is_empty() && section.contains('§'), "{status}: when, and by which section?");
    }
    let mut without: Vec<u16> = rows.iter().filter(|row| row.2.is_empty()).map(|row| row.0).collect();
    without.dedup();
    assert_eq!(without, WITHOUT_SENTENCE);
    assert!(rows.is_sorted_by_key(|row| row.0));
}
