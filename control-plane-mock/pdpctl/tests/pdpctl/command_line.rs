//! The command line itself, and the files that belong to it.

use crate::common::IMAGE;
use crate::fake::Fake;

#[tokio::test]
async fn completion_scripts_ask_the_binary() {
    let fake = Fake::start().await;
    for shell in ["bash", "zsh", "fish"] {
        let outcome = fake.run(&format!("completion {shell}")).await;
        assert!(outcome.code == 0 && outcome.out.contains("COMPLETE"), "{shell}: {}", outcome.out);
    }
}

#[tokio::test]
async fn help_and_page_tell_the_same_exit_codes() {
    let fake = Fake::start().await;
    let outcome = fake.run("--help").await;
    assert_eq!(outcome.code, 0);
    let number = |text: &str| text.trim().split(' ').next().and_then(|word| word.parse::<u8>().ok());
    let (_, help) = outcome.out.split_once("Exit codes:").unwrap();
    let (_, page) = include_str!("../../../../docs/pdpctl.md").split_once("| Code | Means |").unwrap();
    let help: Vec<u8> =
        help.lines().map_while(|line| number(line).or_else(|| line.is_empty().then_some(0))).skip(1).collect();
    let page: Vec<u8> = page.lines().filter_map(|line| number(line.strip_prefix('|')?)).collect();
    assert_eq!(help.split_last().map(|(_, codes)| codes), Some(page.as_slice()), "{}", outcome.out);
    assert!(page.ends_with(&[130, 141]));
    assert_eq!(fake.run("deploy --no-such").await.code, 2);
}

#[test]
fn the_command_line_is_consistent() {
    pdpctl::command_line().debug_assert();
}

#[test]
fn the_samples_are_good_component_files() {
    use control_plane_model::component::{Override, from_yaml_with};
    let task = include_str!("../../../../config/samples/task.yaml");
    let worker = include_str!("../../../../config/samples/worker.yaml");
    let service = include_str!("../../../../config/samples/httpbin.yaml");
    for (name, text) in [("httpbin", service), ("hello-task", task), ("hello-worker", worker)] {
        let image = Override::parse(&format!("image={IMAGE}")).unwrap();
        assert_eq!(from_yaml_with(text, &[image]).expect(name).name, name);
    }
}

#[test]
fn the_schema_of_component_files_is_the_committed_one() {
    let schema = format!("{}\n", serde_json::to_string_pretty(&control_plane_model::component::json_schema()).unwrap());
    let path = std::path::Path::new("../../config/schemas/component.schema.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &schema).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == schema, "component files changed: run the test with UPDATE_GOLDEN=1 and commit the schema");
}
