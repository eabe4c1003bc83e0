//! The model engine under the suite that every engine must pass: what the simulation finds in
//! delivery is not of the model's making.

use std::sync::{Arc, Mutex};

use simulation::{
    engine::{Disks, Engine, NoWitness, Parts, disk::Disk},
    process::Process,
};
use store::conformance::{self, HandClock, Opened};

#[derive(Default)]
struct Model {
    disk: Arc<Mutex<Disk>>,
    open: Option<Arc<Engine>>,
}

impl conformance::Engine for Model {
    fn open(&mut self, clock: Arc<HandClock>) -> Opened {
        self.close();
        let engine = Engine::open(Parts {
            disk: Arc::clone(&self.disk),
            disks: Arc::new(Disks::default()),
            process: Arc::new(Process::default()),
            clock,
            witness: Arc::new(NoWitness),
            dice: fastrand::Rng::with_seed(0),
            is_instant: true,
        });
        self.open.insert(engine).opened()
    }

    fn crash(&mut self) {
        if let Some(engine) = self.open.take() {
            engine.crash();
        }
    }

    fn close(&mut self) {
        if let Some(engine) = self.open.take() {
            engine.close();
        }
    }
}

store::conformance_tests!(Model::default());
