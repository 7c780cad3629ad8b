//! Outages that affect every test at once: long cuts, killed roles, restored stores, uninstalls. They run one after the other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    reason = "a broken expectation is a failed test, in helpers too"
)]

mod roles;

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::chaos::plan::Role;
use tests::chaos::replicas::replicas;
use tests::installation::Place;
use tests::support::{LIMIT, agent, answered, ask, deploy, objects, phase, place, put_secrets};
use tests::testbed::{Cut, Instance, Part, Sample, Testbed, wait_until};

#[tokio::test]
async fn a_cut_longer_than_the_certificates_life_needs_no_person() {
    let agent = agent().await;
    let place = running("long-cut", Sample::HttpbinOld).await;
    let certificate = certificate().await;
    agent.bed.cut_link(Cut::Drop).await.unwrap();
    let cut = Instant::now();
    // The shared control plane gives certificates of two minutes.
    wait_until(Duration::from_secs(200), "the certificate to have expired", || async {
        ask(&place, "/version").await.map_err(|error| format!("the service stopped to answer: {error}"))?;
        if cut.elapsed() > Duration::from_secs(135) { Ok(()) } else { Err("it lives".to_owned()) }
    })
    .await
    .unwrap();
    // The next one lives for as long as these tests: where a cluster is put back to a copy from before a new key was in use, the key of
    // the copy is refused for good (docs/trust.md).
    agent.control_plane.with(&["--certificate-lifetime", "60m"]).restart().await.unwrap();
    agent.bed.restore_link().await.unwrap();
    agent.connected(2 * LIMIT).await.unwrap();
    wait_until(LIMIT, "a new certificate", || async {
        if self::certificate().await == certificate { Err("the old one") } else { Ok(()) }
    })
    .await
    .unwrap();
    assert_eq!(deploy(&place, Sample::HttpbinNew, &[]).await.code, 0);
}

#[tokio::test]
async fn a_control_plane_restored_from_before_a_deployment_deletes_nothing() {
    let agent = agent().await;
    let state = agent.bed.instance().unwrap().path("control-plane-state");
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    agent.control_plane.stop().await.unwrap();
    copy(&state, old.path());
    agent.control_plane.restart().await.unwrap();
    agent.connected(LIMIT).await.unwrap();
    let place = running("restored", Sample::HttpbinOld).await;
    let before = uids(&place).await;

    // From before the deployment: held until the newer store is back.
    replace_store(&state, old.path(), Some(new.path())).await;
    held().await;
    assert!(ask(&place, "/version").await.is_ok());
    replace_store(&state, new.path(), None).await;
    agent.connected(LIMIT).await.unwrap();
    phase(&place, "httpbin", "Ready").await;

    // Again, and now a person accepts what the data plane has.
    replace_store(&state, old.path(), None).await;
    held().await;
    let cli = agent.control_plane.pdpctl().within(&agent.options.organization, "");
    cli.run(&["adopt", &agent.options.data_plane]).await.unwrap();
    agent.connected(LIMIT).await.unwrap();
    let next = running("after-adoption", Sample::HttpbinOld).await;
    assert!(ask(&next, "/version").await.is_ok());
    assert!(ask(&place, "/version").await.is_ok());
    assert_eq!(uids(&place).await, before, "workloads were touched");
}

#[tokio::test]
async fn an_api_server_restored_from_a_backup_is_noticed_and_brought_up_to_date() {
    let agent = agent().await;
    let place = running("before-backup", Sample::HttpbinOld).await;
    let backup = tempfile::tempdir().unwrap();
    around_the_store(async |etcd| copy_tree(etcd, backup.path())).await;
    agent.connected(LIMIT).await.unwrap();
    assert_eq!(deploy(&place, Sample::HttpbinNew, &[]).await.code, 0);
    let later = running("after-backup", Sample::HttpbinOld).await;
    let before = [Role::Link, Role::Operator].map(|role| (role, replicas(&agent.bed, role).unwrap()));

    around_the_store(async |etcd| {
        std::fs::remove_dir_all(etcd).unwrap();
        copy_tree(backup.path(), etcd);
    })
    .await;
    let gone = agent.bed.kubectl(&["get", "namespace", &later.namespace]).await;
    assert!(gone.is_err(), "the backup is not older: {gone:?}");
    // Both roles restart by themselves and log the reason. Some versions of containerd lose the last lines of a container; so the reason
    // is required only where the very last line is there.
    for replica in before.iter().flat_map(|(_, replicas)| replicas) {
        let state = "jsonpath={.status.containerStatuses[0].lastState.terminated}";
        wait_until(LIMIT, "the role to have noticed", || async {
            let ended = agent.bed.kubectl(&["get", "pod", &replica.pod, "-n", "pdp-agent", "-o", state]).await;
            let ended = ended.map_err(|error| error.to_string())?;
            let status: Value = serde_json::from_str(&ended).map_err(|error| format!("{error}: {ended}"))?;
            let said = agent.bed.kubectl(&["logs", &replica.pod, "-n", "pdp-agent", "--previous", "--tail=50"]).await;
            let said = said.map_err(|error| error.to_string())?;
            let why = said.contains("gone back in time") || !said.contains("stopped because a task ended");
            if status["exitCode"] == 1 && why { Ok(()) } else { Err(format!("{ended}: {said}")) }
        })
        .await
        .unwrap();
    }
    for (role, replicas_before) in &before {
        assert_ne!(&replicas(&agent.bed, *role).unwrap(), replicas_before, "{role:?} runs on");
    }
    for (place, sample) in [(&place, Sample::HttpbinNew), (&later, Sample::HttpbinOld)] {
        wait_until(Duration::from_secs(120), "what was asked for to serve again", || async {
            let answer = ask(place, "/version").await.map_err(|error| error.to_string())?;
            if answer.contains(Testbed::sample_version(sample)) { Ok(()) } else { Err(answer) }
        })
        .await
        .unwrap();
        phase(place, "httpbin", "Ready").await;
    }
    assert_eq!(deploy(&later, Sample::HttpbinNew, &[]).await.code, 0);
}

/// Does something to the API server's store while nothing of Kubernetes' own control plane runs. Afterwards all of it starts anew, as
/// the instructions for a restore have it; the agent's pods are left alone.
async fn around_the_store(work: impl AsyncFnOnce(&std::path::Path)) {
    let bed = &agent().await.bed;
    let parts = [Part::Kubelet, Part::Scheduler, Part::ControllerManager, Part::Apiserver, Part::Etcd];
    for part in parts {
        bed.kill(part).await.unwrap();
    }
    work(&bed.instance().unwrap().path("etcd")).await;
    bed.restart(Part::Etcd).await.unwrap();
    bed.restart(Part::Apiserver).await.unwrap();
    until_it_answers(bed).await;
    for part in [Part::ControllerManager, Part::Scheduler, Part::Kubelet, Part::KubeProxy, Part::KubeRouter] {
        bed.restart(part).await.unwrap();
    }
}

/// Waits until the API server answers. One that has ended meanwhile, since its store did not answer yet for instance, is started again:
/// elsewhere a kubelet or systemd does that.
async fn until_it_answers(bed: &Testbed) {
    let instance = bed.instance().unwrap();
    let ready = wait_until(2 * LIMIT, "the API server", async || {
        for part in [Part::Etcd, Part::Apiserver] {
            if part.process(instance).is_none() {
                println!("{} has ended, and is started again:\n{}", part.name(), last_lines(instance, part));
                bed.restart(part).await?;
            }
        }
        bed.kubectl(&["get", "--raw", "/readyz", "--request-timeout=5s"]).await
    })
    .await;
    if let Err(error) = ready {
        let logs =
            [Part::Etcd, Part::Apiserver].map(|part| format!("{}:\n{}", part.name(), last_lines(instance, part)));
        panic!("{error}\n{}", logs.join("\n"));
    }
}

/// The end of what a part has logged.
fn last_lines(instance: &Instance, part: Part) -> String {
    let log = std::fs::read_to_string(instance.log(part.name())).unwrap_or_else(|error| error.to_string());
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

#[tokio::test]
async fn an_uninstalled_chart_leaves_workloads_running_and_a_new_install_takes_them_up() {
    let agent = agent().await;
    let place = running("uninstall", Sample::HttpbinOld).await;
    let before = uids(&place).await;
    agent.bed.helm(&["uninstall", "pdp-agent", "-n", "pdp-agent", "--wait"]).await.unwrap();
    for kind in ["releases.pdp-agent.dev", "environments.pdp-agent.dev", "dataplanes.pdp-agent.dev"] {
        let left = agent.bed.kubectl(&["get", kind, "-n", "pdp-agent", "-o", "name"]).await.unwrap();
        assert!(!left.trim().is_empty(), "{kind} are gone");
    }
    assert!(ask(&place, "/version").await.is_ok());
    agent.helm_install(None).await.unwrap();
    agent.connected(LIMIT).await.unwrap();
    assert_eq!(deploy(&place, Sample::HttpbinOld, &[]).await.code, 0);
    assert_eq!(uids(&place).await, before, "pods were replaced");
}

#[tokio::test]
async fn the_loss_of_all_custom_resources_hurts_no_workload_and_heals() {
    let agent = agent().await;
    let place = running("lost", Sample::HttpbinOld).await;
    let before = uids(&place).await;
    for kind in ["releases.pdp-agent.dev", "environments.pdp-agent.dev"] {
        agent.bed.kubectl(&["delete", kind, "--all", "-n", "pdp-agent"]).await.unwrap();
    }
    assert!(ask(&place, "/version").await.is_ok());
    wait_until(LIMIT, "the resources to be back", || async {
        let kinds = "releases.pdp-agent.dev,environments.pdp-agent.dev";
        let list =
            agent.bed.kubectl(&["get", kinds, "-n", "pdp-agent", "-o", "json"]).await.map_err(|e| e.to_string())?;
        if list.contains(&place.namespace) { Ok(()) } else { Err(list) }
    })
    .await
    .unwrap();
    phase(&place, "httpbin", "Ready").await;
    assert_eq!(uids(&place).await, before, "pods were replaced");
}

async fn running(name: &str, sample: Sample) -> Place {
    let place = place(name).await;
    put_secrets(&place, "s").await;
    let ended = deploy(&place, sample, &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(answered(&place, "/version").await.contains(Testbed::sample_version(sample)));
    place
}

/// Waits until the control plane says that the session is held, and why.
async fn held() {
    let agent = agent().await;
    let cli = agent.control_plane.pdpctl().within(&agent.options.organization, "");
    wait_until(LIMIT, "the session to be held", || async {
        let plane = cli.json(&["get", "data-plane", &agent.options.data_plane]).await.map_err(|e| e.to_string())?;
        let said = plane.to_string();
        if said.contains("\"Held\"") && said.contains("never issued here") && said.contains("pdpctl adopt") {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await
    .unwrap();
}

/// Restarts the control plane over another store; the present one is kept in `keep`.
async fn replace_store(state: &std::path::Path, with: &std::path::Path, keep: Option<&std::path::Path>) {
    let agent = agent().await;
    agent.control_plane.stop().await.unwrap();
    if let Some(keep) = keep {
        copy(state, keep);
    }
    copy(with, state);
    agent.control_plane.restart().await.unwrap();
}

async fn certificate() -> String {
    let path = "jsonpath={.data.active\\.crt}";
    agent().await.bed.kubectl(&["get", "secret", "pdp-agent-identity", "-n", "pdp-agent", "-o", path]).await.unwrap()
}

async fn uids(place: &Place) -> Vec<String> {
    let mut uids: Vec<String> = Vec::new();
    for kind in ["deployments", "pods", "services"] {
        let list = objects(place, kind).await.unwrap();
        uids.extend(
            list.iter().filter_map(|one| one.pointer("/metadata/uid").and_then(Value::as_str)).map(str::to_owned),
        );
    }
    uids.sort_unstable();
    uids
}

fn copy_tree(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(to).unwrap().flatten() {
        std::fs::remove_file(entry.path()).unwrap();
    }
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
