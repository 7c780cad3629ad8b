//! This crate does no IO, looks at no clock and draws no random numbers: nothing that could is in its tree.

use std::process::Command;

/// Crates whose presence would make that untrue, by the start of their names.
const FORBIDDEN: [&str; 20] = [
    "tokio",
    "async-",
    "mio",
    "socket2",
    "hyper",
    "reqwest",
    "tungstenite",
    "kube",
    "k8s-openapi",
    "rustls",
    "aws-lc",
    "ring",
    "rand",
    "getrandom",
    "fastrand",
    "uuid",
    "chrono",
    "jiff",
    "time",
    "instant",
];

#[test]
fn nothing_in_the_tree_does_io_or_knows_a_clock_or_chance() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--package",
            "protocol",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.lines().count() > 5, "{}", String::from_utf8_lossy(&output.stderr));
    let found: Vec<_> = tree.lines().filter(|line| FORBIDDEN.iter().any(|name| line.starts_with(name))).collect();
    assert!(found.is_empty(), "{found:?}");
}
