//! `webhooks.backup`: it stands in while `primary` is failing, and hands back.

use std::collections::BTreeSet;

use standardwebhooks::Webhook;
use testkit::{Gateway, Receiver, Reply, Upstream, receiver::Arrival};

use crate::{
    delivery_signatures::header_map,
    delivery_world::{
        NO_LETTERS, OUTCOMES, QUICK, calls, dead_letters, start, told, wait_failed, wait_told,
        webhook, webhooks,
    },
};

const SECRET: &str = "whsec_cHJpbWFyeSBzZWNyZXQgb2YgdGVzdHM=";
const BACKUP_SECRET: &str = "whsec_YmFja3VwIHNlY3JldCBvZiB0aGUgdGVzdHM=";

struct World {
    upstream: Upstream,
    primary: Receiver,
    backup: Receiver,
    gateway: Gateway,
}

impl World {
    /// `primary`, and the second entry under this name and with these settings.
    async fn with(second: &str, more: &str, sections: &str) -> Self {
        let upstream = Upstream::start().await;
        let (primary, backup) = (Receiver::start().await, Receiver::start().await);
        let entries = [
            webhook("primary", &primary, &format!(", secret: {SECRET}")),
            webhook(second, &backup, &format!(", secret: {BACKUP_SECRET}{more}")),
        ];
        let sections = format!("{}{OUTCOMES}{sections}", webhooks(&entries));
        let gateway = start(&upstream, &sections).await;
        Self { upstream, primary, backup, gateway }
    }

    /// All of these were accepted by one of both, none by both and none twice, and none is buried.
    async fn expect_accounted(&self, second: &str, ids: &BTreeSet<String>) {
        let mut all = told(&self.primary.arrivals(), "primary");
        all.extend(told(&self.backup.arrivals(), second));
        let distinct: BTreeSet<_> = all.iter().cloned().collect();
        assert_eq!((&distinct, all.len()), (ids, ids.len()), "each once");
        assert_eq!(dead_letters(&self.gateway.setup, &[]).await, NO_LETTERS);
    }
}

fn ids_of(arrivals: &[Arrival]) -> BTreeSet<String> {
    arrivals.iter().filter_map(|a| a.header("webhook-id")).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_backup_gets_nothing_while_its_primary_is_well() {
    let world = World::with("backup", "", QUICK).await;
    let ids = calls(&world.gateway, 20).await;
    // Failures with successes between them are no reason.
    world.primary.fail(3, 503);
    let ids = &ids | &calls(&world.gateway, 5).await;
    wait_told(&world.primary, "primary", &ids).await;
    world.gateway.terminate().await;
    assert_eq!(world.backup.arrivals().len(), 0);
}

#[tokio::test]
async fn a_backup_stands_in_under_the_same_ids_and_hands_back() {
    let World { upstream, primary, backup, gateway } = World::with("backup", "", QUICK).await;
    primary.set_default(Reply::status(503));
    let failing = calls(&gateway, 25).await;
    wait_told(&backup, "backup", &failing).await;
    gateway.wait_for_log("The receiver is down. destination=primary target=Primary").await;
    let refused = ids_of(&primary.arrivals());
    let stood_in = backup.arrivals();
    assert_eq!(ids_of(&stood_in).len(), 25, "each event once");
    assert!(refused.is_subset(&ids_of(&stood_in)), "whatever was refused came under its own id");
    for arrival in &stood_in {
        let verify = |secret| {
            let webhook = Webhook::new(secret).expect("it is a secret");
            webhook.verify(&arrival.body, &header_map(arrival))
        };
        assert!(verify(BACKUP_SECRET).is_ok(), "a backup has its own secret");
        assert!(verify(SECRET).is_err());
    }
    for arrival in primary.arrivals() {
        let webhook = Webhook::new(SECRET).expect("it is a secret");
        assert!(webhook.verify(&arrival.body, &header_map(&arrival)).is_ok());
    }

    primary.set_default(Reply::status(200));
    // Probes are events: calls go on until one has found that the primary is back.
    let mut all = failing;
    while told(&primary.arrivals(), "primary").is_empty() {
        all.extend(calls(&gateway, 1).await);
    }
    gateway.wait_for_log("The receiver is back. destination=primary target=Primary").await;
    let before = backup.arrivals().len();
    let later = calls(&gateway, 10).await;
    wait_told(&primary, "primary", &later).await;
    assert_eq!(backup.arrivals().len(), before, "the primary has its events again");
    all.extend(later);
    let world = World { upstream, primary, backup, gateway };
    world.expect_accounted("backup", &all).await;
}

#[tokio::test]
async fn a_standby_of_another_name_says_whom_it_stands_by_for() {
    let world = World::with("spare", ", failover_for: primary", QUICK).await;
    world.primary.set_default(Reply::reset());
    let ids = calls(&world.gateway, 10).await;
    wait_told(&world.backup, "spare", &ids).await;
    world.expect_accounted("spare", &ids).await;
}

#[tokio::test]
async fn an_entry_of_another_name_is_a_destination_of_its_own() {
    let world = World::with("second", "", QUICK).await;
    let ids = calls(&world.gateway, 5).await;
    wait_told(&world.primary, "primary", &ids).await;
    wait_told(&world.backup, "second", &ids).await;
}

#[tokio::test]
async fn with_both_down_both_are_probed_and_everything_arrives_later() {
    let mut world = World::with("backup", "", QUICK).await;
    world.primary.set_default(Reply::status(500));
    world.backup.set_default(Reply::status(502));
    let mut ids = calls(&world.gateway, 20).await;
    // Far more than it takes to find both down.
    world.primary.wait_for(12).await;
    world.backup.wait_for(12).await;
    world.gateway = world.gateway.kill_and_restart().await;
    ids.extend(calls(&world.gateway, 20).await);
    world.backup.set_default(Reply::status(200));
    let is_told = |seen: &[Arrival]| !told(seen, "backup").is_empty();
    world.backup.wait_until("the backup to be found well", is_told).await;
    world.primary.set_default(Reply::status(200));
    let mut all = told(&world.primary.arrivals(), "primary");
    while all.len() < ids.len() {
        tokio::task::yield_now().await;
        all = told(&world.primary.arrivals(), "primary");
        all.extend(told(&world.backup.arrivals(), "backup"));
    }
    world.expect_accounted("backup", &ids).await;
}

#[tokio::test]
async fn a_primary_that_asks_for_patience_gets_it_and_its_backup_does_not_wait() {
    let world = World::with("backup", "", QUICK).await;
    world.primary.set_default(Reply::status(503).header("Retry-After", "3600"));
    let ids = calls(&world.gateway, 30).await;
    wait_told(&world.backup, "backup", &ids).await;
    assert!(world.primary.arrivals().len() <= 10, "concurrent_deliveries were under way at most");
    world.expect_accounted("backup", &ids).await;
}

#[tokio::test]
async fn while_a_primary_has_asked_for_a_pause_its_backup_gets_what_comes() {
    let World { upstream: _upstream, primary, backup, gateway } =
        World::with("backup", "", "retry: {max_delay_ms: 60000}\n").await;
    primary.push(Reply::status(429).header("Retry-After", "20"));
    calls(&gateway, 1).await;
    let refused = primary.wait_for(1).await.remove(0);
    wait_failed(&gateway, &refused, 1).await;
    let ids = calls(&gateway, 10).await;
    wait_told(&backup, "backup", &ids).await;
    assert_eq!(primary.arrivals().len(), 1, "it is left alone");
}
