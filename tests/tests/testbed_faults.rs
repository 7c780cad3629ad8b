//! The life of a test cluster: comes up beside another, bears each fault and heals, and leaves nothing on the machine. Uses an
//! instance of its own, since it breaks it.

#![expect(clippy::unwrap_used, clippy::string_slice, reason = "helpers of tests")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use tests::testbed::{Cut, Instance, Part, Sample, Side, Testbed, verify, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
const OUTSIDE: &str = "10.77.1.1:8443";

#[tokio::test]
async fn a_cluster_bears_every_fault_heals_and_leaves_nothing_behind() {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let name = format!("faults-{}", &id[..6]);
    let instance = Instance::named(&name).unwrap();
    let _guard = RemovedAtTheEnd(name.clone());
    let testbed = Testbed::up(&name).await.unwrap();

    control_plane_is_reached_from_the_host_and_the_link_breaks_in_every_way(&testbed).await;
    killed_and_frozen_parts_come_back(&testbed).await;
    the_vault_is_sealed_and_unsealed(&testbed).await;
    a_dead_cluster_heals_with_its_data(&testbed).await;
    a_vault_whose_keys_were_never_written_down_is_made_anew(&testbed).await;

    let started = Instant::now();
    testbed.down().await.unwrap();
    eprintln!("down took {:?}", started.elapsed());
    assert_eq!(verify::leftovers(&instance).unwrap(), Vec::<String>::new());
}

/// Removes the instance also when the test fails in the middle.
struct RemovedAtTheEnd(String);

impl Drop for RemovedAtTheEnd {
    fn drop(&mut self) {
        let program = env!("CARGO_BIN_EXE_testbed");
        let status = std::process::Command::new(program).args(["--name", &self.0, "down"]).status();
        eprintln!("removal of {}: {status:?}", self.0);
    }
}

async fn control_plane_is_reached_from_the_host_and_the_link_breaks_in_every_way(testbed: &Testbed) {
    let program = Testbed::sample_program(Sample::HttpbinNew);
    let args = ["-host", "10.77.1.1", "-port", "8443"];
    testbed.start_control_plane(&program, &args, &[("USE_FULL_VERSION", "true")]).await.unwrap();
    let address = format!("127.0.0.1:{}", testbed.ports().unwrap().control_plane);
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build().unwrap();
    let answer = wait_until(LIMIT, "the control plane to answer on the host", async || {
        http.get(format!("http://{address}/version")).send().await
    });
    let answer = answer.await.unwrap().text().await.unwrap();
    assert!(answer.contains(Testbed::sample_version(Sample::HttpbinNew)), "{answer}");

    assert_eq!(dial(testbed).await, "open");
    for (how, expected) in [
        (Cut::Drop, "silence"),
        (Cut::Down, "at once"),
        (Cut::Reject, "at once"),
        (Cut::PeerDown, "silence"),
        (Cut::DropOut, "silence"),
        (Cut::DropIn, "silence"),
        (Cut::Narrow, "open"),
    ] {
        testbed.cut_link(how).await.unwrap();
        assert_eq!(dial(testbed).await, expected, "{how:?}");
        testbed.restore_link().await.unwrap();
        wait_until(LIMIT, "the link to work again", async || {
            let seen = dial(testbed).await;
            if seen == "open" { Ok(()) } else { Err(seen) }
        })
        .await
        .unwrap();
    }
    testbed.stop_control_plane().await.unwrap();
    assert_eq!(testbed.control_plane().unwrap(), None);
}

/// How a connection out of the cluster goes.
async fn dial(testbed: &Testbed) -> &'static str {
    let address: SocketAddr = OUTSIDE.parse().unwrap();
    match tokio::time::timeout(Duration::from_millis(800), testbed.connect(Side::Cluster, address)).await {
        Ok(Ok(_)) => "open",
        Ok(Err(_)) => "at once",
        Err(_) => "silence",
    }
}

async fn killed_and_frozen_parts_come_back(testbed: &Testbed) {
    testbed.apply(&marker("before").to_string()).await.unwrap();
    for part in [Part::Etcd, Part::Apiserver] {
        testbed.kill(part).await.unwrap();
        assert!(testbed.kubectl(&["get", "--raw", "/readyz"]).await.is_err(), "{part:?} is dead and nothing shows it");
        testbed.restart(part).await.unwrap();
        wait_until(LIMIT, "the API server", || testbed.kubectl(&["get", "--raw", "/readyz"])).await.unwrap();
    }
    testbed.signal(Part::Apiserver, Signal::SIGSTOP).unwrap();
    let frozen = testbed.kubectl(&["get", "configmap", "before", "--request-timeout=1s"]).await;
    assert!(frozen.is_err(), "a frozen API server answered");
    testbed.signal(Part::Apiserver, Signal::SIGCONT).unwrap();
    wait_until(LIMIT, "the API server", || testbed.kubectl(&["get", "configmap", "before"])).await.unwrap();
    // Whatever else is dead, `up` finds and starts it.
    for part in [Part::Kubelet, Part::Containerd, Part::Registry, Part::Vault, Part::KubeRouter, Part::Forwarder] {
        testbed.kill(part).await.unwrap();
    }
    Testbed::up(testbed.instance().unwrap().name()).await.unwrap();
}

async fn the_vault_is_sealed_and_unsealed(testbed: &Testbed) {
    testbed.vault_put("a/b", json!({ "key": "value" })).await.unwrap();
    testbed.vault_seal().await.unwrap();
    let sealed = testbed.vault_call(reqwest::Method::GET, "secret/data/a/b", None).await.unwrap_err().to_string();
    assert!(sealed.contains("503"), "{sealed}");
    testbed.vault_unseal().await.unwrap();
    let answer = wait_until(LIMIT, "the secret", async || {
        testbed.vault_call(reqwest::Method::GET, "secret/data/a/b", None).await
    });
    assert_eq!(answer.await.unwrap().pointer("/data/data/key"), Some(&json!("value")));
}

/// Kills every process of the cluster at once, as a crash of the machine would, and brings it up again.
async fn a_dead_cluster_heals_with_its_data(testbed: &Testbed) {
    let instance = testbed.instance().unwrap();
    testbed.apply(&marker("survivor").to_string()).await.unwrap();
    let init = std::fs::read_to_string(instance.path("run/init.pid")).unwrap();
    let init: tests::testbed::Process = serde_json::from_str(&init).unwrap();
    init.signal(Signal::SIGKILL).unwrap();
    init.ended(LIMIT).await.unwrap();
    assert!(Testbed::attach(instance.name()).is_err(), "a dead cluster can be attached to");
    let healed = Testbed::up(instance.name()).await.unwrap();
    healed.kubectl(&["get", "configmap", "survivor"]).await.unwrap();
    let answer = healed.vault_call(reqwest::Method::GET, "secret/data/a/b", None).await.unwrap();
    assert_eq!(answer.pointer("/data/data/key"), Some(&json!("value")));
}

async fn a_vault_whose_keys_were_never_written_down_is_made_anew(testbed: &Testbed) {
    let instance = testbed.instance().unwrap();
    std::fs::remove_file(instance.path("vault-unseal-key")).unwrap();
    let healed = Testbed::up(instance.name()).await.unwrap();
    healed.vault_put("c/d", json!({ "key": "value" })).await.unwrap();
    healed.vault_call(reqwest::Method::GET, "secret/data/a/b", None).await.unwrap_err();
}

fn marker(name: &str) -> serde_json::Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": "default" } })
}
