//! What is applied to the cluster, and when it is there.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};

use super::process::run;
use super::{Error, Instance, kubectl, wait_until};

pub(super) async fn kubectl_apply(instance: &Instance, file: &Path) -> Result<(), Error> {
    let mut apply = kubectl(instance)?;
    apply.args(["apply", "--server-side", "--force-conflicts", "-f"]).arg(file);
    run(&format!("applying {}", file.display()), &mut apply).await.map(drop)
}

pub(super) async fn deployment_available(client: &Client, namespace: &str, name: &str) -> Result<(), Error> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    wait_until(Duration::from_secs(90), &format!("Deployment {namespace}/{name}"), async || {
        let found = api.get(name).await.map_err(|error| error.to_string())?;
        let (generation, status) = (found.metadata.generation, found.status.unwrap_or_default());
        let current = status.observed_generation >= generation;
        let available = status.available_replicas.unwrap_or_default();
        if current && available > 0 { Ok(()) } else { Err(format!("{available} replicas are available")) }
    })
    .await
}
