//! A role's process is killed in the middle of a deployment: the next one finds out from the cluster where things stand.

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::testbed::{Sample, Testbed, wait_until};

use tests::support::{LIMIT, agent, ask, deploy, objects, phase, place, put_secrets};

#[tokio::test]
async fn each_role_killed_in_the_middle_of_a_deployment_changes_nothing_of_its_end() {
    for role in ["link", "operator"] {
        let place = place(&format!("kill-{role}")).await;
        put_secrets(&place, "s").await;
        assert_eq!(deploy(&place, Sample::HttpbinOld, &[]).await.code, 0);
        let deploying = deploy(&place, Sample::HttpbinNew, &[]);
        let killing = async {
            for _ in 0..3 {
                kill(role).await;
                wait_until(LIMIT, "the role to be back", || running(role)).await.unwrap();
            }
        };
        let (ended, ()) = tokio::join!(deploying, killing);
        assert_eq!(ended.code, 0, "{role}: {ended:?}");
        phase(&place, "httpbin", "Ready").await;
        // A pod that drains still answers.
        wait_until(LIMIT, "the new version to answer", async || {
            let answer = ask(&place, "/version").await.map_err(|error| error.to_string())?;
            if answer.contains(Testbed::sample_version(Sample::HttpbinNew)) { Ok(()) } else { Err(answer) }
        })
        .await
        .unwrap();
        assert_eq!(objects(&place, "deployments").await.unwrap().len(), 1);
    }
}

/// Process ids of the agent's containers of one role, in this test cluster.
async fn processes(role: &str) -> Vec<i32> {
    let cgroup = agent().await.bed.instance().expect("a cluster of the test bed").cgroup();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if !std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default().contains(&format!("/{cgroup}/")) {
            continue;
        }
        let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let mut words = command.split('\0');
        if words.next().is_some_and(|program| program.ends_with("/pdp-agent")) && words.next() == Some(role) {
            found.push(pid);
        }
    }
    found
}

async fn kill(role: &str) {
    let pids = processes(role).await;
    assert!(!pids.is_empty(), "no process of {role}");
    for pid in pids {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
}

async fn running(role: &str) -> Result<(), String> {
    let bed = &agent().await.bed;
    let pods =
        bed.kubectl(&["get", "pods", "-n", "pdp-agent", "-o", "json"]).await.map_err(|error| error.to_string())?;
    let pods: Value = serde_json::from_str(&pods).map_err(|error| error.to_string())?;
    let ready = pods["items"].as_array().into_iter().flatten().any(|pod| {
        pod["metadata"]["name"].as_str().is_some_and(|name| name.contains(role))
            && pod["status"]["containerStatuses"][0]["ready"] == true
    });
    if ready && !processes(role).await.is_empty() { Ok(()) } else { Err("not ready".to_owned()) }
}
