//! `make test-upgrade`: installs an earlier version with its own chart, deploys, upgrades to this one, and compares.
//!
//! What runs must not notice: the same pods, Services and Secrets, the same identity without a new token; and what is deployed
//! afterwards must work.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use serde_json::{Value, json};
use tests::installation::{ControlPlane, Installation, Options, Place, artifacts, get};
use tests::support::{LIMIT, push_agent, push_binary};
use tests::testbed::{Sample, Testbed, wait_until};

#[derive(Parser)]
#[command(about = "An upgrade from an earlier version, on a fresh test cluster that is up")]
struct Arguments {
    /// Name of the test cluster.
    #[arg(long)]
    name: String,
    /// Checkout of the earlier version.
    #[arg(long)]
    checkout: PathBuf,
    /// Its agent, as compiled for tests.
    #[arg(long)]
    binary: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { name, checkout, binary } = Arguments::parse();
    let bed = Testbed::attach(&name)?;
    let state = bed.instance()?.path("control-plane-state");
    let plane = ControlPlane::start(&bed, &state, &[]).await?;
    // Settings that both versions have.
    let values = json!({"policy": {"vault": {"prefix": "{organization}/{project}/{environment}"}}}).to_string();
    let old = Installation {
        bed: bed.clone(),
        control_plane: plane,
        options: Options {
            namespace: "pdp-agent".to_owned(),
            release: "pdp-agent".to_owned(),
            organization: "acme".to_owned(),
            data_plane: "berlin".to_owned(),
            image: push_binary(&bed, &binary, "pdp-agent:earlier").await?,
            values,
        },
    };
    println!("installing the earlier version with its chart");
    let token = old.register().await?;
    old.prepare_namespace().await?;
    old.helm_install_chart(&checkout.join("helm/pdp-agent"), Some(&token)).await?;
    old.connected(LIMIT).await?;

    let place = old.environment("shop").await?;
    // The vault of the test bed keeps environments apart by namespace, which the earlier version's prefix does not name.
    let policy = json!({"policy": "path \"secret/data/acme/*\" { capabilities = [\"read\"] }"});
    bed.vault_call(reqwest::Method::PUT, "sys/policies/acl/pdp-agent", Some(policy)).await?;
    bed.vault_put("acme/shop/dev/httpbin", json!({"api-token": "s"})).await?;
    deploy(&place, bed.sample(Sample::HttpbinOld)?.as_str()).await?;
    let before = (objects(&bed, &place).await?, identity(&bed).await?);
    println!("deployed with it: {} objects", before.0.len());

    let new =
        Installation { options: Options { image: push_agent(&bed).await?, ..old.options.clone() }, ..old.clone() };
    new.helm_install(None).await?;
    // By their image: the pods of before may still be stopping.
    wait_until(LIMIT, "the earlier agent to be gone", || async {
        let pods =
            bed.kubectl(&["get", "pods", "-n", "pdp-agent", "-o", "jsonpath={.items[*].spec.containers[0].image}"]);
        let images = pods.await?;
        ensure!(images.split_whitespace().all(|image| image == new.options.image), "{images}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    new.connected(LIMIT).await?;
    println!("upgraded; watching for a minute that nothing of it changes");
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let after = (objects(&bed, &place).await?, identity(&bed).await?);
    let changed: Vec<_> = before.0.iter().filter(|object| !after.0.contains(object)).collect();
    ensure!(changed.is_empty(), "the upgrade changed or removed {changed:?}; there is now {:?}", after.0);
    ensure!(before.1 == after.1, "the data plane is another one: {} and {}", before.1, after.1);
    serves(&bed, &place).await?;

    deploy(&place, bed.sample(Sample::HttpbinNew)?.as_str()).await?;
    serves(&bed, &place).await?;
    let namespace = bed.kubectl(&["get", "namespace", &place.namespace, "-o", "json"]).await?;
    let agent: Value = serde_json::from_str(&namespace)?;
    let agent = agent.pointer("/metadata/labels/pdp-agent.dev~1agent").and_then(Value::as_str);
    ensure!(agent == Some("pdp-agent.pdp-agent"), "the namespace says {agent:?}");
    println!("same pods, same identity; a new release was deployed by the new version");
    Ok(())
}

async fn deploy(place: &Place, image: &str) -> Result<()> {
    let file = artifacts::file("config/samples/httpbin.yaml");
    let (file, image) = (file.to_string_lossy(), format!("image={image}"));
    let args = ["deploy", "-f", &file, "--environment", "dev", "--set", &image, "--wait", "--timeout", "120s"];
    place.cli.run(&args).await.map(drop)
}

/// Kind, name and uid of what runs and what is stored, with a number that changes with every write: the generation, else the
/// resourceVersion. None for pods, whose status changes by itself.
async fn objects(bed: &Testbed, place: &Place) -> Result<Vec<String>> {
    let kinds = "deployments,replicasets,pods,services,secrets,configmaps,controllerrevisions,networkpolicies,serviceaccounts,\
                 rolebindings,poddisruptionbudgets";
    let mut found = Vec::new();
    for (kinds, namespace) in [(kinds, place.namespace.as_str()), ("environments,releases", "pdp-agent")] {
        let list: Value = serde_json::from_str(&bed.kubectl(&["get", kinds, "-n", namespace, "-o", "json"]).await?)?;
        let items = list.get("items").and_then(Value::as_array).context("no list")?;
        let word = |object: &Value, at: &str| object.pointer(at).map(Value::to_string);
        found.extend(items.iter().map(|one| {
            let written = || word(one, "/metadata/generation").or_else(|| word(one, "/metadata/resourceVersion"));
            let kind = word(one, "/kind");
            let written = if kind.as_deref() == Some("\"Pod\"") { None } else { written() };
            let words = [kind, word(one, "/metadata/name"), word(one, "/metadata/uid"), written];
            words.map(Option::unwrap_or_default).join(" ")
        }));
    }
    found.sort_unstable();
    Ok(found)
}

/// Id of the data plane, as the agent keeps it.
async fn identity(bed: &Testbed) -> Result<String> {
    let path = "jsonpath={.data.data-plane-id}";
    Ok(bed.kubectl(&["get", "secret", "pdp-agent-identity", "-n", "pdp-agent", "-o", path]).await?)
}

async fn serves(bed: &Testbed, place: &Place) -> Result<()> {
    let path = "jsonpath={.items[0].spec.clusterIP}:{.items[0].spec.ports[0].port}";
    let address = bed.kubectl(&["get", "services", "-n", &place.namespace, "-o", path]).await?;
    get(bed, address.parse()?, "/version").await.map(drop)
}
