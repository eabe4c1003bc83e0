//! The ledger on a real store: what counts, what is told, and that a kill at any step changes
//! neither.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "ledger/bench.rs"]
mod bench;
#[path = "ledger/fuse.rs"]
mod fuse;

use std::time::Duration;

use bench::{Bench, budget, sealed};
use domain::{
    budget::{Budget, BudgetDuration, BudgetScope},
    call::{Call, Caller, Logging},
    exchange::{Exchange, Facts, Outcome},
    failure::{Failure, FailureKind, LimitKind},
    note::News,
    record::Record,
    sample::{NOW, call},
};
use fuse::{Cut, Fuse};

fn of_key(name: &str) -> Call {
    let caller = Caller::Key { name: name.to_owned(), hash: String::new() };
    Call { caller, ..call() }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_refused_once_what_was_counted_reaches_the_limit() {
    let bench = Bench::new(vec![budget(BudgetScope::Gateway, 1.0)]);
    let ledger = bench.ledger();
    ledger.catch_up().await.unwrap();
    bench.spend(&of_key("a"), 0.999_999).await;
    ledger.catch_up().await.unwrap();
    assert_eq!(ledger.refusal(&call()), None);
    bench.spend(&of_key("a"), 0.000_001).await;
    ledger.catch_up().await.unwrap();
    let failure = ledger.refusal(&call()).unwrap();
    assert_eq!((failure.kind, failure.status), (FailureKind::BudgetExceeded, 422));
    let message = "Budget has been exceeded! Current cost: 1.0, Max budget: 1.0 \
                   (total budget of the gateway)";
    assert_eq!(failure.message, message);
    let limit = failure.limit.unwrap();
    assert_eq!((limit.kind, limit.limit, limit.remaining), (LimitKind::Budget, 1.0, 0.0));
    // So does the next process.
    let next = bench.ledger();
    next.catch_up().await.unwrap();
    assert!(next.refusal(&call()).is_some());
}

#[tokio::test(start_paused = true)]
async fn each_value_that_a_budget_matches_has_one_of_its_own() {
    let users = Budget { matches: "*".to_owned(), ..budget(BudgetScope::EndUser, 1.0) };
    let teams = Budget { matches: "team-*".to_owned(), ..budget(BudgetScope::Key, 1.0) };
    let tags = Budget { matches: "prod".to_owned(), ..budget(BudgetScope::Tag, 1.0) };
    let of_user = |name: &str| Call { end_user: Some(name.to_owned()), ..call() };
    let tagged = |tags: &[&str]| Call { tags: tags.iter().map(|&t| t.into()).collect(), ..call() };
    let said = [
        "ExceededBudget: End User=ann over budget. Spend=1.0, Budget=1.0 \
         (total budget of end user `ann`)",
        "Budget has been exceeded! Key=team-a Current cost: 1.0, Max budget: 1.0 \
         (total budget of key `team-a`)",
        "Budget has been exceeded! Tag=prod Current cost: 1.0, Max budget: 1.0 \
         (total budget of tag `prod`)",
    ];
    for (budget, spender, refused, passed, said) in [
        (users, of_user("ann"), of_user("ann"), of_user("bob"), said[0]),
        (teams.clone(), of_key("team-a"), of_key("team-a"), of_key("team-b"), said[1]),
        (teams.clone(), of_key("team-a"), of_key("team-a"), call(), said[1]),
        (tags, tagged(&["x", "prod", "prod"]), tagged(&["prod", "y"]), tagged(&["x"]), said[2]),
    ] {
        let bench = Bench::new(vec![budget.clone()]);
        let ledger = bench.ledger();
        ledger.catch_up().await.unwrap();
        bench.spend(&spender, 0.5).await;
        ledger.catch_up().await.unwrap();
        assert_eq!(ledger.refusal(&refused), None, "{budget:?}");
        bench.spend(&spender, 0.5).await;
        ledger.catch_up().await.unwrap();
        let refusal = ledger.refusal(&refused).map(|failure| failure.message);
        assert_eq!(refusal.as_deref(), Some(said), "{budget:?}");
        assert_eq!(ledger.refusal(&passed), None, "{budget:?}");
    }
    // What the pattern does not match is not limited.
    let bench = Bench::new(vec![teams]);
    let ledger = bench.ledger();
    ledger.catch_up().await.unwrap();
    bench.spend(&of_key("other"), 5.0).await;
    ledger.catch_up().await.unwrap();
    assert_eq!(ledger.refusal(&of_key("other")), None);
}

#[tokio::test(start_paused = true)]
async fn calls_without_events_and_failed_calls_with_usage_count() {
    let failed = Outcome::Failed(Failure::new(FailureKind::StreamCut, 200, String::new()));
    let off = Call { logging: Logging::Off, ..call() };
    for (call, outcome) in [(off, Outcome::Completed), (call(), failed)] {
        let bench = Bench::new(vec![budget(BudgetScope::Gateway, 1.0)]);
        let ledger = bench.ledger();
        ledger.catch_up().await.unwrap();
        let exchange = sealed(&bench.numbered(&call), 2.0);
        let facts = Facts { outcome, ..exchange.facts };
        bench.append_call(Exchange { facts, ..exchange }).await;
        ledger.catch_up().await.unwrap();
        assert!(ledger.refusal(&call).is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_period_begins_at_nothing_and_tells_its_thresholds_anew() {
    let daily = Budget {
        duration: Some(BudgetDuration::Day),
        thresholds: vec![100.0],
        ..budget(BudgetScope::Gateway, 1.0)
    };
    let bench = Bench::new(vec![daily]);
    let ledger = bench.ledger();
    ledger.catch_up().await.unwrap();
    let mut ids = Vec::new();
    for day in 0..3 {
        let now = NOW.plus(Duration::from_hours(24 * day));
        bench.clock.set(now);
        let call = Call { arrived_at: now, ..call() };
        assert_eq!(ledger.refusal(&call), None);
        bench.spend(&call, 1.5).await;
        ledger.catch_up().await.unwrap();
        let failure = ledger.refusal(&call).unwrap();
        // It is 22:13:20.
        assert_eq!(failure.retry_after_secs, Some(6401));
        let notes = bench.notes().await;
        assert_eq!(notes.len() as u64, day + 1);
        ids.push(notes.last().unwrap().id.clone());
        let spent = bench.spending().load().await.unwrap();
        assert_eq!(spent.rows.len(), 1, "yesterday is forgotten: {:?}", spent.rows);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_told_says_how_much_of_what() {
    let monthly = Budget {
        matches: "team-*".to_owned(),
        duration: Some(BudgetDuration::Month),
        thresholds: vec![50.0, 99.5],
        ..budget(BudgetScope::Key, 10.0)
    };
    let bench = Bench::new(vec![monthly]);
    let ledger = bench.ledger();
    ledger.catch_up().await.unwrap();
    bench.spend(&of_key("team-a"), 9.96).await;
    ledger.catch_up().await.unwrap();
    let notes = bench.notes().await;
    let mut told = Vec::new();
    for note in &notes {
        assert!(note.id.as_str().starts_with("evt_budget_") && !note.id.as_str().contains('.'));
        let News::BudgetReached(reached) = &note.news else { panic!("{note:?}") };
        assert_eq!((reached.matched.as_str(), reached.org_id.as_str()), ("team-a", "acme"));
        assert_eq!((reached.spent, reached.max_budget), (9.96, 10.0));
        assert_eq!(reached.limit_type, "monthly");
        assert_eq!(reached.period_started_at.to_string(), "2023-11-01T00:00:00Z");
        assert_eq!(reached.resets_at.unwrap().to_string(), "2023-12-01T00:00:00Z");
        told.push(reached.threshold);
    }
    assert_eq!(told, [50.0, 99.5]);
    assert_ne!(notes[0].id, notes[1].id);
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_record_is_passed_and_what_follows_counts() {
    let bench = Bench::new(vec![budget(BudgetScope::Gateway, 1.0)]);
    bench.ledger().catch_up().await.unwrap();
    bench.spend(&call(), 5.0).await;
    bench.spend(&call(), 0.25).await;
    let ledger = bench.ledger_through(&Fuse::corrupting(2));
    ledger.catch_up().await.unwrap();
    assert_eq!(bench.spent("").await, 250_000_000);
}

#[tokio::test(start_paused = true)]
async fn a_note_that_the_journal_refuses_is_told_later_and_once() {
    let bench = Bench::new(vec![budget(BudgetScope::Gateway, 1.0)]);
    bench.ledger().catch_up().await.unwrap();
    bench.spend(&call(), 0.6).await;
    let fuse = Fuse::refusing(3);
    bench.run(&fuse).await;
    assert_eq!(bench.told("").await, [50.0]);
}

/// Runs a ledger until it has done everything or the fuse blew, as a process that is killed there.
/// Once it has started, calls come that spend the `rest`.
async fn live(bench: &Bench, fuse: &Fuse, caller: &Call, rest: &mut Vec<f64>) {
    let ledger = bench.ledger_through(fuse);
    // A process that fails to catch up does not start.
    if ledger.catch_up().await.is_ok() {
        for dollars in rest.drain(..) {
            bench.spend(caller, dollars).await;
        }
        bench.finish(ledger, fuse).await;
    }
    bench.calm().await;
}

#[tokio::test(start_paused = true)]
async fn each_threshold_is_told_once_wherever_two_processes_were_killed() {
    let mut bench = Bench::new(Vec::new());
    let mut kills = 0;
    for cut in [Cut::BeforeIt, Cut::AfterIt] {
        for first in 0.. {
            let mut is_whole = false;
            for second in [0, 1, 2, 3, 5, 8] {
                let killed = format!("{cut:?} {first}, then {second}");
                let caller = of_key(&killed);
                let budget = Budget { matches: killed.clone(), ..budget(BudgetScope::Key, 1.0) };
                bench.budgets = vec![budget];
                bench.ledger().catch_up().await.unwrap();
                let mut rest = vec![0.3, 0.3];
                bench.spend(&caller, 0.3).await;
                bench.spend(&caller, 0.3).await;

                let fuse = Fuse::blowing(first, cut);
                live(&bench, &fuse, &caller, &mut rest).await;
                is_whole = !fuse.is_blown();
                live(&bench, &Fuse::blowing(second, cut), &caller, &mut rest).await;
                live(&bench, &Fuse::none(), &caller, &mut rest).await;

                assert_eq!(bench.told(&killed).await, [50.0, 80.0, 95.0, 100.0], "{killed}");
                assert_eq!(bench.spent(&killed).await, 1_200_000_000, "{killed}");
                let spent = bench.spending().load().await.unwrap();
                assert_eq!(spent.pending, [], "{killed}");
                kills += 1;
            }
            if is_whole {
                break;
            }
        }
    }
    assert!(kills > 100, "{kills} pairs of kills");
}

#[tokio::test(start_paused = true)]
async fn without_budgets_nothing_is_kept() {
    let bench = Bench::new(Vec::new());
    let ledger = bench.ledger();
    ledger.catch_up().await.unwrap();
    bench.spend(&call(), 5.0).await;
    ledger.run(tokio_util::sync::CancellationToken::new()).await;
    assert_eq!(bench.spending().load().await.unwrap(), store::state::Spent::default());
    assert!(matches!(bench.entries().await[0].record, Record::Admitted(_)));
}
