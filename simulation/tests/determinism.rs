//! A seed gives the same run, here and in another process: what fails can be looked at again.

use std::{collections::BTreeSet, process::Command};

use simulation::world::{Options, run};

const SEEDS: u64 = 4;

/// The trace's hash as the command prints it.
fn hash_in_another_process(seed: u64) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_simulate"))
        .args(["--seed", &seed.to_string()])
        .output()
        .expect("Cargo has built it");
    let text = String::from_utf8(output.stdout).expect("it prints text");
    let (_, rest) = text.split_once(": trace ").expect("it names the trace");
    rest.split(',').next().unwrap_or_default().to_owned()
}

#[test]
fn a_seed_gives_the_same_run_to_the_last_line_also_in_another_process() {
    for seed in 0..SEEDS {
        let [one, other] = [(); 2].map(|()| run(seed, Options::default()));
        assert_eq!(one.hash, other.hash, "seed {seed}, here");
        assert_eq!(one.counts, other.counts, "seed {seed}");
        assert_eq!(format!("{:016x}", one.hash), hash_in_another_process(seed), "seed {seed}");
    }
}

#[test]
fn different_seeds_give_different_runs() {
    let hashes: BTreeSet<u64> = (0..SEEDS).map(|seed| run(seed, Options::default()).hash).collect();
    assert_eq!(hashes.len() as u64, SEEDS);
}
