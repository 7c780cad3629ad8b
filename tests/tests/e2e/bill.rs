//! The bill of materials beside the image: every crate of the agent as the lock file has it, and none that only tests have.

use serde_json::Value;
use tests::installation::artifacts::{file, image_archive};

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// Read from the lock file, not by what wrote the bill.
#[test]
fn the_bill_of_materials_lists_the_agents_crates_as_the_lock_file_has_them() {
    let path = image_archive().with_file_name("pdp-agent.cdx.json");
    let bill = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let bill: Value = serde_json::from_str(&bill).unwrap();
    assert_eq!((text(&bill, "bomFormat"), text(&bill, "specVersion")), ("CycloneDX", "1.6"));
    let lock = std::fs::read_to_string(file("Cargo.lock")).unwrap();
    let components = bill["components"].as_array().unwrap();
    for component in components {
        let (name, version) = (text(component, "name"), text(component, "version"));
        assert_eq!(text(component, "purl"), format!("pkg:cargo/{name}@{version}"));
        assert!(!text(&component["licenses"][0], "expression").is_empty(), "{component}");
        let entry = lock.split("[[package]]").find(|entry| {
            entry.contains(&format!("\nname = \"{name}\"\n")) && entry.contains(&format!("\nversion = \"{version}\"\n"))
        });
        let entry = entry.unwrap_or_else(|| panic!("{name} {version} is not in Cargo.lock"));
        let hash = component["hashes"].as_array().and_then(|hashes| hashes.first());
        match hash {
            Some(hash) => assert!(entry.contains(&format!("checksum = \"{}\"", text(hash, "content"))), "{component}"),
            // A crate of this repository.
            None => assert!(!entry.contains("checksum"), "{name} has no hash"),
        }
    }
    let names: Vec<&str> = components.iter().map(|component| text(component, "name")).collect();
    for ours in ["protocol", "tokio", "rustls", "aws-lc-sys", "kube"] {
        assert!(names.contains(&ours), "{ours} is in the agent and not on its bill");
    }
    for never in ["insta", "proptest", "rusqlite", "control-plane-mock"] {
        assert!(!names.contains(&never), "{never} is for tests");
    }
    // Each component, and the agent itself, has an entry with its dependencies, all of which are listed.
    let asks = bill["dependencies"].as_array().unwrap();
    assert_eq!(asks.len(), components.len() + 1);
    for asked in asks.iter().flat_map(|ask| ask["dependsOn"].as_array().unwrap()) {
        let listed = components.iter().any(|component| text(component, "bom-ref") == asked);
        assert!(listed, "{asked} is not listed");
    }
}
