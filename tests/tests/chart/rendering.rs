//! What Helm renders of the chart, and committed files to hold it against.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Values of each file in the chart's `ci` folder, by name.
pub(crate) const VARIANTS: [&str; 4] = ["minimal", "single", "full", "openshift"];

pub(crate) fn root() -> PathBuf {
    tests::installation::artifacts::file("")
}

pub(crate) fn chart() -> PathBuf {
    root().join("helm/pdp-agent")
}

/// Output of helm, or what it complained of.
pub(crate) fn helm(args: &[&str]) -> Result<String, String> {
    let built = tests::testbed::Testbed::helm_program();
    let program = if built.exists() { built } else { "helm".into() };
    let output = Command::new(program).args(args).output().expect("Helm is missing: run `testbed up`, or install it");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

pub(crate) fn template(variant: &str, more: &[&str]) -> Result<String, String> {
    let chart = chart();
    let values = chart.join(format!("ci/{variant}-values.yaml"));
    let mut args = vec!["template", "pdp-agent", chart.to_str().unwrap(), "--namespace", "pdp-agent"];
    args.extend(["--kube-version", "1.35.0", "--values", values.to_str().unwrap()]);
    args.extend(more);
    helm(&args)
}

pub(crate) fn parse(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

pub(crate) fn objects(rendered: &str) -> Vec<Value> {
    rendered.split("\n---\n").map(|text| text.trim_start_matches("---\n")).map(parse).filter(|o| !o.is_null()).collect()
}

pub(crate) fn rendered(variant: &str) -> Vec<Value> {
    objects(&template(variant, &[]).unwrap())
}

pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

pub(crate) fn strings(value: &Value) -> Vec<&str> {
    value.as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// Compares `made` with the committed file, or writes it.
pub(crate) fn golden(file: &Path, made: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        // Tests beside this one render the chart from the same files.
        let whole = file.with_extension("new");
        std::fs::write(&whole, made).unwrap();
        std::fs::rename(&whole, file).unwrap();
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    let first = made.lines().zip(committed.lines().chain(std::iter::repeat("(end of file)"))).position(|(a, b)| a != b);
    let hint = "if the change is meant: UPDATE_GOLDEN=1 cargo test -p tests --test chart";
    assert!(made == committed, "{} differs from line {:?} on; {hint}", file.display(), first.map(|line| line + 1));
}
