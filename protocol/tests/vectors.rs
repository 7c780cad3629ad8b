//! Test vectors for implementations in other languages; `vectors/check.py` is one that checks them.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a file of tests")]

mod golden;

use protocol::document::Desired;
use protocol::enrol::renewal_statement;
use protocol::hash::canonical;
use protocol::inventory::{Inventory, bucket_of};
use protocol::message::InventoryEntry;
use protocol::name::{Kind, ResourceKey, joined};
use protocol::report::{State, digest};
use protocol::{ContentHash, Tree};
use serde_json::{Value, json};

#[test]
fn vectors_are_those_of_this_code() {
    let folder = golden::folder("vectors");
    let mut files = vec!["check.py".to_owned()];
    for (name, value) in [("hash", hashes()), ("inventory", inventory()), ("names", names()), ("renewal", renewal())] {
        let text = serde_json::to_string_pretty(&value).unwrap();
        golden::same(&folder.join(format!("{name}.json")), &format!("{text}\n"));
        files.push(format!("{name}.json"));
    }
    golden::only(&folder, &files);
}

fn hashes() -> Value {
    let bodies = [
        ("absent", r#"{"state":"Absent"}"#),
        ("white space and order do not count", "{ \"b\" : [ 1 , 2 ] ,\n\t\"a\" : null }"),
        ("order is by UTF-16 code units", r#"{"€":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"ö":7}"#),
        ("escapes have one spelling", r#"{"s":"\u0061\/\u000f\u000a\"\\\u2028\u007f\b\f\t"}"#),
        ("integers are exact", "[0,9007199254740991,-9007199254740991]"),
        ("empty", "{}"),
        ("booleans and nesting", r#"{"a":{"b":[true,false,{"c":[]}]}}"#),
        ("large integers are text", r#"{"n":"9007199254740993"}"#),
    ];
    let hashed: Vec<_> = bodies
        .iter()
        .map(|(about, body)| {
            let tree = Tree::parse(body.as_bytes()).unwrap();
            let hash = ContentHash::of_document("Release", "web", &tree).to_string();
            let resource = json!({"kind": "Release", "name": "web"});
            json!({"about": about, "resource": resource, "body": body, "canonicalBody": canonical(&tree), "hash": hash})
        })
        .collect();
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let refused = [
        ("duplicate key", r#"{"a":1,"a":1}"#),
        ("duplicate key after unescaping", r#"{"a":1,"\u0061":1}"#),
        ("fraction", "1.0"),
        ("minus zero", "-0"),
        ("exponent", "1e2"),
        ("integer beyond 2^53 − 1", "9007199254740992"),
        ("lone surrogate", r#""\ud800""#),
        ("nested deeper than 64", deep.as_str()),
        ("something after the document", "{} {}"),
        ("nothing", ""),
    ];
    let refused: Vec<_> = refused
        .iter()
        .map(|(about, body)| {
            assert!(Tree::parse(body.as_bytes()).is_err(), "{about}");
            json!({"about": about, "body": body})
        })
        .collect();
    let state = State { observed_generation: Some(3), ..State::default() };
    let states = [
        json!({"state": null, "digest": digest(None)}),
        json!({"state": serde_json::to_value(&state).unwrap(), "digest": digest(Some(&state))}),
    ];
    json!({"documents": hashed, "refused": refused, "states": states})
}

fn inventory() -> Value {
    let entries: Vec<_> = (1..=12_i64)
        .map(|n| InventoryEntry {
            key: ResourceKey { kind: Kind::ALL[usize::try_from(n % 3).unwrap()], name: format!("r{n}") },
            generation: n,
            hash: ContentHash::of(&Tree::Integer(n)).to_string(),
            state: if n % 4 == 0 { Desired::Absent } else { Desired::Present },
        })
        .collect();
    let listed: Vec<_> = entries
        .iter()
        .map(|entry| {
            let mut value = serde_json::to_value(entry).unwrap();
            value["bucket"] = bucket_of(&entry.key).into();
            value
        })
        .collect();
    let mut inventory: Inventory = entries.into_iter().collect();
    let root = inventory.root();
    json!({"entries": listed, "digests": inventory.digests(), "root": root, "emptyRoot": Inventory::default().root()})
}

fn names() -> Value {
    let tuples: [&[&str]; 5] = [
        &["acme", "shop", "dev"],
        &["a-b", "c"],
        &["a", "b-c"],
        &["Über", "Web_Shop", ""],
        &["a-very-long-word-that-is-cut"; 4],
    ];
    tuples.iter().map(|words| json!({"words": words, "max": 63, "name": joined(words, 63)})).collect()
}

fn renewal() -> Value {
    let csr = "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n";
    let statement = String::from_utf8(renewal_statement("dp-7c1e", csr, 1_772_366_400)).unwrap();
    json!({"dataPlane": "dp-7c1e", "csr": csr, "time": 1_772_366_400, "statement": statement})
}
