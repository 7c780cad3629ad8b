//! Measurements on a real test cluster: what an acknowledged document costs beside a raw write, and what the agent takes at rest.
//!
//! A raw write and a document follow each other, so that both see the same machine. Times of documents are taken at the control
//! plane, from its record: when the document was sent, when its answer came. Touches one test cluster of its own.

pub mod agents;
mod calls;
mod cuts;
mod documents;
pub mod flood;
pub(crate) mod footprint;
pub mod raw;
mod table;
mod thousand;

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::installation::{ControlPlane, Installation, Options, Place, artifacts};
use crate::testbed::Testbed;
use documents::Documents;
use table::Table;

/// What is measured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the test cluster.
    pub name: String,
    /// Leave it up.
    pub keep: bool,
    /// Documents one at a time.
    pub documents: usize,
    /// Seconds at rest.
    pub rest: u64,
    /// Releases to the empty cluster.
    pub releases: usize,
    /// Sessions that are cut.
    pub cuts: usize,
    /// Seconds over which writes are counted while nothing is wished.
    pub quiet: u64,
    /// Simulated agents on the control plane; none leaves that part out.
    pub agents: usize,
    /// What is measured on the cluster.
    pub parts: Vec<Part>,
}

/// A part of what is measured on the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Documents, memory at rest, releases at once, writes while nothing is wished.
    Documents,
    /// Latency under a flood of logs.
    Flood,
    /// Links that are cut.
    Cuts,
}

/// Releases of the second footprint.
const RELEASES: usize = 100;
/// Rounds of many documents at once.
const ROUNDS: i64 = 5;
/// Generations after which a release has as many kept revisions as it ever has.
const WARM: i64 = 12;
/// Release that is written raw, as somebody would make it.
const BARE: &str = "bench";
/// The same with the status that ours have, which the API server reads and checks at each write.
const WITH_STATUS: &str = "with-status";

/// Eight variables, so that a release has the size of one that people write.
pub(crate) fn environment(generation: i64) -> Value {
    let variable = |at: i64| json!({ "name": format!("VARIABLE_{at}"), "value": format!("some ordinary value of a variable {at} in its {generation}. form") });
    Value::Array((0..8).map(variable).collect())
}

/// Measures everything and prints it.
///
/// # Errors
/// The cluster does not come up, or something does not answer.
pub async fn run(settings: &Settings) -> Result<()> {
    // Before there is a cluster on the machine.
    if settings.agents > 0 {
        agents::run(&agents::Settings { agents: settings.agents, reconnects_per_second: 500 }).await?;
    }
    if let Ok(left) = Testbed::attach(&settings.name) {
        left.down().await?;
    }
    let bed = Testbed::up(&settings.name).await?;
    let mut table = Table::default();
    let measured = measure(&bed, settings, &mut table).await;
    // Also what was measured before something failed.
    table::print(&table);
    if settings.keep {
        println!("the cluster is left up: testbed --name {} down", settings.name);
    } else {
        bed.down().await?;
    }
    measured
}

async fn measure(bed: &Testbed, settings: &Settings, table: &mut Table) -> Result<()> {
    let state = bed.instance()?.path("control-plane-state");
    let plane = ControlPlane::start(bed, &state, &["--record-limit", "200000"]).await?;
    let image = bed.push_archive(&artifacts::image_archive(), "pdp-agent:bench").await?;
    let options = Options {
        namespace: "pdp-agent".to_owned(),
        release: "pdp-agent".to_owned(),
        organization: "acme".to_owned(),
        data_plane: "bench".to_owned(),
        image: image.clone(),
        // No limits: the measurement writes more than a customer would allow in a day.
        values: json!({"policy": {"limits": null}}).to_string(),
    };
    let installation = Installation::install(bed, &plane, options).await?;
    let place = installation.environment("bench").await?;
    bed.apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": raw::NAMESPACE } }).to_string())
        .await?;
    let mut documents = Documents::new(&plane, &place)?;
    documents.deploy("bench", 0).await?;
    documents.ready("bench").await?;
    if settings.parts.contains(&Part::Documents) {
        written(bed, settings, &mut documents, &place, table).await?;
    }
    if settings.parts.contains(&Part::Flood) {
        say("documents under a flood of logs");
        table.floods = Some(flood::measure(bed, &documents, settings.documents.min(100)).await?);
    }
    if settings.parts.contains(&Part::Cuts) {
        say("links that are cut");
        table.cuts = Some(cuts::measure(bed, &plane, &documents, &image, settings.cuts).await?);
    }
    table.load = load_average();
    Ok(())
}

/// Everything about documents and what they cost.
async fn written(
    bed: &Testbed,
    settings: &Settings,
    documents: &mut Documents,
    place: &Place,
    table: &mut Table,
) -> Result<()> {
    let mut writer = raw::Writer::start(bed)?;
    let rest = Duration::from_secs(settings.rest);
    say("one release");
    table.footprints.push(("1 release".to_owned(), footprint::at_rest(bed, rest).await?));

    say("documents and raw writes, one at a time");
    documents.skip().await?;
    for round in 1..=WARM {
        documents.deploy("bench", -round).await?;
        documents.ready("bench").await?;
    }
    copy_with_status(bed, &mut writer, &documents.release("bench").await?).await?;
    documents.skip().await?;
    for round in 1..=i64::try_from(settings.documents)? {
        table.raw.push(writer.one(BARE).await?);
        table.raw_with_status.push(writer.one(WITH_STATUS).await?);
        let sent = documents.deploy("bench", round).await?;
        table.acknowledged.push(documents.acknowledged(sent).await?);
        documents.ready("bench").await?;
    }

    say("documents and raw writes, many at once");
    table.alone = many(bed, documents, &mut writer, false).await?;
    table.together = many(bed, documents, &mut writer, true).await?;
    documents.all_ready(RELEASES).await?;

    say("a hundred releases");
    table.footprints.push((format!("{RELEASES} releases"), footprint::at_rest(bed, rest).await?));
    table.watches = calls::open_watches(bed)?;
    say("a hundred changes in thirty seconds");
    table.first_states = documents.paced(RELEASES - 1, Duration::from_millis(300), 500).await?;

    if settings.releases > 0 {
        say("a thousand releases");
        let sample = thousand::sample(bed, documents, &place.namespace).await?;
        let release = documents.release("sample").await?;
        let folder = tempfile::tempdir()?;
        let figures =
            thousand::measure(bed, documents, &mut writer, settings.releases, sample, &release, folder.path()).await?;
        table.thousand = Some(figures);
        let name = format!("{} releases", RELEASES + 1 + settings.releases);
        table.footprints.push((name, footprint::at_rest(bed, rest).await?));
    }

    say("nothing is wished");
    let from = jiff::Timestamp::now();
    tokio::time::sleep(Duration::from_secs(settings.quiet)).await;
    let calls = calls::between(bed, from, jiff::Timestamp::now())?;
    table.quiet = Some((settings.quiet, calls.iter().filter(|call| call.writes()).count(), calls::counted(&calls)));
    Ok(())
}

/// Makes a Release that is written raw as large as `release`.
async fn copy_with_status(bed: &Testbed, writer: &mut raw::Writer, release: &str) -> Result<()> {
    let get = ["get", "releases.pdp-agent.dev", release, "-n", "pdp-agent", "-o", "json"];
    let stored: Value = serde_json::from_str(&bed.kubectl(&get).await?)?;
    let status = json!({ "status": member(&stored, "/status")? }).to_string();
    writer.one(WITH_STATUS).await?;
    let to = ["releases.pdp-agent.dev", WITH_STATUS, "-n", raw::NAMESPACE];
    bed.kubectl(&[&["patch"], &to[..], &["--subresource=status", "--type=merge", "-p", &status]].concat()).await?;
    Ok(())
}

/// Rates of raw writes and of documents, a second.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rates {
    raw: f64,
    documents: f64,
}

/// Rounds of raw writes and documents in turn. Without the operator only the way to the acknowledgement is measured.
async fn many(bed: &Testbed, documents: &mut Documents, writer: &mut raw::Writer, operator: bool) -> Result<Rates> {
    let replicas = if operator { "--replicas=1" } else { "--replicas=0" };
    bed.kubectl(&["scale", "deployment", "pdp-agent-operator", "-n", "pdp-agent", replicas]).await?;
    let wanted = if operator { "1" } else { "" };
    crate::testbed::wait_until(Duration::from_secs(60), "the operator to be scaled", || async {
        let path = "jsonpath={.status.readyReplicas}";
        let ready = bed.kubectl(&["get", "deployment", "pdp-agent-operator", "-n", "pdp-agent", "-o", path]).await?;
        anyhow::ensure!(ready == wanted, "{ready} are ready");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let count = RELEASES - 1;
    let (mut raw, mut acknowledged) = (Duration::ZERO, Duration::ZERO);
    // The first round creates, and warms both up.
    for round in 0..=ROUNDS {
        let marked = round + if operator { 100 } else { 0 };
        let written = writer.many(count).await?;
        let took = documents.many(count, marked).await?;
        if round > 0 {
            raw += written;
            acknowledged += took;
        }
    }
    let total = f64::from(u32::try_from(count)?) * f64::from(u32::try_from(ROUNDS)?);
    Ok(Rates { raw: total / raw.as_secs_f64(), documents: total / acknowledged.as_secs_f64() })
}

/// How busy the machine was during the last one, five and fifteen minutes.
fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(", ")
}

fn say(text: &str) {
    println!("… {text}");
}

/// A member of a JSON value, or what is missing.
pub(crate) fn member<'a>(value: &'a Value, pointer: &str) -> Result<&'a Value> {
    value.pointer(pointer).with_context(|| format!("no {pointer} in {value}"))
}
