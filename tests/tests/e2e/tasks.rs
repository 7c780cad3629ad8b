//! Manual tasks: one Job per run, its result and its logs at the control plane.

use serde_json::Value;
use tests::installation::Place;
use tests::testbed::{Sample, wait_until};

use tests::support::{LIMIT, agent, component, diagnose, objects, place};

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

#[tokio::test]
async fn the_log_of_a_run_is_there_after_the_run_was_forgotten() {
    let place = place("task-log").await;
    make(&place, "[pass]").await;
    let ended = place.cli.ended(&["run", "job", "--environment", "dev", "--wait"]).await.unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    let id = runs(&place).await[0]["id"].as_str().unwrap().to_owned();
    let name = runs(&place).await[0]["name"].as_str().unwrap().to_owned();
    let waited = wait_until(LIMIT, "the run to be forgotten", || async {
        let get = ["get", "taskruns.pdp-agent.dev", &name, "-n", "pdp-agent", "--ignore-not-found", "-o", "name"];
        let left = agent().await.bed.kubectl(&get).await.map_err(|error| error.to_string())?;
        if left.trim().is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    if let Err(error) = waited {
        panic!("{error}\n{}", diagnose(&place).await);
    }
    for more in [&[][..], &["-f"]] {
        let args = [&["logs", "job", "--environment", "dev", "--run", &id], more].concat();
        let ended = place.cli.ended(&args).await.unwrap();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.stdout.contains("passed"), "{ended:?}");
    }
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
