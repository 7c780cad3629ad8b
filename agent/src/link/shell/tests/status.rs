//! What the link writes into the status of `DataPlane/default`.

use super::support::*;
use super::*;

/// An operator that starts without the id waits for it, and the link needs what the operator writes.
#[tokio::test]
async fn an_id_that_is_lost_from_the_status_is_written_again_whether_or_not_there_is_a_session() {
    let (plane, _, agent) = pair(Config::default()).await;
    let running = agent.run();
    agent.until_connected().await;
    let id = || agent.store.get(Table::Document(Kind::DataPlane), DEFAULT)?["status"]["id"].as_str().map(str::to_owned);
    let first = until("the id", async || id()).await;
    let lose = || {
        agent.store.edit(Table::Document(Kind::DataPlane), DEFAULT, |object| object["status"] = json!({}));
    };
    lose();
    assert_eq!(until("the id during a session", async || id()).await, first);
    running.stop().await;
    lose();
    let running = agent.run();
    assert_eq!(until("the id before the operator has written anything", async || id()).await, first);
    running.stop().await;
    plane.shutdown().await;
}
