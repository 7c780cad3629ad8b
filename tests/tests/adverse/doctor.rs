//! The doctor in the pods of a working installation has nothing to complain of.

use serde_json::Value;
use tests::support::{agent, deploy, place, put_secrets};
use tests::testbed::Sample;

#[tokio::test]
async fn the_doctor_in_each_role_of_a_working_installation_finds_everything_well() {
    // Something runs, so that each role has done its work once.
    let place = place("doctor").await;
    put_secrets(&place, "s").await;
    assert_eq!(deploy(&place, Sample::HttpbinOld, &[]).await.code, 0);
    for role in ["link", "operator"] {
        let target = format!("deploy/pdp-agent-{role}");
        let doctor = ["exec", &target, "-n", "pdp-agent", "--", "/pdp-agent", "doctor", "-o", "json"];
        let report = agent().await.bed.kubectl(&doctor).await.unwrap();
        let report: Value = serde_json::from_str(&report).unwrap_or_else(|error| panic!("{error}: {report}"));
        let checks = report["checks"].as_array().unwrap();
        let bad: Vec<&Value> =
            checks.iter().filter(|check| !matches!(check["status"].as_str(), Some("ok" | "skip"))).collect();
        assert!(bad.is_empty(), "{role}: {bad:?}");
        assert!(checks.iter().filter(|check| check["status"] == "ok").count() >= 10, "{role} checks little: {report}");
    }
}
