//! Both sides of a session against each other on a virtual clock.

mod conversations;
mod pair;

use pair::{Pair, key};
use proptest::prelude::*;
use protocol::document::Desired;
use protocol::message::{Adopted, InventoryEntry, MAX_FRAME};
use protocol::session::{
    AgentEvent, AgentSession, CloseCode, ControlSession, ControlSettings, Disconnect, Transmit, Wake,
};

#[test]
fn documents_answers_states_and_facts_cross() {
    let mut pair = Pair::new(1);
    for n in 0..30 {
        pair.deploy(&format!("r{n}"), 100);
    }
    pair.run_until(5_000, Pair::converged);
    assert!(pair.facts.values().all(|times| *times == 1), "{:?}", pair.facts);
}

#[test]
fn ten_thousand_equal_resources_cost_one_message_each_way() {
    let mut pair = Pair::new(1);
    for number in 0..10_000 {
        let name = format!("r{number}");
        pair.deploy(&name, 10);
        let entry = pair.entry(&name);
        pair.agent.stored(entry.clone());
        pair.stored.insert(name, entry);
    }
    pair.run_until(5_000, |pair| pair.compared == 1);
    pair.run_for(1_000);
    let kind = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["type"].to_string();
    let said: Vec<String> = pair.said.iter().map(|(_, _, text)| kind(text)).collect();
    assert_eq!(said, ["\"hello\"", "\"welcome\"", "\"inventory\"", "\"inventoryDone\""]);
    assert!(pair.said.iter().all(|(_, _, text)| text.len() < 1_000), "and small ones");
    // One that differs costs its bucket, not all.
    pair.cut(Disconnect::Local);
    pair.deploy("r7", 11);
    let before = pair.said.len();
    pair.run_until(5_000, Pair::converged);
    let bytes: usize = pair.said.iter().skip(before).map(|(_, _, text)| text.len()).sum();
    assert!(bytes < 40_000, "{bytes} bytes");
}

#[test]
fn a_document_larger_than_window_and_frame_passes_alone() {
    let mut pair = Pair::new(1);
    pair.deploy("large", 4 * MAX_FRAME);
    pair.deploy("small", 1);
    pair.run_until(5_000, Pair::converged);
}

#[test]
fn a_dead_network_is_noticed_within_fifteen_seconds_by_the_agent_and_twenty_five_by_the_gateway() {
    let mut pair = Pair::new(1);
    pair.run_until(5_000, |pair| pair.compared == 1);
    pair.run_for(70_000);
    let since = pair.now;
    pair.network = false;
    pair.run_until(15_000, |pair| !pair.agent.is_open());
    pair.run_until(25_000, |pair| !pair.control.as_ref().is_some_and(ControlSession::is_open));
    assert!(pair.now - since <= 25_000 + 20);
    pair.network = true;
    pair.run_until(31_000, |pair| pair.agent.is_open());
}

#[test]
fn a_quiet_session_stays_open_and_writes_pings_only() {
    let mut pair = Pair::new(1);
    pair.deploy("a", 1);
    pair.run_until(5_000, Pair::converged);
    let before = pair.trace.len();
    pair.run_for(3_600_000);
    assert_eq!(pair.trace.len(), before);
    assert_eq!(pair.dials.len(), 1);
}

#[test]
fn the_round_trip_is_measured_closely_while_somebody_wants_to_know() {
    let mut pair = Pair::new(1);
    pair.run_until(5_000, |pair| pair.compared == 1);
    pair.run_for(10_000);
    assert_eq!(pair.agent.round_trip(), Some(40));
    pair.latency = 200;
    pair.run_for(1_000);
    assert_eq!(pair.agent.round_trip(), Some(40), "nobody has asked");
    pair.agent.probe(pair.now, true);
    pair.run_for(1_000);
    assert_eq!(pair.agent.round_trip(), Some(400));
    // A document is a sign of life, and not the answer to a ping.
    pair.deploy("a", 1);
    pair.latency = 300;
    pair.run_until(5_000, Pair::converged);
    pair.run_for(2_000);
    assert_eq!(pair.agent.round_trip(), Some(600));
    pair.network = false;
    pair.run_until(5_250, |pair| !pair.agent.is_open());
}

#[test]
fn a_healthy_session_that_is_cut_is_dialled_again_at_once() {
    let mut pair = Pair::new(1);
    pair.run_for(61_000);
    pair.cut(Disconnect::Local);
    pair.run_for(10);
    assert_eq!(pair.dials.len(), 2);
    assert_eq!(pair.dials[1], 61_000);
}

#[test]
fn a_drained_session_moves_after_the_given_time() {
    let mut pair = Pair::new(1);
    pair.run_until(5_000, |pair| pair.compared == 1);
    let since = pair.now;
    pair.control.as_mut().unwrap().drain(10_000);
    pair.run_until(13_000, |pair| pair.compared == 2);
    assert!(pair.now - since >= 10_000);
    pair.run_until(1_000, |pair| pair.epochs.iter().map(|epoch| epoch.connection).eq([1, 2]));
}

#[test]
fn another_store_is_held_until_a_person_adopts() {
    let mut pair = Pair::new(1);
    pair.deploy("a", 1);
    pair.run_until(5_000, Pair::converged);
    pair.store_id = "restored".to_owned();
    pair.cut(Disconnect::Local);
    pair.run_until(5_000, |pair| pair.compared == 2);
    pair.deploy("b", 1);
    pair.run_for(30_000);
    assert!(!pair.stored.contains_key("b"));
    let adopted = Adopted { store_id: "restored".to_owned(), counter: pair.counter };
    pair.control.as_mut().unwrap().adopt(adopted);
    pair.run_until(5_000, Pair::converged);
    // The next session with the same store is not held.
    pair.cut(Disconnect::Local);
    pair.deploy("c", 1);
    pair.run_until(35_000, Pair::converged);
}

#[test]
fn a_counter_below_what_is_stored_is_held() {
    let mut pair = Pair::new(1);
    let entry = InventoryEntry { key: key("x"), generation: 99, hash: String::new(), state: Desired::Present };
    pair.agent.stored(entry);
    pair.run_until(5_000, |pair| pair.compared == 1);
    assert!(pair.trace.iter().any(|line| line.contains("counts to generation 0, here is 99")), "{:#?}", pair.trace);
    assert!(pair.control.as_ref().unwrap().is_held());
}

#[test]
fn an_adoption_that_does_not_cover_what_was_stored_meanwhile_makes_both_compare_again() {
    let mut pair = Pair::new(1);
    pair.deploy("a", 1);
    pair.run_until(5_000, Pair::converged);
    pair.store_id = "restored".to_owned();
    pair.cut(Disconnect::Local);
    pair.run_until(5_000, |pair| pair.compared == 2);
    // A document of the lost store, whose write was under way all the time.
    let late = InventoryEntry { key: key("b"), generation: 99, hash: String::new(), state: Desired::Present };
    pair.agent.stored(late);
    let adopted = Adopted { store_id: "restored".to_owned(), counter: pair.counter };
    pair.control.as_mut().unwrap().adopt(adopted);
    pair.run_until(35_000, |pair| pair.compared == 3);
    assert!(pair.trace.iter().any(|line| line.contains("but 99 is stored here by now")), "{:#?}", pair.trace);
    assert!(pair.control.as_ref().unwrap().is_held(), "a person has to look again");
}

#[test]
fn superseded_agents_do_not_dial() {
    let mut pair = Pair::new(1);
    pair.run_until(5_000, |pair| pair.compared == 1);
    pair.agent.handle_disconnected(pair.now, Disconnect::Closed(CloseCode::Superseded), "");
    assert!(matches!(pair.agent.poll_event(), Some(AgentEvent::Superseded)));
    assert_eq!(pair.agent.poll_timeout(), None);
    pair.agent.start(pair.now);
    assert_eq!(pair.agent.poll_timeout(), Some((pair.now, Wake::Dial)));
}

#[test]
fn what_breaks_the_protocol_is_closed_with_its_code() {
    let cases: &[(&str, CloseCode)] = &[
        ("nonsense", CloseCode::Protocol),
        (r#"{"type":"inventory","root":"","count":0}"#, CloseCode::Protocol),
        (r#"{"type":"answer","to":1,"answer":"already"}"#, CloseCode::Protocol),
        ("", CloseCode::TooLarge),
    ];
    for (text, code) in cases {
        let mut control = ControlSession::new(ControlSettings::default(), 0, 1);
        control.handle_text(1, text);
        assert!(matches!(control.poll_transmit(), Some(Transmit::Close { code: c, .. }) if c == *code), "{text}");
    }
    let mut control = ControlSession::new(ControlSettings::default(), 0, 1);
    control.handle_timeout(10_000);
    assert!(matches!(control.poll_transmit(), Some(Transmit::Close { code: CloseCode::Timeout, .. })));
}

/// What an agent with a session does with these frames: documents and ends of the comparison that it hands on, and how it closes.
fn receives(frames: &[&str]) -> (usize, usize, Option<CloseCode>) {
    let mut agent = AgentSession::new(pair::settings(), 1);
    agent.start(0);
    agent.handle_connected(0, "lease", 1);
    agent.handle_text(0, include_str!("../goldens/control/welcome.json").trim_end());
    frames.iter().for_each(|frame| agent.handle_text(1, frame.trim_end()));
    let (mut documents, mut compared) = (0, 0);
    while let Some(event) = agent.poll_event() {
        documents += usize::from(matches!(event, AgentEvent::Document { .. }));
        compared += usize::from(matches!(event, AgentEvent::Compared { .. }));
    }
    let mut closed = None;
    while let Some(transmit) = agent.poll_transmit() {
        if let Transmit::Close { code, .. } = transmit {
            closed = Some(code);
        }
    }
    (documents, compared, closed)
}

#[test]
fn what_an_agent_did_not_expect_has_the_end_that_the_page_gives() {
    let document = include_str!("../goldens/control/document.json");
    let without = document.trim_end().replace("\"body\"", "\"provenance\":null,\"body\"");
    let done = include_str!("../goldens/control/inventory-done.json");
    let acknowledged =
        [include_str!("../goldens/control/state-ack.json"), include_str!("../goldens/control/fact-ack.json")];
    assert_eq!(receives(&[document]), (1, 0, None), "before the comparison is over");
    assert_eq!(receives(&[&without]), (1, 0, None));
    assert_eq!(receives(&[document, document]), (1, 0, Some(CloseCode::Protocol)), "one id is unanswered twice");
    assert_eq!(receives(&[done, done, document]), (1, 2, None));
    let held = done.replace("false", "true");
    assert_eq!(receives(&[done, &held, document]), (0, 2, None), "held from then on");
    assert_eq!(receives(&acknowledged), (0, 0, None), "of what was never sent");
    assert_eq!(receives(&["+"]), (0, 0, Some(CloseCode::TooLarge)));
    assert_eq!(receives(&[""]), (0, 0, Some(CloseCode::TooLarge)));
    assert_eq!(receives(&["+{\"type\":", "\"inventoryDone\",\"held\":false}"]), (0, 1, None));
    assert_eq!(receives(&[r#"{"type":"dance"}"#]), (0, 0, None));
    assert_eq!(receives(&[include_str!("../goldens/control/welcome.json")]), (0, 0, Some(CloseCode::Protocol)));
}

#[test]
fn a_frame_of_which_no_message_can_be_made_is_closed_with_its_code_and_dialled_again() {
    let mut pair = Pair::new(1);
    pair.run_until(5_000, |pair| pair.compared == 1);
    pair.agent.handle_unusable(pair.now, CloseCode::Protocol, "binary");
    assert!(matches!(pair.agent.poll_transmit(), Some(Transmit::Close { code: CloseCode::Protocol, .. })));
    pair.cut(Disconnect::Local);
    pair.run_until(5_000, |pair| pair.compared == 2);
}

#[derive(Debug, Clone)]
enum Op {
    Deploy(u8, usize),
    Cut(bool),
    Network(u64),
    Wait(u64),
    Drain(u64),
    Latency(u64),
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0_u8..12, prop_oneof![Just(10_usize), Just(5_000), Just(40_000), Just(100_000)]).prop_map(|(n, size)| Op::Deploy(n, size)),
        2 => any::<bool>().prop_map(Op::Cut),
        1 => (1_u64..40_000).prop_map(Op::Network),
        5 => (0_u64..3_000).prop_map(Op::Wait),
        1 => (0_u64..2_000).prop_map(Op::Drain),
        1 => (0_u64..400).prop_map(Op::Latency),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn whatever_happens_nothing_is_lost_and_no_rule_is_broken(seed in any::<u64>(), ops in prop::collection::vec(any_op(), 1..40)) {
        let mut pair = Pair::new(seed);
        for op in ops {
            match op {
                Op::Deploy(n, size) => pair.deploy(&if n == 0 { "bad".to_owned() } else { format!("r{n}") }, size),
                Op::Cut(local) => pair.cut(if local { Disconnect::Local } else { Disconnect::Cut }),
                Op::Network(time) => {
                    pair.network = false;
                    pair.run_for(time);
                    pair.network = true;
                }
                Op::Wait(time) => pair.run_for(time),
                Op::Drain(after) => if let Some(control) = &mut pair.control { control.drain(after) },
                Op::Latency(latency) => pair.latency = latency,
            }
        }
        pair.run_until(120_000, Pair::converged);
        // Everything that is stored was accepted as far as the control plane knows, and only deploys were stored.
        prop_assert!(pair.stored.keys().all(|name| pair.desired.contains_key(name)));
    }
}
