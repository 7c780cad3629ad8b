//! A process that may open nothing more. What it may open is the process's, so the test runs itself again as one of its own.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::*;

const NAME: &str =
    "link::shell::tests::descriptors::a_link_without_free_file_descriptors_says_so_and_connects_once_it_has_some";
const ALONE: &str = "PDP_TEST_ALONE";

#[tokio::test]
async fn a_link_without_free_file_descriptors_says_so_and_connects_once_it_has_some() {
    if std::env::var_os(ALONE).is_some() {
        return runs_out_of_descriptors().await;
    }
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

async fn runs_out_of_descriptors() {
    let (plane, api, agent) = pair(Config::default()).await;
    let running = agent.run();
    agent.until_connected().await;
    api.deploy("web").await;
    agent.release("web").await;

    // What is open stays open; nothing can be opened.
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
    plane.faults().add(fault(Fault::Kill, 1));
    until("the link to say what it lacks", async || {
        let (status, _, message) = agent.connected()?;
        (status == "False" && message.contains("Too many open files")).then_some(())
    })
    .await;
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    agent.until_connected().await;
    api.deploy("second").await;
    agent.release("second").await;
    running.stop().await;
    plane.shutdown().await;
}
