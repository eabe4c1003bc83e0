//! The journal against a model of it, over arbitrary histories.

use std::collections::BTreeMap;

use domain::record::{Record, Sequence};
use proptest::prelude::*;
use store::{
    conformance::{
        Engine,
        journal::{expect_entries, expect_unsettled},
        sample::{admitted, captured, noted, sealed},
    },
    journal::{AppendError, Journal},
};

use crate::engine::SqliteEngine;

#[derive(Debug, Clone)]
enum Step {
    /// Appended together, so that they may become one group.
    Append(Vec<Record>),
    Reopen,
    Crash,
}

fn record() -> impl Strategy<Value = Record> {
    let number = 0..6_u16;
    prop_oneof![
        3 => number.clone().prop_map(admitted),
        1 => (number.clone(), 0..9_u32).prop_map(|(number, token)| captured(number, token)),
        1 => number.clone().prop_map(noted),
        3 => (number, 0..5000_usize).prop_map(|(number, bytes)| sealed(number, bytes)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => proptest::collection::vec(record(), 1..8).prop_map(Step::Append),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

/// What must be stored, and which calls are open.
#[derive(Debug, Default)]
struct Model {
    records: Vec<Record>,
    /// With whether an earlier process admitted it.
    open: BTreeMap<u16, bool>,
}

impl Model {
    /// Whether the record is taken.
    fn append(&mut self, record: &Record) -> bool {
        let Some(id) = record.call_id() else {
            self.records.push(record.clone());
            return true;
        };
        let of_it = |number: &u16| admitted(*number).call_id() == Some(id);
        let number = (0..6).find(of_it).unwrap();
        let is_open = self.open.contains_key(&number);
        let taken = match record {
            Record::Admitted(_) => {
                self.open.entry(number).or_insert(false);
                !is_open
            }
            Record::Captured(_) => is_open,
            Record::Sealed(_) => self.open.remove(&number).is_some(),
            Record::Noted(_) => unreachable!("it is of no call"),
        };
        if taken {
            self.records.push(record.clone());
        }
        taken
    }

    fn restart(&mut self) {
        self.open.values_mut().for_each(|earlier| *earlier = true);
    }

    async fn expect(&self, journal: &dyn Journal) {
        expect_entries(journal, Sequence(0), &self.records).await;
        let earlier = self.open.iter().filter(|(_, earlier)| **earlier);
        let earlier: Vec<_> = earlier.map(|(number, _)| *number).collect();
        expect_unsettled(journal, &earlier).await;
    }
}

async fn run(mut engine: SqliteEngine, steps: Vec<Step>) {
    let mut model = Model::default();
    let mut journal = engine.open_now().journal;
    for step in steps {
        match step {
            Step::Append(records) => {
                let commits: Vec<_> =
                    records.iter().map(|record| journal.append(record.clone())).collect();
                for (record, commit) in records.iter().zip(commits) {
                    let taken = model.append(record);
                    match commit.await {
                        Ok(sequence) => {
                            assert!(taken);
                            assert!(sequence.0 <= model.records.len() as u64);
                        }
                        Err(error) => {
                            let misfit = matches!(
                                error,
                                AppendError::NotOpen { .. } | AppendError::Commit { .. }
                            );
                            assert!(misfit && !taken, "{error}");
                        }
                    }
                }
            }
            Step::Reopen => {
                journal = engine.open_now().journal;
                model.restart();
            }
            Step::Crash => {
                engine.crash();
                journal = engine.open_now().journal;
                model.restart();
            }
        }
        model.expect(&*journal).await;
    }
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn law_a_call_has_one_admission_then_one_outcome_over_any_history(
        steps in proptest::collection::vec(step(), 1..14)
    ) {
        block_on(run(SqliteEngine::new(), steps));
    }

    #[test]
    fn law_the_same_holds_over_many_files_without_memory(
        steps in proptest::collection::vec(step(), 1..14),
        period_bytes_max in 1..20_000_u64,
    ) {
        let engine = SqliteEngine::with(|config| {
            config.period_bytes_max = period_bytes_max;
            config.tail_bytes_max = 0;
        });
        block_on(run(engine, steps));
    }
}
