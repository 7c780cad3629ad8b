//! The figures beside targets and peers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Rates;
use super::footprint::Footprint;

/// All figures of one run.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) raw: Vec<Duration>,
    pub(super) acknowledged: Vec<Duration>,
    pub(super) alone: Rates,
    pub(super) together: Rates,
    pub(super) one: BTreeMap<String, Footprint>,
    pub(super) hundred: BTreeMap<String, Footprint>,
    pub(super) watches: BTreeMap<String, usize>,
}

/// The value below which so many of a hundred lie, in milliseconds.
fn percentile(times: &[Duration], percent: usize) -> f64 {
    let mut sorted: Vec<_> = times.to_vec();
    sorted.sort();
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
}

pub(super) fn print(table: &Table) {
    let Table { raw, acknowledged, alone, together, one, hundred, watches } = table;
    println!("\n| One at a time ({} of each, in turn) | p50 | p99 | Target | Peer |", raw.len());
    println!("|---|---|---|---|---|");
    let [r50, r99] = [50, 99].map(|percent| percentile(raw, percent));
    let [a50, a99] = [50, 99].map(|percent| percentile(acknowledged, percent));
    println!("| raw server-side apply of a Release | {r50:.2} ms | {r99:.2} ms | | |");
    println!(
        "| document → durable acknowledgement at the control plane | {a50:.2} ms | {a99:.2} ms | | OpenChoreo's tunnel: 0.99 ms, 4.5 ms through a stub API, not durable, no acknowledgement |"
    );
    println!("| ratio | {:.2} | {:.2} | ≤ 1.3 | |", a50 / r50, a99 / r99);
    println!("\n| Many at once | Raw, 16 at a time | Documents acknowledged | Ratio | Target | Peer |");
    println!("|---|---|---|---|---|---|");
    for (what, rates) in [("without the operator", alone), ("with the operator at work", together)] {
        let Rates { raw, documents } = rates;
        let share = documents / raw * 100.0;
        println!("| {what} | {raw:.0}/s | {documents:.0}/s | {share:.0} % | ≥ 70 % | Maestro 54–93 creates/s |");
    }
    println!("\n| At rest | Resident | Peak until then | CPU | Target | Peer |");
    println!("|---|---|---|---|---|---|");
    for (releases, roles) in [("1 release", one), ("100 releases", hundred)] {
        for (role, Footprint { resident, peak, cpu }) in roles {
            let mib = |kib: u64| f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0;
            let (resident, peak) = (mib(*resident), mib(*peak));
            println!(
                "| {role}, {releases} | {resident:.1} MiB | {peak:.1} MiB | {cpu:.1} m | ≤ 12 MiB, < 5 m | OpenChoreo 22 MiB |"
            );
        }
    }
    let watches: Vec<_> = watches.iter().map(|(account, count)| format!("{account} {count}")).collect();
    println!("\nWatches (target ≤ 20): {}", watches.join(", "));
}
