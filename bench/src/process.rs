//! What processes cost, from `/proc` (man 5 proc).

use std::{fs, time::Duration};

/// One tick of `/proc/stat` and `/proc/PID/stat`: `USER_HZ` is 100 on every Linux of today.
const TICK: Duration = Duration::from_millis(10);

/// A process and its children, all of which live as long as it does.
#[derive(Debug, Clone)]
pub(crate) struct Tree(Vec<u32>);

impl Tree {
    /// Finds the children that there are now.
    pub(crate) fn of(root: u32) -> Self {
        let mut tree = vec![root];
        let all: Vec<(u32, u32)> =
            processes().filter_map(|pid| Some((pid, parent(pid)?))).collect();
        let mut next = 0;
        while let Some(parent) = tree.get(next).copied() {
            tree.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
            next += 1;
        }
        Self(tree)
    }

    /// How many processes there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// CPU time of all threads alive, user and system, exact to the nanosecond: the first field of
    /// `schedstat`.
    pub(crate) fn cpu(&self) -> Duration {
        let tasks = self.0.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
        let nanos = tasks.flatten().flatten().filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// Memory in RAM, in bytes (`VmRSS`; memory that processes share counts in each).
    pub(crate) fn rss_bytes(&self) -> u64 {
        let kilobytes = self.0.iter().filter_map(|pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().split(' ').next()?.parse::<u64>().ok()
        });
        kilobytes.sum::<u64>() * 1024
    }
}

/// CPU time that this program has used, threads that ended included.
pub(crate) fn own_cpu() -> Duration {
    let fields = stat_fields("self").unwrap_or_default();
    let ticks = |index: usize| fields.get(index).and_then(|n| n.parse::<u32>().ok());
    // utime and stime are fields 14 and 15; the first two are cut off.
    TICK * (ticks(11).unwrap_or_default() + ticks(12).unwrap_or_default())
}

/// CPU time that the whole machine has been busy for.
pub(crate) fn machine_cpu() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let ticks: Vec<u32> = first.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already.
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|index| ticks.get(*index));
    TICK * busy.sum::<u32>()
}

/// The machine, in a line for the tables.
pub(crate) fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<&str> = cpus
        .lines()
        .filter(|line| line.starts_with("model name"))
        .filter_map(|line| line.split_once(": ").map(|(_, model)| model))
        .collect();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let model = models.first().unwrap_or(&"unknown CPU");
    format!("{} x {model}, Linux {}", models.len(), kernel.trim())
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent(pid: u32) -> Option<u32> {
    stat_fields(&pid.to_string())?.get(1)?.parse().ok()
}

/// The fields of `/proc/PID/stat` from the third on: a name may hold spaces and parentheses.
fn stat_fields(pid: &str) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_in_every_account() {
        let own = Tree::of(std::process::id());
        let before = (own.cpu(), own_cpu(), machine_cpu());
        let mut sum = 0_u64;
        while own.cpu() < before.0 + 3 * TICK {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(own_cpu() > before.1);
        assert!(machine_cpu() > before.2);
        assert!(own.rss_bytes() > 100_000);
    }
}
