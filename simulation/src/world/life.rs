//! One life of the gateway: the real service over the model, from its start to its end.

use std::sync::{Arc, Mutex};

use delivery::{Control, Service, Stores};
use store::{
    conformance::Opened,
    journal::{AppendError, Journal, ReadError},
    lanes::{Lanes, LanesError},
};
use tokio::{sync::oneshot, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::World;
use crate::{
    calls,
    engine::{Engine, Parts, lock},
    mutation::{Mistaken, Mutation},
    network::Network,
    process::Process,
};
use domain::time::Clock;

/// A running gateway.
pub struct Life {
    /// When it dies.
    pub process: Arc<Process>,
    /// Its store.
    pub engine: Arc<Engine>,
    /// What changes its lanes.
    pub control: Control,
    workers: JoinSet<()>,
    service: JoinSet<()>,
    operators: JoinSet<()>,
    stop: CancellationToken,
    up: Option<oneshot::Receiver<Result<(), StartError>>>,
}

/// Why the gateway did not start.
#[derive(Debug)]
enum StartError {
    Lanes,
    Journal,
}

impl From<LanesError> for StartError {
    fn from(_: LanesError) -> Self {
        Self::Lanes
    }
}

impl From<ReadError> for StartError {
    fn from(_: ReadError) -> Self {
        Self::Journal
    }
}

impl From<AppendError> for StartError {
    fn from(_: AppendError) -> Self {
        Self::Journal
    }
}

impl Life {
    /// Starts it; `is_up` waits until it works.
    pub(super) fn start(world: &mut World) -> Self {
        let mutation = world.mutation();
        Mutation::disk(mutation, &mut lock(&world.disk));
        let process = Arc::new(Process::default());
        let clock: Arc<dyn Clock> = Arc::clone(&world.clock) as _;
        let engine = Engine::open(Parts {
            disk: Arc::clone(&world.disk),
            disks: Arc::clone(&world.disks),
            process: Arc::clone(&process),
            clock: Arc::clone(&clock),
            witness: Arc::clone(&world.oracle) as _,
            dice: world.scenario.dice.fork(),
            is_instant: false,
        });
        let mut workers = JoinSet::new();
        workers.spawn(Arc::clone(&engine).write());
        workers.spawn(Arc::clone(&engine).serve());
        let network = Network {
            receivers: Arc::clone(&world.receivers),
            oracle: Arc::clone(&world.oracle),
            process: Arc::clone(&process),
            clock: Arc::clone(&world.clock),
            mutation,
            held: Arc::new(Mutex::new(Vec::new())),
        };
        let Opened { journal, mut lanes, destinations, switches, .. } = engine.opened();
        if let Some(mutation) = mutation {
            lanes = Arc::new(Mistaken { lanes, mutation }) as Arc<dyn Lanes>;
        }
        let asked = &world.scenario.destinations;
        let got = asked.iter().map(|asked| Mutation::destination(mutation, asked)).collect();
        let stores = Stores { journal: Arc::clone(&journal), lanes, switches, destinations };
        let config = Mutation::config(mutation, world.scenario.config);
        let service = Service::new(config, got, stores, network, Arc::clone(&clock));
        let control = service.control();
        let stop = CancellationToken::new();
        let (told, up) = oneshot::channel();
        let mut running = JoinSet::new();
        running.spawn(serve(service, journal, clock, stop.clone(), told));
        Self {
            process,
            engine,
            control,
            workers,
            service: running,
            operators: JoinSet::new(),
            stop,
            up: Some(up),
        }
    }

    /// Waits until it works, or does not.
    pub(super) async fn is_up(&mut self) -> bool {
        let Some(up) = self.up.take() else { return true };
        tokio::select! {
            biased;
            () = self.process.died() => false,
            up = up => matches!(up, Ok(Ok(()))),
        }
    }

    /// Returns once it is dead.
    pub(super) async fn ended(&mut self) {
        self.process.died().await;
    }

    /// Does what a person asks for.
    pub(super) fn operate<W: Future<Output = ()> + Send + 'static>(
        &mut self,
        work: impl FnOnce(Control) -> W,
    ) {
        self.operators.spawn(work(self.control.clone()));
    }

    /// Ends it as a signal does. Says whether it lived until then.
    pub(super) async fn stop(mut self) -> bool {
        self.stop.cancel();
        let is_alive = tokio::select! {
            biased;
            () = self.process.died() => false,
            _ = self.service.join_next() => true,
        };
        if is_alive {
            self.engine.close();
        }
        self.crash().await;
        is_alive
    }

    /// Ends it, with nothing flushed.
    pub(super) async fn crash(mut self) {
        self.process.kill();
        self.engine.crash();
        for tasks in [&mut self.service, &mut self.operators, &mut self.workers] {
            tasks.shutdown().await;
        }
        // The tasks of tasks.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }
}

async fn serve(
    service: Service,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    told: oneshot::Sender<Result<(), StartError>>,
) {
    let started = async {
        // As the gateway does before it listens: what the last life left open gets an outcome.
        for call in journal.unsettled().await? {
            journal.append(calls::interrupted(&call, clock.now())).await?;
        }
        service.register().await?;
        Ok(())
    };
    let started = started.await;
    let is_up = started.is_ok();
    // Whoever waited may have left.
    let _ = told.send(started);
    if is_up {
        service.run(stop).await;
    }
}
