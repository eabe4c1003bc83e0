//! The composition root: the only file that names every crate. Opens the store, settles what the
//! last run left open, starts the halves on runtimes of their own, and stops them in order.

use std::{net::SocketAddr, sync::Arc, thread::available_parallelism};

use anyhow::Context;
use delivery::{
    Service,
    send::{Egress, Sender},
};
use domain::time::{Clock, SystemClock};
use proxy::{Doors, Gateway, Server, Stopping};
use store::sqlite::{self, Store};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::config::{Settings, StoreSettings};

/// Derived events kept for lanes that keep up.
const EVENTS_CACHED_MAX: usize = 4096;

/// A running gateway.
pub struct App {
    callers: Runtime,
    background: Runtime,
    store: Store,
    address: SocketAddr,
    server: JoinHandle<()>,
    delivery: JoinHandle<()>,
    stopping: Stopping,
    settle: CancellationToken,
}

impl App {
    /// Starts everything; returns once callers can connect.
    pub fn start(settings: Settings) -> anyhow::Result<Self> {
        let Settings { proxy, store, destinations, delivery, egress, .. } = settings;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let cores = available_parallelism().map_or(1, std::num::NonZero::get);
        let callers = runtime("callers", cores)?;
        let background = runtime("delivery", cores.div_ceil(2))?;
        let store = Store::open(store_config(store), Arc::clone(&clock))?;
        let journal = store.journal();

        let settled = background.block_on(proxy::recover(&*journal, &*clock))?;
        if settled > 0 {
            tracing::warn!(calls = settled, "Calls that the last run left open are settled.");
        }
        let config = delivery::config::Config {
            settle_timeout: delivery.settle_timeout,
            events_cached_max: EVENTS_CACHED_MAX,
            disable_after: delivery.disable_after,
        };
        let networks = egress.allow_private_destinations;
        let sender = Sender::with(Egress { networks, ..Egress::bundled() })?;
        let (lanes, switches) = (store.lanes(), store.switches());
        let (journal_read, ticks) = (Arc::clone(&journal), Arc::clone(&clock));
        let service = Service::new(
            config,
            destinations,
            journal_read,
            lanes,
            switches,
            sender.clone(),
            ticks,
        );
        background.block_on(service.register())?;
        let control = service.control();
        let wants_pieces: proxy::gateway::WantsPieces = Arc::new(move |_| control.wants_pieces());

        let listen = proxy.listen;
        let listener = callers
            .block_on(TcpListener::bind(listen))
            .with_context(|| format!("could not listen on {listen}"))?;
        let address = listener.local_addr().context("could not read the listener's address")?;
        sender.refuse_listener(address);
        let gateway =
            Arc::new(Gateway::new(proxy, journal, clock, wants_pieces, Arc::new(|_: &_| None)));
        let stopping = Stopping::default();
        let settle = CancellationToken::new();
        let server =
            callers.spawn(Server::new(gateway, listener, Doors::none()).run(stopping.clone()));
        let delivery = background.spawn(service.run(settle.clone()));
        Ok(Self { callers, background, store, address, server, delivery, stopping, settle })
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
        self.background.block_on(self.delivery).context("delivery failed")?;
        self.background.shutdown_background();
        self.store.close();
        tracing::info!("Stopped.");
        Ok(())
    }
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
        ..sqlite::Config::with_defaults(settings.data_dir)
    }
}
