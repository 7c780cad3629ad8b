//! What the agent's processes take: resident memory and CPU time, from the host's `/proc`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::testbed::Testbed;

/// One role at rest.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Footprint {
    /// Resident memory, in KiB.
    pub(crate) resident: u64,
    /// Of that, memory that is not mapped from a file of the image.
    pub(crate) anonymous: u64,
    /// The most that it ever was, in KiB.
    pub(crate) peak: u64,
    /// Thousandths of a CPU.
    pub(crate) cpu: f64,
}

/// Waits so long without doing anything and tells what both roles took.
pub(super) async fn at_rest(bed: &Testbed, rest: Duration) -> Result<BTreeMap<String, Footprint>> {
    tokio::time::sleep(Duration::from_secs(20)).await;
    during(bed, rest).await
}

/// Waits so long and tells what both roles took meanwhile.
pub(crate) async fn during(bed: &Testbed, rest: Duration) -> Result<BTreeMap<String, Footprint>> {
    let before = processes(bed)?;
    tokio::time::sleep(rest).await;
    let mut found = BTreeMap::new();
    for (role, pid) in processes(bed)? {
        let same = before.get(&role).filter(|earlier| earlier.0 == pid.0).context("a process was replaced at rest")?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.0))?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        // Clock ticks are hundredths of a second on Linux.
        let ticks = f64::from(u32::try_from(pid.1.saturating_sub(same.1))?);
        let cpu = ticks * 10.0 / rest.as_secs_f64();
        found.insert(role, Footprint { resident: kib("VmRSS:"), anonymous: kib("RssAnon:"), peak: kib("VmHWM:"), cpu });
    }
    Ok(found)
}

/// Pid and CPU time in ticks of each role's process in this cluster.
fn processes(bed: &Testbed) -> Result<BTreeMap<String, (u32, u64)>> {
    let cgroup = bed.instance()?.cgroup();
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")?.filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        if !read("comm").starts_with("pdp-agent") || !read("cgroup").contains(&cgroup) {
            continue;
        }
        let words: Vec<String> = read("cmdline").split('\0').map(str::to_owned).collect();
        let Some(role) = words.iter().find(|word| matches!(word.as_str(), "link" | "operator")) else { continue };
        let stat = read("stat");
        // utime and stime are the 14th and 15th field; the second is a name in brackets.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        found.insert(role.clone(), (pid, ticks(11) + ticks(12)));
    }
    anyhow::ensure!(found.len() == 2, "processes of the agent: {found:?}");
    Ok(found)
}
