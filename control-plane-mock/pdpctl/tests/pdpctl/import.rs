//! `import`: samples of each format below `tests/import`, and folders that somebody else made.

use std::collections::BTreeMap;
use std::fs;

use control_plane_model::component::{Component, from_yaml};
use pdpctl::Width;
use serde_json::Value;

use crate::fake::run;
use crate::scripted::DIGEST;
use crate::shell::Outcome;

async fn import(words: &str, width: Width) -> Outcome {
    run(&format!("import {words} --image {DIGEST}"), BTreeMap::new(), width).await
}

/// Folders of samples; what is run on each, which gives a name where the file holds none.
fn samples() -> Vec<(String, String)> {
    let folders = fs::read_dir("tests/import").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut all: Vec<_> = folders
        .map(|name| {
            let flag = if name.starts_with("workload") { "" } else { " --name shop" };
            (name.clone(), format!("tests/import/{name}{flag}"))
        })
        .collect();
    all.sort();
    all
}

/// Its leaves, as the report names them.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, member) in members {
                let dot = if at.is_empty() { "" } else { "." };
                leaves(member, &format!("{at}{dot}{key}"), found);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(index, item)| leaves(item, &format!("{at}[{index}]"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            found.push(at.to_owned());
        }
    }
}

#[tokio::test]
async fn each_sample_is_imported_as_recorded() {
    let samples = samples();
    assert!(samples.len() >= 12, "{samples:?}");
    for (name, line) in samples {
        let outcome = import(&line, Width::Columns(120)).await;
        let text = format!("exit code {}\n\n{}\n--- component file\n{}", outcome.code, outcome.err, outcome.out);
        insta::assert_snapshot!(format!("import_{name}"), text);
    }
}

#[tokio::test]
async fn each_field_of_each_sample_is_reported_once() {
    let mut reported = 0;
    for (name, line) in samples() {
        let outcome = import(&format!("{line} -o json"), Width::Unlimited).await;
        let Ok(report) = serde_json::from_str::<Value>(&outcome.out) else {
            assert!(outcome.err.contains("has 1 problem"), "{name}: {}", outcome.err);
            continue;
        };
        let file = report["file"].as_str().unwrap();
        let mut expected = Vec::new();
        leaves(&serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap(), "", &mut expected);
        let rows = report["fields"].as_array().unwrap();
        let field = |row: &Value| row["field"].as_str().unwrap().to_owned();
        let mut all: Vec<_> = rows.iter().map(field).collect();
        let mut of_file: Vec<_> = rows.iter().filter(|row| row["line"].is_u64()).map(field).collect();
        expected.sort();
        of_file.sort();
        assert_eq!(of_file, expected, "{name}");
        all.sort();
        let before = all.len();
        all.dedup();
        assert_eq!(all.len(), before, "{name}: {all:?}");
        for row in rows {
            let says = |key: &str| row[key].as_str().is_some_and(|words| !words.is_empty());
            assert!(row["fate"] != "refused" || (says("why") && says("hint")), "{name}: {row}");
            assert!(row["fate"] != "mapped" || says("to"), "{name}: {row}");
            assert!(row["fate"] != "defaulted" || says("why"), "{name}: {row}");
        }
        assert_eq!(outcome.code == 0, report["refused"] == 0, "{name}: {}", outcome.err);
        reported += rows.len();
    }
    assert!(reported > 100, "{reported}");
}

#[tokio::test]
async fn each_result_is_a_component_file_that_reads_back_the_same() {
    let mut written = 0;
    for (name, line) in samples() {
        let text = import(&line, Width::Unlimited).await.out;
        if text.is_empty() {
            continue;
        }
        let component = from_yaml(&text).unwrap_or_else(|problems| panic!("{name}: {problems:?}\n{text}"));
        let report = import(&format!("{line} -o yaml"), Width::Unlimited).await.out;
        let report: Value = serde_saphyr::from_str(&report).unwrap();
        let reported: Component = serde_json::from_value(report["component"].clone()).unwrap();
        assert_eq!(component, reported, "{name}");
        written += 1;
    }
    assert!(written >= 9, "{written}");
}

#[tokio::test]
async fn a_component_file_is_written_where_it_replaces_nothing_unasked() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("component.yaml");
    let line = format!("tests/import/component-plain --name orders --write {}", path.display());
    let first = import(&line, Width::Unlimited).await;
    assert_eq!((first.code, first.out), (0, format!("component/orders written to {}\n", path.display())));
    assert_eq!(from_yaml(&fs::read_to_string(&path).unwrap()).unwrap().name, "orders");
    fs::write(&path, "mine").unwrap();
    let second = import(&line, Width::Unlimited).await;
    assert!(second.code == 2 && second.err.contains("--force replaces it"), "{}", second.err);
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    assert_eq!(import(&format!("{line} --force -o name"), Width::Unlimited).await.out, "component/orders\n");
    assert_eq!(from_yaml(&fs::read_to_string(&path).unwrap()).unwrap().name, "orders");
}

#[tokio::test]
async fn what_flags_leave_out_or_get_wrong_is_told() {
    let run = async |words: &str, image: &str| {
        run(&format!("import {words} --image {image}"), BTreeMap::new(), Width::Unlimited).await
    };
    for (words, image, said) in [
        ("tests/import/component-plain", DIGEST, "give one with --name NAME"),
        ("tests/import/component-plain --name Orders", DIGEST, "--name: a name has 1 to 63 lower-case letters"),
        ("tests/import/component-plain --name a", "r.test/a:1", "crane digest r.test/a:1"),
        ("tests/import/component-plain --name a --file no.yaml", DIGEST, "no.yaml cannot be read"),
        ("tests/import/component-plain --name a --file ../config/.choreo/endpoints.yaml", DIGEST, "does not lie in"),
        ("tests/import/component-plain/.choreo/component.yaml --name a", DIGEST, "is a file, and a folder is expected"),
        ("tests/import/none --name a", DIGEST, "cannot read tests/import/none"),
        ("tests/import --name a", DIGEST, "nothing to import in tests/import"),
        ("tests/import/imported-before --name a --file component.yaml", DIGEST, "this is a component file already"),
    ] {
        let outcome = run(words, image).await;
        assert!(outcome.code == 2 && outcome.out.is_empty(), "{words}: {outcome:?}");
        assert!(outcome.err.contains(said), "{words}: {}", outcome.err);
    }
    let task = run("tests/import/component-plain --name a --type ManualTask", DIGEST).await;
    assert!(task.code == 1 && task.err.contains("a ManualTask has no endpoints"), "{}", task.err);
    assert!(from_yaml(&task.out).unwrap().endpoints.is_none());
    let older = run("tests/import/config --name a --file endpoints.yaml", DIGEST).await;
    assert!(older.code == 0 && older.err.contains("component-config.yaml (another was chosen"), "{}", older.err);
}

#[tokio::test]
async fn files_that_no_reader_takes_are_told_as_component_files_are() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".choreo")).unwrap();
    let path = home.path().join(".choreo/component.yaml");
    let line = format!("{} --name shop", home.path().display());
    let ten = |name: &str, of: &str| format!("{name}: &{name} [{}]\n", [of; 10].join(","));
    let bomb: String = [("a", "x"), ("b", "*a"), ("c", "*b"), ("d", "*c"), ("e", "*d"), ("f", "*e"), ("g", "*f")]
        .map(|(name, of)| ten(name, of))
        .concat();
    let start = "schemaVersion: 1.2\n";
    let long_key = "k".repeat(200_000);
    // As an explicit key, which may be long.
    let deep = format!("{start}? {long_key}\n:\n  x: [{}]\n", "1,".repeat(100_000));
    for (bytes, said) in [
        (format!("{start}---\n{start}").into_bytes(), "component.yaml:3: the file holds several documents"),
        (format!("{start}{start}").into_bytes(), "component.yaml:2: key `schemaVersion` stands here twice"),
        (format!("{bomb}{start}").into_bytes(), "more values or levels than can be read"),
        (format!("{start}endpoints: *none\n").into_bytes(), "component.yaml:2: `*` stands for a value that was marked"),
        (format!("{start}endpoints: [\n").into_bytes(), "cannot be read as YAML"),
        (start.encode_utf16().flat_map(u16::to_le_bytes).collect(), "component.yaml:1: the file is in UTF-16"),
        (vec![b'a', 0x89, 0xff], "component.yaml:1: the file is not in UTF-8"),
        (format!("{start}# {}\n", "x".repeat(600_000)).into_bytes(), "524288 are allowed"),
        (vec![b'x'; 2_000_000], "has more than 1048576 bytes"),
        (deep.into_bytes(), "too much lies too deep"),
        (Vec::new(), "none of the formats that can be imported"),
        (b"- a\n- b\n".to_vec(), "none of the formats that can be imported"),
        (b"schemaVersion:\n".to_vec(), "schemaVersion is empty"),
        (b"apiVersion: openchoreo.dev/v2\n".to_vec(), "versions that are read: openchoreo.dev/v1alpha1"),
    ] {
        fs::write(&path, bytes).unwrap();
        let outcome = import(&line, Width::Unlimited).await;
        assert!(outcome.code == 2 && outcome.out.is_empty(), "{said}: {}", outcome.err);
        assert!(outcome.err.contains(said), "{said}: {}", outcome.err);
    }
    fs::write(&path, format!("\u{feff}{start}").replace('\n', "\r\n")).unwrap();
    assert_eq!(import(&line, Width::Unlimited).await.code, 0, "as Windows writes it");
}

#[tokio::test]
async fn no_path_out_of_the_folder_is_followed() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("component");
    fs::create_dir_all(folder.join(".choreo")).unwrap();
    fs::write(home.path().join("secret"), "canary-of-the-machine").unwrap();
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.join(name)).unwrap();
    let line = format!("{} --name shop", folder.display());
    let told = async |said: &str| {
        let outcome = import(&line, Width::Unlimited).await;
        assert!(outcome.err.contains(said), "{said}: {}", outcome.err);
        assert!(!format!("{outcome:?}").contains("canary-of-the-machine"), "{outcome:?}");
        outcome
    };
    link("../../secret", ".choreo/component.yaml");
    assert_eq!(told("leads out of the component file's folder").await.code, 2);
    fs::remove_file(folder.join(".choreo/component.yaml")).unwrap();
    fs::create_dir(folder.join(".choreo/component.yaml")).unwrap();
    assert_eq!(told("component.yaml is no file").await.code, 2);
    fs::remove_dir(folder.join(".choreo/component.yaml")).unwrap();
    link("../secret", "stolen");
    let file = |path: &str| {
        format!(
            "apiVersion: openchoreo.dev/v1alpha1\nconfigurations: {{files: [{{name: a, mountPath: /a, valueFrom: {{path: {path}}}}}]}}\n"
        )
    };
    for (path, said) in [
        ("stolen", "stolen leads out of the component file's folder"),
        ("../secret", "../secret does not lie beside"),
        ("/etc/hostname", "/etc/hostname does not lie beside"),
    ] {
        fs::write(folder.join("workload.yaml"), file(path)).unwrap();
        let outcome = told(said).await;
        let declared = from_yaml(&outcome.out).unwrap().files.unwrap();
        assert!(outcome.code == 1 && declared[0].content.is_none(), "{}", outcome.out);
    }
}

#[tokio::test]
async fn what_a_foreign_file_says_drives_no_terminal() {
    let home = tempfile::tempdir().unwrap();
    let hostile = r#""a\e[2J\u202etxt""#;
    let text = format!(
        "version: 0.1\n{hostile}: 1\nendpoints:\n- name: {hostile}\n  port: 8080\n  type: REST\n  {hostile}: {hostile}\n"
    );
    fs::write(home.path().join("endpoints.yaml"), text).unwrap();
    for form in ["table", "json", "yaml"] {
        let outcome = import(&format!("{} --name shop -o {form}", home.path().display()), Width::Unlimited).await;
        let drives = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!outcome.out.contains(drives) && !outcome.err.contains(drives), "{form}: {outcome:?}");
        assert!(outcome.code == 1 && format!("{outcome:?}").contains("txt"), "{form}: {outcome:?}");
    }
}
