//! An outage at 1,000 calls a second. `simulate outage` lets it last a day.

use simulation::outage::{Plan, run};

#[test]
fn an_outage_at_a_thousand_calls_a_second_costs_no_memory_and_no_rows() {
    let figures = run(Plan { outage_secs: 60, calls_per_second: 1_000 });
    println!("{figures}");
    assert_eq!(figures.problems(), [""; 0]);
    assert!(figures.backlog >= 60_000 - 2_000, "{figures}");
    assert!(figures.probes > 0, "{figures}");
}
