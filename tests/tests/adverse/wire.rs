//! Documents that a control plane of another version would send, and identities that do not belong together.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use control_plane_mock::desired::documents::{self, Belongs};
use control_plane_mock::domain::SCHEMA;
use control_plane_mock::store::Store;
use protocol::document::{Desired, Provenance};
use protocol::name::{Kind, ResourceKey};
use serde_json::{Value, json};
use tests::guest::Guest;
use tests::support::{LIMIT, agent, ask, deploy, phase, place, put_secrets, release};
use tests::testbed::{Sample, Testbed};

use super::then_mend;

#[tokio::test]
async fn a_field_that_the_agent_does_not_know_is_refused_by_name_and_what_ran_goes_on() {
    let plane = &agent().await.control_plane;
    let place = place("newer").await;
    put_secrets(&place, "s").await;
    assert_eq!(deploy(&place, Sample::HttpbinOld, &[]).await.code, 0);
    let name = release(&place, "httpbin").await.unwrap()["name"].as_str().unwrap().to_owned();
    let file = plane.state().join("store.db");
    plane.stop().await.unwrap();
    let written = async {
        let store = Store::open(Some(&file), SCHEMA, |_| {}).unwrap();
        let written = store.run(move |c| {
            let sql = "SELECT data_plane, body FROM document WHERE kind = 'Release' AND name = ?1";
            let (plane, body): (String, String) = c.query_row(sql, [&name], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let mut body: Value = serde_json::from_str(&body)?;
            body["restartTokens"] = json!("a");
            body["probes"]["redyness"] = json!({});
            let key = ResourceKey { kind: Kind::Release, name };
            documents::put(c, &plane, &key, Desired::Present, &body, &Provenance::default(), &Belongs::default())
        });
        assert!(written.await.unwrap().is_some(), "the document did not change");
    };
    then_mend(written, async { plane.restart().await.unwrap() }).await;
    let row = phase(&place, "httpbin", "Refused").await;
    assert_eq!(row["answer"]["class"], "UnknownField", "{row}");
    let message = row["message"].as_str().unwrap();
    for word in ["/restartTokens", "restartToken", "/probes/redyness", "readiness"] {
        assert!(message.contains(word), "{word} is not in {message}");
    }
    assert!(ask(&place, "/version").await.unwrap().contains(Testbed::sample_version(Sample::HttpbinOld)));
    assert_eq!(deploy(&place, Sample::HttpbinNew, &[]).await.code, 0);
}

#[tokio::test]
async fn an_identity_put_together_from_two_data_planes_gets_no_session() {
    let plane = &agent().await.control_plane;
    let cli = plane.pdpctl().within("acme", "");
    let (mut guest, token) = Guest::new("mixed").await;
    guest.install(Some(&token), json!({})).await;
    guest.connects().await;
    let own = guest.identity().await["data"]["data-plane-id"].take();
    let shared = cli.json(&["get", "data-plane", "berlin"]).await.unwrap();
    let foreign = STANDARD.encode(shared["id"].as_str().unwrap());
    guest.set_identity(json!({ "data-plane-id": foreign })).await;
    guest.restart_link().await;
    guest.is_told("ProtocolError", &["hello and client certificate name different data planes"]).await;
    agent().await.connected(LIMIT).await.unwrap();
    guest.set_identity(json!({ "data-plane-id": own })).await;
    guest.restart_link().await;
    guest.connects().await;
    guest.close().await;
}
