//! What the image is made of besides our own code: the roots that it trusts. Reads the checkout only.

#![expect(clippy::panic, reason = "helpers of tests")]

use sha2::{Digest as _, Sha256};
use tests::installation::artifacts::file;
use x509_parser::pem::Pem;

fn text(below: &str) -> String {
    std::fs::read_to_string(file(below)).unwrap_or_else(|error| panic!("{below}: {error}"))
}

#[test]
fn the_roots_of_the_image_are_the_list_whose_hash_was_committed() {
    let hash: String = Sha256::digest(text("config/ca-roots.pem")).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(text("config/ca-roots.sha256"), format!("{hash}  ca-roots.pem\n"), "make ca-roots writes both");
}

#[test]
fn every_root_of_the_image_is_an_authority_that_has_not_ended() {
    let list = text("config/ca-roots.pem");
    let now = jiff::Timestamp::now().as_second();
    let mut seen = 0;
    for pem in Pem::iter_from_buffer(list.as_bytes()) {
        let pem = pem.unwrap();
        let root = pem.parse_x509().unwrap();
        assert!(root.is_ca(), "{} is no authority", root.subject());
        assert!(root.validity().not_after.timestamp() > now, "{} has ended: make ca-roots", root.subject());
        seen += 1;
    }
    // A block that the parser passes over would not be looked at.
    assert_eq!(seen, list.matches("BEGIN CERTIFICATE").count());
    assert!(seen > 50, "{seen} roots are not Mozilla's list");
}

/// The building machine may trust other authorities: that of a proxy that reads along, or of its company.
#[test]
fn no_file_of_the_building_machine_becomes_a_root_of_the_image() {
    for script in ["Dockerfile", ".ci/image.sh", "tests/src/installation.rs"] {
        for line in text(script).lines().filter(|line| line.contains("/etc/ssl") || line.contains("/usr/share/ca")) {
            assert!(line.contains("config/ca-roots.pem") || line.contains("/out/ca-roots.pem"), "{script}: {line}");
        }
    }
}
