//! Parts that a cluster has only on demand, since they take time to build and memory to run.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Client;

use super::applied::{deployment_available, kubectl_apply};
use super::process::{clean, run};
use prepare::{Artifact, Recipe};

use super::registry::{self, Own};
use super::{Cache, Error, Instance, files, kubectl, recipe, wait_until};

/// A part that `up --with` installs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Addon {
    /// Resource metrics of pods and nodes (`kubectl top`, autoscalers).
    MetricsServer,
    /// Gateway API by Envoy Gateway, with the GatewayClass `envoy`.
    EnvoyGateway,
}

const METRICS_SERVER: &str = include_str!("../../testbed/config/metrics-server.yaml");
const GATEWAY_CLASS: &str = include_str!("../../testbed/config/gateway-class.yaml");

/// What a glibc binary needs in an image made from nothing else.
const LIBRARIES: &[&str] = &[
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/lib/x86_64-linux-gnu/libm.so.6",
    "/lib/x86_64-linux-gnu/librt.so.1",
    "/lib/x86_64-linux-gnu/libdl.so.2",
    "/lib/x86_64-linux-gnu/libpthread.so.0",
];

impl Addon {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::MetricsServer => "metrics-server",
            Self::EnvoyGateway => "envoy-gateway",
        }
    }

    /// What it is made of.
    pub(crate) fn recipes(self) -> Vec<Recipe> {
        let artifacts = match self {
            Self::MetricsServer => &[recipe::METRICS_SERVER][..],
            Self::EnvoyGateway => &[recipe::ENVOY_GATEWAY, recipe::ENVOY_GATEWAY_CHART, recipe::ENVOY],
        };
        artifacts.iter().map(|artifact| *artifact.recipe).collect()
    }

    /// Installs it and waits until it works. Does nothing that is done already.
    pub(crate) async fn install(self, instance: &Instance, cache: &Cache, client: &Client) -> Result<(), Error> {
        match self {
            Self::MetricsServer => metrics_server(instance, cache, client).await,
            Self::EnvoyGateway => envoy_gateway(instance, cache, client).await,
        }
    }
}

async fn metrics_server(instance: &Instance, cache: &Cache, client: &Client) -> Result<(), Error> {
    let image = local(cache, &recipe::METRICS_SERVER, "/metrics-server");
    let manifest = METRICS_SERVER.replace("{{image}}", &image.reference);
    registry::import(instance, cache, &[image]).await?;
    apply(instance, "metrics-server.yaml", &manifest).await?;
    deployment_available(client, "kube-system", "metrics-server").await?;
    let nodes: kube::Api<Node> = kube::Api::all(client.clone());
    let known = nodes.list(&kube::api::ListParams::default()).await;
    let count = known.map_err(|error| Error::Kubernetes(error.to_string()))?.items.len();
    wait_until(Duration::from_secs(60), "metrics of the node", async || {
        let mut top = kubectl(instance)?;
        let printed = run("kubectl top", top.args(["top", "nodes", "--no-headers"])).await?;
        let lines = printed.lines().count();
        if lines == count { Ok(()) } else { Err(Error::Kubernetes(format!("metrics of {lines} of {count} nodes"))) }
    })
    .await
}

async fn envoy_gateway(instance: &Instance, cache: &Cache, client: &Client) -> Result<(), Error> {
    let gateway = local(cache, &recipe::ENVOY_GATEWAY, "/bin/envoy-gateway");
    let mut proxy = local(cache, &recipe::ENVOY, "/bin/envoy");
    proxy.spec.files.extend(LIBRARIES.iter().map(|file| ((*file).into(), (*file).to_owned())));
    let values = instance.path("run/gateway-helm");
    files::remove_folder(&values)?;
    let mut copy = clean("cp");
    run("copying the chart", copy.arg("-r").arg(cache.file(&recipe::ENVOY_GATEWAY_CHART)).arg(&values)).await?;
    let template = files::read(&values.join("values.tmpl.yaml"))?;
    let filled =
        template.replace("${GatewayImage}", &gateway.reference).replace("${GatewayImagePullPolicy}", "IfNotPresent");
    files::write(&values.join("values.yaml"), filled)?;
    let class = GATEWAY_CLASS.replace("{{image}}", &proxy.reference);
    registry::import(instance, cache, &[gateway, proxy]).await?;
    let mut helm = clean(cache.file(&recipe::HELM));
    helm.env("KUBECONFIG", instance.kubeconfig());
    helm.args(["upgrade", "--install", "envoy-gateway"]).arg(&values);
    helm.args(["--namespace", "envoy-gateway-system", "--create-namespace", "--timeout", "120s"]);
    run("installing Envoy Gateway", &mut helm).await?;
    deployment_available(client, "envoy-gateway-system", "envoy-gateway").await?;
    apply(instance, "gateway-class.yaml", &class).await?;
    let mut wait = kubectl(instance)?;
    wait.args(["wait", "gatewayclass", "envoy", "--for=condition=Accepted", "--timeout=60s"]);
    run("waiting for the GatewayClass", &mut wait).await.map(drop)
}

/// An image with one binary at `place`, imported without a registry.
fn local(cache: &Cache, artifact: &Artifact, place: &str) -> Own {
    let reference = format!("localhost/{}:{}", artifact.name, artifact.recipe.version);
    let mut own = Own::of(cache, artifact, reference, artifact.name);
    own.spec.files = vec![(cache.file(artifact), place.to_owned())];
    own.spec.entrypoint = vec![place.to_owned()];
    own.spec.env.push("PATH=/bin".to_owned());
    own
}

async fn apply(instance: &Instance, name: &str, manifest: &str) -> Result<(), Error> {
    let file = instance.path(&format!("config/{name}"));
    files::write(&file, manifest)?;
    kubectl_apply(instance, Path::new(&file)).await
}
