//! The composition root: the only file that names every crate. Opens the store, settles what the
//! last run left open, starts the halves on runtimes of their own, and stops them in order.

use std::{net::SocketAddr, sync::Arc, thread::available_parallelism};

use anyhow::Context;
use console::{Console, Parts, Policy};
use delivery::{
    Service, Stores,
    send::{Egress, Sender},
};
use domain::{
    call::Call,
    destination::Destination,
    time::{Clock, SystemClock},
};
use provider::price::Prices;
use proxy::{Doors, Gateway, Server, Stopping};
use spend::Ledger;
use store::{
    journal::Journal,
    sqlite::{self, Store},
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{EgressSettings, Settings, StoreSettings},
    open_files,
};

/// Attempts of a lane that are done and not stored: what some thousand a second come to while the
/// store takes a moment longer than usual.
const UNSTORED_MAX: usize = 1_000;

/// Derived events kept for lanes that keep up.
const EVENTS_CACHED_MAX: usize = 4096;

/// A running gateway.
pub struct App {
    callers: Runtime,
    background: Runtime,
    store: Store,
    address: SocketAddr,
    server: JoinHandle<()>,
    /// What ends once `settle` is cancelled.
    settling: Vec<JoinHandle<()>>,
    stopping: Stopping,
    settle: CancellationToken,
}

impl App {
    /// Starts everything; returns once callers can connect.
    pub fn start(mut settings: Settings) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let cores = available_parallelism().map_or(1, std::num::NonZero::get);
        let callers = runtime("callers", cores)?;
        let background = runtime("delivery", cores.div_ceil(2))?;
        let store = Store::open(store_config(settings.store.clone()), Arc::clone(&clock))?;
        let share = open_files::raise() / 4;
        limit_connections(&mut settings, share);
        let world = World { journal: store.journal(), prices: Arc::new(Prices::new()), clock };
        let settled = background.block_on(proxy::recover(&*world.journal, &*world.clock))?;
        if settled > 0 {
            tracing::warn!(calls = settled, "Calls that the last run left open are settled.");
        }
        let ledger = Arc::new(ledger(&settings, &store, &world));
        background.block_on(ledger.catch_up())?;

        let policy = policy(&settings);
        let sender = sender(&settings, share)?;
        let service = background.block_on(delivery(&settings, &policy, &store, &world, &sender))?;
        let (control, pieces) = (service.control(), service.control());
        let console = Console::new(Parts {
            control,
            destinations: store.destinations(),
            files: settings.destinations,
            journal: Arc::clone(&world.journal),
            lanes: store.lanes(),
            prices: world.prices,
            policy,
            clock: Arc::clone(&world.clock),
            background: background.handle().clone(),
        });

        let listen = settings.proxy.listen;
        let listener = callers
            .block_on(TcpListener::bind(listen))
            .with_context(|| format!("could not listen on {listen}"))?;
        let address = listener.local_addr().context("could not read the listener's address")?;
        sender.refuse_listener(address);
        let budgets = Arc::clone(&ledger);
        let gateway = Gateway::new(
            settings.proxy,
            world.journal,
            world.clock,
            Arc::new(move |_| pieces.wants_pieces()),
            Arc::new(move |call: &Call| budgets.refusal(call)),
        );
        let stopping = Stopping::default();
        let settle = CancellationToken::new();
        let doors = Doors { router: console::router(&console), owns: console::owns };
        let server = Server::new(Arc::new(gateway), listener, doors).run(stopping.clone());
        let server = callers.spawn(server);
        let (counting, rotating) = (settle.clone(), settle.clone());
        let settling = vec![
            background.spawn(service.run(settle.clone())),
            background.spawn(async move { ledger.run(counting).await }),
            background.spawn(async move {
                rotating.run_until_cancelled(console.end_rotations()).await;
            }),
        ];
        Ok(Self { callers, background, store, address, server, settling, stopping, settle })
    }

    /// Where callers connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stops it: cancel `drain`, and `cut` to wait no longer.
    pub fn stopping(&self) -> Stopping {
        self.stopping.clone()
    }

    /// Drains and stops at the first SIGTERM or SIGINT; cuts off what still runs at the second.
    pub fn stop_on_signals(&self) -> anyhow::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let _context = self.background.enter();
        let mut terminate = signal(SignalKind::terminate()).context("could not watch SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("could not watch SIGINT")?;
        let stopping = self.stopping.clone();
        self.background.spawn(async move {
            let mut next = async || {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            next().await;
            tracing::info!("Stopping: no new calls; running ones may finish.");
            stopping.drain.cancel();
            next().await;
            stopping.cut.cancel();
        });
        Ok(())
    }

    /// Waits until it was told to stop and has stopped: calls first, then lanes, then the store.
    pub fn wait(self) -> anyhow::Result<()> {
        self.background.block_on(self.server).context("the server failed")?;
        self.callers.shutdown_background();
        self.settle.cancel();
        for task in self.settling {
            self.background.block_on(task).context("delivery failed")?;
        }
        self.background.shutdown_background();
        self.store.close();
        tracing::info!("Stopped.");
        Ok(())
    }
}

/// Callers, providers and destinations may each have a quarter of the open files in connections; the
/// last quarter is for the store and what else there is.
fn limit_connections(settings: &mut Settings, share: usize) {
    let limit = &mut settings.proxy.limits.connections_max;
    if *limit > share {
        tracing::info!(
            hookgate.limits.connections_max = *limit,
            "The system's limit of open files allows {share} connections from callers; `ulimit -n` \
             can raise it."
        );
        *limit = share;
    }
}

/// What both halves share.
struct World {
    journal: Arc<dyn Journal>,
    prices: Arc<Prices>,
    clock: Arc<dyn Clock>,
}

fn ledger(settings: &Settings, store: &Store, world: &World) -> Ledger {
    Ledger::new(
        settings.budgets.clone(),
        settings.org_id.clone(),
        Arc::clone(&world.journal),
        store.spending(),
        Arc::clone(&world.clock),
        Arc::clone(&world.prices),
    )
}

/// The terms of destinations that are made through a door.
fn policy(settings: &Settings) -> Policy {
    let keys = settings.proxy.keys.iter();
    Policy {
        defaults: settings.defaults.clone(),
        require_https: settings.egress.doors_require_https,
        private_networks: settings.egress.allow_private_destinations.clone(),
        ports: settings.egress.doors_allowed_ports.clone(),
        key_names: keys.map(|key| (key.hash.clone(), key.name.clone())).collect(),
    }
}

fn sender(settings: &Settings, connections_max: usize) -> anyhow::Result<Sender> {
    let EgressSettings { allow_private_destinations, outbound, .. } = &settings.egress;
    let mut egress = Egress {
        networks: allow_private_destinations.clone(),
        proxy: outbound.proxy.clone(),
        connections_max,
        ..Egress::bundled()
    };
    for root in &outbound.extra_roots {
        let added = egress.roots.add(root.as_slice().into());
        added.context("could not trust a root certificate of hookgate.egress.destinations")?;
    }
    Ok(Sender::with(egress)?)
}

/// The lanes of the file's destinations and of those made through a door, ready to run.
async fn delivery(
    settings: &Settings,
    policy: &Policy,
    store: &Store,
    world: &World,
    sender: &Sender,
) -> anyhow::Result<Service> {
    let files: &[Destination] = &settings.destinations;
    let made = store.destinations();
    let restored = console::restore(&*made, files, policy, world.clock.now()).await?;
    let config = delivery::config::Config {
        settle_timeout: settings.delivery.settle_timeout,
        unstored_max: UNSTORED_MAX,
        events_cached_max: EVENTS_CACHED_MAX,
        disable_after: settings.delivery.disable_after,
    };
    let service = Service::new(
        config,
        [files, &restored].concat(),
        Stores {
            journal: Arc::clone(&world.journal),
            lanes: store.lanes(),
            switches: store.switches(),
            destinations: made,
        },
        sender.clone(),
        Arc::clone(&world.clock),
    );
    service.register().await?;
    Ok(service)
}

fn runtime(name: &'static str, threads: usize) -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .enable_all()
        .build()
        .with_context(|| format!("could not start the threads for {name}"))
}

fn store_config(settings: StoreSettings) -> sqlite::Config {
    sqlite::Config {
        durability: settings.durability,
        retention: settings.retention,
        ballast_bytes: settings.ballast_bytes,
        encryption_key: settings.encryption_key,
        previous_key: settings.previous_key,
        ..sqlite::Config::with_defaults(settings.data_dir)
    }
}
