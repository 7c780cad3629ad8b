//! Manual tasks: one Job per run, its result and its logs at the control plane.

use serde_json::Value;
use tests::installation::Place;
use tests::testbed::Sample;

use tests::support::{agent, component, objects, place};

#[tokio::test]
async fn a_task_runs_once_per_run_and_its_end_is_known() {
    let place = place("task").await;
    make(&place, "[pass]").await;
    assert!(objects(&place, "jobs").await.unwrap().is_empty(), "a task runs only when it is asked to");
    let ended = place.cli.ended(&["run", "job", "--environment", "dev", "--wait"]).await.unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(objects(&place, "jobs").await.unwrap().len(), 1);
    let runs = runs(&place).await;
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert_eq!((&runs[0]["result"], &runs[0]["exitCode"]), (&"Succeeded".into(), &0.into()), "{runs:?}");
}

#[tokio::test]
async fn a_failing_task_is_told_with_its_exit_code() {
    let place = place("task-fails").await;
    make(&place, "[no-such-command]").await;
    let ended = place.cli.ended(&["run", "job", "--environment", "dev", "--wait"]).await.unwrap();
    assert_eq!(ended.code, 1, "{ended:?}");
    let runs = runs(&place).await;
    assert_eq!(runs[0]["result"], "Failed", "{runs:?}");
    assert!(runs[0]["exitCode"].as_i64().is_some_and(|code| code > 0), "{runs:?}");
}

async fn make(place: &Place, args: &str) {
    let image = agent().await.bed.sample(Sample::Probe).unwrap();
    let text = format!(
        "apiVersion: pdp-agent.dev/v1alpha1\nkind: Component\nname: job\ntype: ManualTask\nimage: {image}\nargs: {args}\n"
    );
    let ended = component(place, &text).await;
    assert_eq!(ended.code, 0, "{ended:?}");
}

async fn runs(place: &Place) -> Vec<Value> {
    let runs = place.cli.json(&["get", "runs", "job", "--environment", "dev"]).await.unwrap();
    runs.as_array().cloned().unwrap_or_default()
}
