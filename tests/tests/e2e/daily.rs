//! What happens on ordinary days: versions that die just after their start, full quotas, people with kubectl, tasks that hang.

use std::time::Duration;

use serde_json::{Value, json};
use tests::installation::Place;
use tests::testbed::wait_until;

use tests::support::{LIMIT, agent, component, diagnose, object, objects, phase, place, release, shell};

const FOREVER: &str = "while :; do sleep 1; done";

/// A component that runs a script.
async fn script(kind: &str, script: &str, more: &str) -> String {
    let image = shell::image(&agent().await.bed).await.unwrap();
    let args = json!([script]);
    format!(
        "apiVersion: pdp-agent.dev/v1alpha1\nkind: Component\nname: app\ntype: {kind}\nimage: {image}\nargs: {args}\n{more}"
    )
}

fn uids(objects: &[Value]) -> Vec<String> {
    objects.iter().map(|object| object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()).collect()
}

/// All pods but those that are on their way out.
async fn pods(place: &Place) -> Vec<Value> {
    let mut pods = objects(place, "pods").await.unwrap();
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    pods
}

#[tokio::test]
async fn a_version_that_dies_just_after_its_start_goes_back_and_deploy_says_so() {
    let place = place("dies").await;
    assert_eq!(component(&place, &script("Worker", FOREVER, "").await).await.code, 0);
    let ended = component(&place, &script("Worker", "sleep 2; echo FATAL; sleep 1; exit 1", "").await).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(format!("{}{}", ended.stdout, ended.stderr).contains("ends again and again"), "{ended:?}");
    phase(&place, "app", "RolledBack").await;
    let last = place.cli.ended(&["logs", "app", "--environment", "dev", "--failed"]).await.unwrap();
    assert!(last.code == 0 && last.stdout.contains("FATAL"), "{last:?}");
    // It lives for longer than a pod has to stay ready.
    let ended = component(&place, &script("Worker", "sleep 40; exit 1", "").await).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let row = phase(&place, "app", "RolledBack").await;
    assert!(row.to_string().contains("ended within 60 s"), "{row}");
    let running = pods(&place).await;
    assert!(running.iter().all(|pod| pod.to_string().contains(FOREVER)), "{running:?}");
}

#[tokio::test]
async fn under_a_full_quota_fewer_pods_none_and_those_that_ran_go_through() {
    let project = format!("full-{}", &uuid::Uuid::new_v4().simple().to_string()[..6]);
    let place = agent().await.environment_with(&project, &["--quota-pods", "2"]).await.unwrap();
    let with = async |replicas: u8| {
        component(&place, &script("Worker", FOREVER, &format!("scaling: {{replicas: {replicas}}}\n")).await).await
    };
    assert_eq!(with(2).await.code, 0);
    let two = uids(&pods(&place).await);
    for (replicas, left) in [(1, 1), (2, 2), (0, 0)] {
        let ended = with(replicas).await;
        assert_eq!(ended.code, 0, "{replicas}: {ended:?}\n{}", diagnose(&place).await);
        let now = wait_until(LIMIT, "the pods to be as many", || async {
            let now = pods(&place).await;
            if now.len() == left { Ok(uids(&now)) } else { Err(format!("{now:?}")) }
        });
        let now = now.await.unwrap();
        assert!(
            now.is_empty() || now.iter().any(|pod| two.contains(pod)),
            "other pods run, though nothing of them changed"
        );
    }
}

#[tokio::test]
async fn what_a_person_sets_for_the_main_container_is_taken_back() {
    let place = place("set-env").await;
    let text = script("Worker", FOREVER, "env: [{name: GREETING, value: hello}]\n").await;
    assert_eq!(component(&place, &text).await.code, 0);
    let deployment = objects(&place, "deployments").await.unwrap()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let bed = &agent().await.bed;
    let target = format!("deployment/{deployment}");
    bed.kubectl(&["set", "env", &target, "-n", &place.namespace, "DEBUG=1", "GREETING=evil"]).await.unwrap();
    let probe = r#"{"spec": {"template": {"spec": {"containers": [{"name": "main", "livenessProbe": {"exec": {"command": ["true"]}}}]}}}}"#;
    bed.kubectl(&["patch", &target, "-n", &place.namespace, "-p", probe]).await.unwrap();
    wait_until(LIMIT, "the variables and probes to be as they were", || async {
        let now = object(&place, "deployment", &deployment).await.map_err(|error| error.to_string())?;
        let main = now["spec"]["template"]["spec"]["containers"][0].to_string();
        if ["DEBUG", "evil", "livenessProbe"].iter().any(|set| main.contains(set)) { Err(main) } else { Ok(()) }
    })
    .await
    .unwrap();
    phase(&place, "app", "Ready").await;
}

#[tokio::test]
async fn a_deleted_namespace_is_whole_again() {
    let place = place("whole").await;
    let bed = &agent().await.bed;
    bed.vault_put(&format!("{}/app", place.namespace), json!({ "token": "x" })).await.unwrap();
    let text = script("Worker", FOREVER, "env:\n- name: TOKEN\n  secretRef: {path: app, key: token}\n").await;
    assert_eq!(component(&place, &text).await.code, 0);
    let kinds =
        "serviceaccounts,limitranges,networkpolicies,rolebindings,secrets,configmaps,controllerrevisions,deployments";
    let names = async || {
        let found = bed.kubectl(&["get", kinds, "-n", &place.namespace, "-o", "name"]).await;
        let found = found.map_err(|error| error.to_string())?;
        // Made of the key, which is a new one.
        let mut names: Vec<String> =
            found.lines().map(|name| name.split("-secret-").next().unwrap_or_default().to_owned()).collect();
        names.sort();
        Ok::<_, String>(names)
    };
    let before = names().await.unwrap();
    bed.kubectl(&["delete", "namespace", &place.namespace, "--wait=true"]).await.unwrap();
    let back = wait_until(Duration::from_secs(30), "everything to be back", || async {
        let now = names().await?;
        if now == before { Ok(()) } else { Err(format!("{now:?} and not {before:?}")) }
    });
    if let Err(error) = back.await {
        panic!("{error}\n{}", diagnose(&place).await);
    }
    phase(&place, "app", "Ready").await;
}

#[tokio::test]
async fn a_run_that_took_too_long_keeps_its_log() {
    let place = place("slow").await;
    let text =
        script("ManualTask", "echo began; sleep 120", "task: {timeoutSeconds: 15}\nterminationGraceSeconds: 1\n").await;
    assert_eq!(component(&place, &text).await.code, 0);
    let ended = place.cli.ended(&["run", "app", "--environment", "dev", "--wait"]).await.unwrap();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(format!("{}{}", ended.stdout, ended.stderr).contains("task.timeoutSeconds"), "{ended:?}");
    let runs = place.cli.json(&["get", "runs", "app", "--environment", "dev"]).await.unwrap();
    let log = ["logs", "app", "--environment", "dev", "--run", runs[0]["id"].as_str().unwrap()];
    let log = place.cli.ended(&log).await.unwrap();
    assert!(log.code == 0 && log.stdout.contains("began"), "{log:?}");
}

#[tokio::test]
async fn a_run_that_was_cancelled_leaves_its_last_lines() {
    let place = place("cancelled").await;
    // As process 1 a shell ends at a signal only if it has a trap for it.
    let hangs = "trap 'echo told; sleep 1; exit 3' TERM; echo began; while :; do sleep 1; done";
    assert_eq!(component(&place, &script("ManualTask", hangs, "").await).await.code, 0);
    assert_eq!(place.cli.ended(&["run", "app", "--environment", "dev"]).await.unwrap().code, 0);
    let runs = wait_until(LIMIT, "the run to run", || async {
        let runs = place.cli.json(&["get", "runs", "app", "--environment", "dev"]).await;
        let runs = runs.map_err(|error| error.to_string())?;
        if runs[0]["started"].is_null() { Err(runs.to_string()) } else { Ok(runs) }
    });
    let runs = runs.await.unwrap();
    let run = runs[0]["id"].as_str().unwrap();
    assert_eq!(place.cli.ended(&["cancel", "app", run]).await.unwrap().code, 0);
    let log = ["logs", "app", "--environment", "dev", "--run", run];
    wait_until(LIMIT, "the pod to be gone and its last lines to be there", || async {
        let log = place.cli.ended(&log).await.map_err(|error| error.to_string())?;
        let gone = objects(&place, "pods").await.map_err(|error| error.to_string())?.is_empty();
        let whole = ["began", "told"].iter().all(|line| log.stdout.contains(line));
        if gone && whole && log.code == 0 { Ok(()) } else { Err(format!("{log:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_program_writes_to_its_volumes_and_reads_its_files_as_their_modes_say() {
    let place = place("volumes").await;
    agent().await.bed.vault_put(&format!("{}/app", place.namespace), json!({ "token": "secret-value" })).await.unwrap();
    let check = "set -e; echo kept > /data/file; cat /data/file; echo x > /tmp/file; [ -x /etc/run.sh ]; read T < /etc/token || true; [ -n \"$T\" ]; \
                 [ ! -w /etc/run.sh ]; read B < /etc/bytes; [ \"$B\" = \"$(printf '\\351')\" ]; echo done";
    let more = "volumes:\n- {path: /data, size: 16Mi}\n- {path: /tmp, medium: Memory, size: 8Mi}\n\
                files:\n- {path: /etc/run.sh, content: \"true\\n\", mode: \"0755\"}\n\
                - {path: /etc/bytes, content: 6Qo=, encoding: Base64}\n- {path: /etc/token, secretRef: {path: app, key: token}}\n";
    assert_eq!(component(&place, &script("ManualTask", check, more).await).await.code, 0);
    let ended = place.cli.ended(&["run", "app", "--environment", "dev", "--wait"]).await.unwrap();
    assert_eq!(ended.code, 0, "{ended:?}\n{}", diagnose(&place).await);
    let pod = &objects(&place, "pods").await.unwrap()[0];
    let secret = pod["spec"]["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "secret").unwrap();
    assert_eq!(secret["secret"]["defaultMode"], 0o440);
}

#[tokio::test]
async fn what_can_never_work_fails_at_once_and_does_not_wait_for_ever() {
    let place = place("never").await;
    assert_eq!(component(&place, &script("Worker", FOREVER, "").await).await.code, 0);
    // Whoever writes past the control plane, which would refuse it.
    let rows = release(&place, "app").await.unwrap();
    let name = rows["name"].as_str().unwrap().to_owned();
    let patch = json!({"spec": {"resources": {"memoryRequest": "64Mi", "memoryLimit": "32Mi"}}}).to_string();
    let bed = &agent().await.bed;
    bed.kubectl(&["patch", "releases.pdp-agent.dev", &name, "-n", "pdp-agent", "--type=merge", "-p", &patch])
        .await
        .unwrap();
    let failed = wait_until(LIMIT, "the release to have failed", || async {
        let get = ["get", "releases.pdp-agent.dev", &name, "-n", "pdp-agent", "-o", "jsonpath={.status.failed}"];
        let failed = bed.kubectl(&get).await.map_err(|error| error.to_string())?;
        if failed.contains("Invalid") { Ok(()) } else { Err(failed) }
    });
    if let Err(error) = failed.await {
        panic!("{error}\n{}", diagnose(&place).await);
    }
    assert_eq!(pods(&place).await.len(), 1, "what served serves on");
}
