//! A state store that is stuck: a lane stops while a stated number of its attempts is not stored, and
//! goes on once they are.

use std::time::Duration;

use domain::{
    destination::{Batch, Destination},
    event::EventType,
    id::DestinationName,
    sample,
};
use simulation::{
    calls::End,
    oracle::host_of,
    receiver::Receiver,
    scenario::{Action, Scenario},
    world::{Options, World, in_virtual_time},
};

const SECOND: Duration = Duration::from_secs(1);
const UNSTORED_MAX: usize = 7;
const CALLS: u32 = 50;

fn scenario() -> Scenario {
    let name = DestinationName::new("d0");
    let host = host_of(&name, 0);
    let asked = Destination {
        url: format!("https://{host}/hook"),
        name,
        event_types: vec![EventType::Completion],
        batch: Batch { events_max: 1, bytes_max: 1 << 20, flush_interval: SECOND },
        concurrent_deliveries: 3,
        queue_size: 100,
        ..sample::destination()
    };
    let mut actions = vec![(Duration::ZERO, Action::Stall(60_000))];
    for number in 0..CALLS {
        actions.push((SECOND, Action::Arrive(number, false)));
        actions.push((SECOND, Action::End(number, End::Completed(10))));
    }
    Scenario {
        destinations: vec![asked],
        receivers: vec![(host, Receiver::well(1))],
        actions,
        horizon: 30 * SECOND,
        config: delivery::config::Config {
            settle_timeout: SECOND,
            unstored_max: UNSTORED_MAX,
            events_cached_max: 100,
            disable_after: None,
        },
        commit_ms: 0..=0,
        dice: fastrand::Rng::with_seed(1),
    }
}

#[test]
fn a_lane_stops_while_its_attempts_are_not_stored_and_then_goes_on() {
    in_virtual_time(async {
        let mut world = World::new(scenario(), Options::default()).await;
        world.play().await;
        assert_eq!(world.oracle.counts().sends, UNSTORED_MAX as u64, "and no more");
        let report = world.end().await;
        assert_eq!(report.violation, None);
        assert_eq!(report.counts.sends, u64::from(CALLS) + 1, "each once, and the one of the end");
    });
}
