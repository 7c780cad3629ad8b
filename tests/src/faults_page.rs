//! `docs/faults.md` against the tests that ran: a page that promises more than is tested fails the build.
//!
//! The committed lists are what ran, since a run whose tests differ from its list fails.

use std::collections::BTreeSet;

fn text(path: &str) -> String {
    std::fs::read_to_string(crate::installation::artifacts::file(path)).unwrap()
}

fn executed() -> BTreeSet<String> {
    let lists = ["fast", "cluster", "adverse", "outage", "chaos", "faults"];
    lists
        .iter()
        .flat_map(|list| text(&format!("tests/lists/{list}.txt")).lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// Whether a cell stands for the simulation, the chaos, or says why there is no test.
fn speaks(cell: &str) -> bool {
    let words = |wanted: &str| cell.split(|c: char| !c.is_alphanumeric()).any(|word| word == wanted);
    ["sim", "chaos", "none"].iter().any(|word| words(word)) || cell.contains("not tested")
}

/// Tests in code type, and rows without any word about tests.
fn read(page: &str, executed: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    let named = page.split('`').skip(1).step_by(2).filter(|name| name.contains('_') || name.contains("::"));
    wrong.extend(named.filter(|name| !executed.contains(*name)).map(|name| format!("{name} did not run")));
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Fault"));
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let tested = cells.last().is_some_and(|cell| cell.contains('`') || speaks(cell));
        if cells.len() != 3 || !tested {
            wrong.push(format!("this row names no test and no reason: {row}"));
        }
    }
    wrong
}

#[test]
fn every_test_that_the_page_of_faults_names_has_run() {
    let executed = executed();
    assert!(executed.len() > 400, "{} tests are listed", executed.len());
    assert_eq!(read(&text("docs/faults.md"), &executed), Vec::<String>::new());
}

#[test]
fn a_page_that_promises_too_much_is_noticed() {
    let executed = BTreeSet::from(["it_runs".to_owned()]);
    assert!(read("| Fault | What | Tests |\n| A | b | `it_runs` |\n| B | c | sim |", &executed).is_empty());
    assert_eq!(read("| A | b | `it_does_not` |", &executed), ["it_does_not did not run"]);
    assert_eq!(read("| A | b | |", &executed).len(), 1);
    assert_eq!(read("| A | b | soon |", &executed).len(), 1);
}
