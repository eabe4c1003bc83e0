//! The simulation can fail: each mistake made on purpose is found, by a rule that it breaks.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use simulation::{
    mutation::Mutation,
    oracle::Rule,
    world::{Options, run},
};

/// Seeds in which each must be found. Most show in the first few.
const SEEDS_MAX: u64 = 400;

/// The first seed that shows the mistake, and nothing without it.
fn found(mutation: Mutation, rules: &[Rule]) -> Option<(u64, Rule)> {
    (0..SEEDS_MAX).find_map(|seed| {
        let options = Options { mutation: Some(mutation), ..Options::default() };
        let rule = run(seed, options).violation?.rule;
        let is_its_own = || run(seed, Options::default()).violation.is_none();
        (rules.contains(&rule) && is_its_own()).then_some((seed, rule))
    })
}

#[test]
fn each_promise_that_is_broken_on_purpose_is_seen_to_be_broken() {
    let (next, seen) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some((mutation, rules)) =
                    Mutation::ALL.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let found = found(*mutation, rules);
                    println!("{mutation:?}: {found:?}");
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.push((*mutation, found.map(|(_, rule)| rule)));
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    let missed: Vec<_> = seen.iter().filter(|(_, rule)| rule.is_none()).collect();
    assert!(missed.is_empty(), "not seen in {SEEDS_MAX} seeds: {missed:?}");
    let idle: Vec<_> = Rule::ALL
        .iter()
        .filter(|rule| !seen.iter().any(|(_, seen)| *seen == Some(**rule)))
        .collect();
    assert!(idle.is_empty(), "no mistake breaks {idle:?}");
}
