//! `docs/promises.md` against the tests that ran: an answer that says more than is tested fails the build.
//!
//! The committed lists are what ran, since a run whose tests differ from its list fails. Reads the checkout only: cargo runs this in
//! the folder of the crate.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const WORDS: [&str; 3] = ["yes", "partly", "no"];

/// Everything that `page` gets wrong, if it has to answer the promises 1 to `last`.
///
/// Before the first heading of a section stands the table of counts; a row of a section is number, promise, word, place and tests.
fn wrong(page: &str, ran: &BTreeSet<String>, last: usize) -> Vec<String> {
    let mut wrong: Vec<_> =
        tests(page).filter(|name| !ran.contains(*name)).map(|name| format!("{name} did not run")).collect();
    let (mut told, mut counted, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    for line in page.lines() {
        if let Some(section) = line.strip_prefix("## ") {
            counted.push((section.to_owned(), [0; 3]));
        }
        let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix('|')) else { continue };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        match (cells.as_slice(), counted.last_mut()) {
            (["#", ..] | ["Section", ..], _) => {}
            ([section, yes, partly, no], None) => told.push(format!("{section}: {yes}, {partly}, {no}")),
            ([number, _, word, _, shown], Some((_, counts))) => {
                numbers.push(number.parse().unwrap_or(0));
                match WORDS.iter().zip(counts).find(|(known, _)| *known == word) {
                    Some((_, count)) => *count += 1,
                    None => wrong.push(format!("{number}: `{word}` is none of {}", WORDS.join(", "))),
                }
                match (*word, tests(shown).count()) {
                    ("yes", 0) => wrong.push(format!("{number}: yes, and no test shows it")),
                    ("no", 1..) => wrong.push(format!("{number}: no, and a test shows it")),
                    _ => {}
                }
            }
            _ => wrong.push(format!("this row has other cells than it should: {line}")),
        }
    }
    wrong.extend(numbers.iter().filter(|number| !(1..=last).contains(*number)).map(|_| "a number that is none".into()));
    for number in 1..=last {
        match numbers.iter().filter(|found| **found == number).count() {
            1 => {}
            found => wrong.push(format!("{number}: {found} rows")),
        }
    }
    let sum = counted.iter().fold([0; 3], |[a, b, c], (_, [x, y, z])| [a + x, b + y, c + z]);
    counted.push(("Sum".to_owned(), sum));
    let counted: Vec<String> =
        counted.iter().map(|(at, [yes, partly, no])| format!("{at}: {yes}, {partly}, {no}")).collect();
    wrong.extend(counted.iter().filter(|row| !told.contains(row)).map(|row| format!("not in the head: {row}")));
    wrong.extend(told.iter().filter(|row| !counted.contains(row)).map(|row| format!("only in the head: {row}")));
    wrong
}

/// Names of tests in code type; nothing else on the page has an underscore or two colons.
fn tests(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|name| name.contains('_') || name.contains("::"))
}

#[test]
fn every_test_that_the_page_of_promises_names_has_run_and_its_counts_are_right() {
    let mut ran = BTreeSet::new();
    for list in fs::read_dir("lists").unwrap() {
        ran.extend(fs::read_to_string(list.unwrap().path()).unwrap().lines().map(str::to_owned));
    }
    assert!(ran.len() > 600, "{} tests are listed", ran.len());
    let page = fs::read_to_string("../docs/promises.md").unwrap();
    let wrong = wrong(&page, &ran, 190);
    assert!(wrong.is_empty(), "docs/promises.md:\n{}", wrong.join("\n"));
}

#[test]
fn a_page_of_promises_that_says_too_much_is_noticed() {
    let ran = BTreeSet::from(["it_runs".to_owned()]);
    let good = "# Page\n| Section | yes | partly | no |\n|---|---|---|---|\n| One | 1 | 1 | 0 |\n| Two | 0 | 0 | 1 |\n| Sum | 1 | 1 | 1 |\n\
        ## One\n| # | Promise | Today |\n|---|---|---|\n| 1 | a | yes | `cli` | `it_runs` |\n| 2 | b | partly | x | missing: y |\n\
        ## Two\n| 3 | c | no | – | – |\n";
    assert_eq!(wrong(good, &ran, 3), [""; 0]);
    let row = "| 3 | c | no | – | – |\n";
    for (from, to, expected) in [
        ("`it_runs`", "`it_does_not`", &["it_does_not did not run"][..]),
        ("y |", "y, `it::is` |", &["it::is did not run"]),
        (row, "", &["3: 0 rows", "not in the head: Two: 0, 0, 0", "not in the head: Sum: 1, 1, 0"]),
        (row, "| 3 | c | no | – | – |\n| 3 | d | no | – | – |\n", &["3: 2 rows", "not in the head: Two: 0, 0, 2"]),
        ("| 3 |", "| 4 |", &["a number that is none", "3: 0 rows"]),
        ("| 3 |", "| 3a |", &["a number that is none", "3: 0 rows"]),
        ("`it_runs`", "everything", &["1: yes, and no test shows it"]),
        ("| – |\n", "| `it_runs` |\n", &["3: no, and a test shows it"]),
        ("| One | 1 |", "| One | 2 |", &["not in the head: One: 1, 1, 0", "only in the head: One: 2, 1, 0"]),
        ("| Sum | 1 |", "| Sum | 2 |", &["not in the head: Sum: 1, 1, 1", "only in the head: Sum: 2, 1, 1"]),
        ("| Two | 0 | 0 | 1 |\n", "", &["not in the head: Two: 0, 0, 1"]),
        ("b | partly |", "b | part |", &["2: `part` is none of yes, partly, no", "not in the head: One: 1, 0, 0"]),
        ("c | no |", "c | |", &["3: `` is none of"]),
        ("| 3 | c |", "| 3 |", &["other cells than it should", "3: 0 rows"]),
    ] {
        assert!(good.contains(from), "{from} is not on the page");
        let found = wrong(&good.replacen(from, to, 1), &ran, 3).join("\n");
        for words in expected {
            assert!(found.contains(words), "{from:?} as {to:?}: {words} is not in\n{found}");
        }
    }
}

/// The last of the promises (190): what a visitor finds in the repository.
#[test]
fn the_top_level_of_the_repository_is_as_promised() {
    for name in ["Cargo.toml", "agent", "control-plane-mock", "helm", "config", "tests", "Dockerfile", "README.md"] {
        assert!(Path::new("..").join(name).exists(), "{name} is missing");
    }
}

/// Reasons of what goes on as it should, and those that stand beside a condition that the page explains.
const EXPLAIN_THEMSELVES: [&str; 18] = [
    "Cancelling",
    "ChangedInCluster",
    "Deleted",
    "NotConfined",
    "NotProven",
    "NotServing",
    "Pending",
    "Prepared",
    "Refused",
    "RollingOut",
    "RolloutFailed",
    "Runnable",
    "Running",
    "Serving",
    "Started",
    "Starting",
    "Succeeded",
    "Working",
];

/// Words that source files give as the reason of a condition.
fn reasons(folder: &Path, found: &mut BTreeSet<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("tests") {
            reasons(&path, found)?;
        } else if path.is_file() && !path.to_string_lossy().contains("tests") {
            let text = fs::read_to_string(&path)?;
            let code = text.split_once("#[cfg(test)]\nmod tests {").map_or(text.as_str(), |(code, _)| code);
            let words = code.split("Reason::new(").skip(1).filter_map(|call| call.trim_start().strip_prefix('"'));
            found.extend(words.filter_map(|rest| rest.split_once('"')).map(|(word, _)| word.to_owned()));
        }
    }
    Ok(())
}

#[test]
fn the_page_of_troubles_has_every_reason_that_asks_for_something() {
    let root = Path::new("..");
    let page = fs::read_to_string(root.join("docs/troubleshooting.md")).unwrap();
    let mut all = BTreeSet::new();
    reasons(&root.join("agent/src/operator"), &mut all).unwrap();
    assert!(all.len() > 30, "{all:?}");
    let said = |word: &String| page.contains(&format!("`{word}`")) || EXPLAIN_THEMSELVES.contains(&word.as_str());
    let missing: Vec<_> = all.iter().filter(|word| !said(word)).collect();
    assert!(missing.is_empty(), "docs/troubleshooting.md does not say what to do about {missing:?}");
}
