//! Conversations of older releases, kept as they were spoken: today's agent must go on with a control plane of then, and today's
//! control plane with an agent of then. One file for each schema revision that is still supported (N−2).
//!
//! `RECORD=1 cargo test -p protocol --test sessions conversations` writes the one of today's revision, if there is none.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::path::PathBuf;

use protocol::session::Millis;
use serde_json::{Value, json};

use crate::pair::Pair;

/// The revision that is spoken today.
const TODAY: u32 = 1;

fn file(revision: u32) -> PathBuf {
    format!("goldens/conversations/revision-{revision}.jsonl").into()
}

/// Three releases of which one is replaced and one refused. What is wished, and when.
fn wish(pair: &mut Pair) {
    match pair.now {
        0 => {
            pair.deploy("web", 10);
            pair.deploy("bad", 10);
        }
        1_000 => pair.deploy("api", 40_000),
        2_000 => pair.deploy("web", 20),
        _ => {}
    }
}

fn run(pair: &mut Pair, mut lines: Vec<(Millis, String)>) {
    lines.reverse();
    for until in (0..6_000).step_by(10) {
        wish(pair);
        while let Some((_, text)) = lines.pop_if(|(at, _)| *at < until) {
            pair.say(text);
        }
        pair.run_for(10);
    }
}

fn recorded() -> Vec<(Millis, bool, String)> {
    let mut pair = Pair::new(1);
    run(&mut pair, Vec::new());
    assert!(pair.converged(), "{:#?}", pair.trace);
    pair.said
}

fn kept(revision: u32) -> Vec<(Millis, bool, String)> {
    let text = std::fs::read_to_string(file(revision)).unwrap();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["at"].as_u64().unwrap(), line["from"] == "agent", line["text"].as_str().unwrap().to_owned())
    };
    text.lines().map(line).collect()
}

/// One side as it spoke then, the other as it is today.
fn replay(revision: u32, agent_is_recorded: bool, change: impl Fn(&str) -> String) -> Pair {
    let lines = kept(revision).into_iter().filter(|(_, by_agent, _)| *by_agent == agent_is_recorded);
    let lines = lines.map(|(at, _, text)| (at, change(&text))).collect();
    let mut pair = Pair::new(1);
    pair.recorded = Some(agent_is_recorded);
    run(&mut pair, lines);
    pair
}

#[test]
fn conversations_are_kept_for_every_revision_that_is_supported() {
    if std::env::var_os("RECORD").is_some() && !file(TODAY).exists() {
        let line = |(at, by_agent, text): (Millis, bool, String)| {
            json!({"at": at, "from": if by_agent { "agent" } else { "control plane" }, "text": text}).to_string()
        };
        let lines: Vec<String> = recorded().into_iter().map(line).collect();
        std::fs::create_dir_all(file(TODAY).parent().unwrap()).unwrap();
        std::fs::write(file(TODAY), lines.join("\n") + "\n").unwrap();
    }
    for revision in TODAY.saturating_sub(2).max(1)..=TODAY {
        assert!(kept(revision).len() > 20, "the conversation of revision {revision} is missing or empty");
    }
}

#[test]
fn an_agent_of_then_is_understood() {
    for revision in TODAY.saturating_sub(2).max(1)..=TODAY {
        let pair = replay(revision, true, str::to_owned);
        let accepted: Vec<_> = pair.accepted.iter().map(|(name, set)| (name.as_str(), set.len())).collect();
        assert_eq!(accepted, [("api", 1), ("web", 2)], "{:#?}", pair.trace);
        assert_eq!(pair.facts.len(), 3, "{:?}", pair.facts);
        assert_eq!(pair.states.len(), 2);
    }
}

#[test]
fn a_control_plane_of_then_is_understood() {
    for revision in TODAY.saturating_sub(2).max(1)..=TODAY {
        let pair = replay(revision, false, str::to_owned);
        let stored: Vec<_> = pair.stored.iter().map(|(name, entry)| (name.as_str(), entry.generation)).collect();
        assert_eq!(stored, [("api", 3), ("web", 4)], "{:#?}", pair.trace);
        assert!(
            pair.status.values().all(|(_, facts)| facts.is_empty()),
            "facts were acknowledged and stand: {:?}",
            pair.status
        );
    }
}

#[test]
fn a_peer_that_speaks_otherwise_is_noticed() {
    let pair = replay(TODAY, true, |text| text.replace("\"observedGeneration\"", "\"observed\""));
    assert!(pair.states.values().all(|state| state.as_ref().is_none_or(|state| state.observed_generation.is_none())));
}

#[test]
#[should_panic(expected = "Protocol")]
fn a_peer_that_never_says_welcome_is_noticed() {
    replay(TODAY, false, |text| text.replace("\"welcome\"", "\"hallo\""));
}
