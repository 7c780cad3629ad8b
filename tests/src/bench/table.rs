//! The figures beside targets and peers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Rates;
use super::footprint::Footprint;
use super::{cuts, flood, thousand};

/// All figures of one run.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) raw: Vec<Duration>,
    pub(super) raw_with_status: Vec<Duration>,
    pub(super) acknowledged: Vec<Duration>,
    pub(super) alone: Rates,
    pub(super) together: Rates,
    pub(super) footprints: Vec<(String, BTreeMap<String, Footprint>)>,
    pub(super) watches: BTreeMap<String, usize>,
    pub(super) first_states: Vec<Duration>,
    pub(super) thousand: Option<thousand::Figures>,
    /// Seconds, writes in them, all calls in them.
    pub(super) quiet: Option<(u64, usize, BTreeMap<String, usize>)>,
    pub(super) floods: Option<[flood::Figures; 2]>,
    pub(super) cuts: Option<cuts::Figures>,
    /// Load average of the machine at the end.
    pub(super) load: String,
}

/// The value below which so many of a hundred lie, in milliseconds.
fn percentile(times: &[Duration], percent: usize) -> f64 {
    let mut sorted: Vec<_> = times.to_vec();
    sorted.sort();
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
}

fn head(columns: &[&str]) {
    println!("\n| {} |", columns.join(" | "));
    println!("|{}", "---|".repeat(columns.len()));
}

fn mib(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
}

pub(super) fn print(table: &Table) {
    println!("\nLoad average of the machine at the end: {}", table.load);
    if !table.raw.is_empty() {
        documents(table);
        rest(table);
    }
    if let Some(thousand) = &table.thousand {
        releases(thousand);
    }
    if let Some((seconds, writes, calls)) = &table.quiet {
        println!(
            "\nNothing wished for {seconds} s: {writes} writes (target 0); all calls but Leases and watches: {calls:?}"
        );
    }
    if let Some(floods) = &table.floods {
        head(&["Under a flood of logs", "p50", "p99", "Logs meanwhile", "Target", "Peer"]);
        for (link, flood::Figures { idle, flooded, rate }) in ["plain veth", "50 Mbit/s, 20 ms"].iter().zip(floods) {
            let row = |what: &str, of: &[Duration], logs: &str, beside: &str| {
                let (half, most) = (percentile(of, 50), percentile(of, 99));
                println!("| {link}: {what} | {half:.1} ms | {most:.1} ms | {logs} | {beside} |");
            };
            let logs = format!("{:.1} MB/s", rate / 1e6);
            row("round trip of the control connection, idle", &idle.round_trips, "", " | ");
            let beside = match link.starts_with("plain") {
                true => "p99 ≤ 20 ms more than idle | OpenChoreo 0.6 ms → 1.3 s",
                false => "published | ",
            };
            row("the same under the flood", &flooded.round_trips, &logs, beside);
            row("document → acknowledgement, idle", &idle.documents, "", " | ");
            row("the same under the flood", &flooded.documents, &logs, " | ");
        }
    }
    if let Some(cuts::Figures { back, noticed }) = &table.cuts {
        head(&["Link cut", "p50", "p95", "Target", "Peer"]);
        let [b50, b95, n50, n95] =
            [(back, 50), (back, 95), (noticed, 50), (noticed, 95)].map(|(of, at)| percentile(of, at) / 1_000.0);
        println!(
            "| back after one cut ({} cuts) | {b50:.2} s | {b95:.2} s | p95 ≤ 2 s | OpenChoreo 5 s fixed |",
            back.len()
        );
        println!(
            "| silence noticed by the agent ({} links) | {n50:.1} s | {n95:.1} s | ≤ 15 s | OpenChoreo 480 s |",
            noticed.len()
        );
    }
}

fn rest(table: &Table) {
    head(&["At rest", "Resident", "of it anonymous", "Peak until then", "CPU", "Target", "Peer"]);
    for (releases, roles) in &table.footprints {
        for (role, Footprint { resident, anonymous, peak, cpu }) in roles {
            let [resident, anonymous, peak] = [resident, anonymous, peak].map(|kib| mib(*kib));
            println!(
                "| {role}, {releases} | {resident:.1} MiB | {anonymous:.1} MiB | {peak:.1} MiB | {cpu:.1} m | ≤ 12 MiB, < 5 m at 100; ≤ 40 MiB at 1,000 | OpenChoreo 22 MiB |"
            );
        }
    }
    let watches: Vec<_> = table.watches.iter().map(|(account, count)| format!("{account} {count}")).collect();
    println!("\nWatches that are open (target ≤ 20 in all): {}", watches.join(", "));
}

fn documents(table: &Table) {
    let Table { raw, raw_with_status, acknowledged, alone, together, first_states, .. } = table;
    println!("\n| One at a time ({} of each, in turn) | p50 | p99 | Target | Peer |", raw.len());
    println!("|---|---|---|---|---|");
    let [r50, r99] = [50, 99].map(|percent| percentile(raw, percent));
    let [s50, s99] = [50, 99].map(|percent| percentile(raw_with_status, percent));
    let [a50, a99] = [50, 99].map(|percent| percentile(acknowledged, percent));
    println!("| raw server-side apply of a Release without status | {r50:.2} ms | {r99:.2} ms | | |");
    println!("| the same of one that has the status of ours | {s50:.2} ms | {s99:.2} ms | | |");
    println!(
        "| document → durable acknowledgement at the control plane | {a50:.2} ms | {a99:.2} ms | | OpenChoreo's tunnel: 0.99 ms, 4.5 ms through a stub API, not durable, no acknowledgement |"
    );
    println!("| ratio to the first | {:.2} | {:.2} | ≤ 1.3 | |", a50 / r50, a99 / r99);
    println!("| ratio to the second: the same object | {:.2} | {:.2} | | |", a50 / s50, a99 / s99);
    let [f50, f99] = [50, 99].map(|percent| percentile(first_states, percent));
    println!(
        "| document → applied and first state at the control plane, {} in 30 s | {f50:.0} ms | {f99:.0} ms | p99 ≤ 1 s | Maestro 759 ms; Karmada pull 612, 989 ms |",
        first_states.len()
    );
    head(&["Many at once", "Raw, 16 at a time", "Documents acknowledged", "Ratio", "Target", "Peer"]);
    for (what, rates) in [("without the operator", alone), ("with the operator at work", together)] {
        let Rates { raw, documents } = rates;
        let share = documents / raw * 100.0;
        println!("| {what} | {raw:.0}/s | {documents:.0}/s | {share:.0} % | ≥ 70 % | Maestro 54–93 creates/s |");
    }
}

fn releases(figures: &thousand::Figures) {
    let thousand::Figures { releases, half, applied, accepted, raw, raw_calls, calls, sample } = figures;
    head(&["Releases at once, zero replicas", "Measured", "Target", "Peer"]);
    println!("| {releases} releases: all accepted | {:.1} s | | |", accepted.as_secs_f64());
    println!("| half applied and reported ready | {:.1} s | | |", half.as_secs_f64());
    println!(
        "| all applied and reported ready | {:.1} s | ≤ 30 s | Flux 1,000 apps 4 m 16 s; Fleet 2,550 deployments 51 s on large hardware |",
        applied.as_secs_f64()
    );
    println!("| the same calls raw, 16 releases at a time ({raw_calls} calls each) | {:.1} s | | |", raw.as_secs_f64());
    println!("| ratio | {:.2} | ≤ 1.5 | |", applied.as_secs_f64() / raw.as_secs_f64());
    let each = |calls: usize| {
        f64::from(u32::try_from(calls).unwrap_or(u32::MAX)) / f64::from(u32::try_from(*releases).unwrap_or(1))
    };
    println!(
        "| calls of the API server for each release | {:.1} | | OpenChoreo 27 at every resync |",
        each(calls.values().sum())
    );
    head(&["Calls for one first release", "By itself", "At once, each"]);
    let kinds: BTreeSet<&String> = sample.keys().chain(calls.keys()).collect();
    for what in kinds {
        let at_once = each(calls.get(what).copied().unwrap_or(0));
        println!("| {what} | {} | {at_once:.2} |", sample.get(what).unwrap_or(&0));
    }
}
