//! What is measured: started with what it needs, on loopback, ended when dropped.

use std::{
    fmt,
    fs::File,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use tempfile::TempDir;

use crate::{process::Tree, receiver::Inbox};

/// The key that the gateway asks of callers.
pub(crate) const KEY: &str = "sk-bench-0123456789abcdef";
/// What the gateway prints once it listens.
const LISTENS: &str = "Hookgate listens on http://";
/// How long a system may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// The systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// No system between the load and the provider.
    Direct,
    /// nginx as a plain reverse proxy: the yardstick.
    Nginx,
    /// Journal on, every call to one batched destination (`generic_api`).
    Hookgate,
    /// Journal on, every call to one destination that takes an event a POST (`event`), signed.
    HookgateEach,
    /// Journal on, no destination.
    HookgateNone,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Hookgate => "hookgate, batched",
            Self::HookgateEach => "hookgate, one by one",
            Self::HookgateNone => "hookgate, no destination",
        })
    }
}

/// A system that runs.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    /// Where its events go, if it sends any.
    pub(crate) inbox: Option<Inbox>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    tree: Tree,
    directory: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Either fails only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl System {
    /// Starts it in front of `upstream`.
    pub(crate) fn start(kind: Kind, upstream: SocketAddr, gateway: &Path) -> Result<Self> {
        match kind {
            Kind::Direct => Ok(Self { kind, address: upstream, inbox: None, running: None }),
            Kind::Nginx => start_nginx(upstream),
            Kind::Hookgate | Kind::HookgateEach | Kind::HookgateNone => {
                start_gateway(kind, upstream, gateway)
            }
        }
        .with_context(|| format!("could not start {kind}"))
    }

    /// Its processes; none if it is no process of its own.
    pub(crate) fn tree(&self) -> Option<&Tree> {
        self.running.as_ref().map(|running| &running.tree)
    }

    /// What its data takes on disk, in bytes; `None` if it keeps none.
    pub(crate) fn data_bytes(&self) -> Option<u64> {
        let directory = self.running.as_ref()?.directory.path().join("data");
        directory.is_dir().then(|| disk_bytes(&directory))
    }

    /// The main process's id, for a profiler.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }
}

/// What `du` counts.
fn disk_bytes(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let facts = entry.metadata().ok()?;
        Some(if facts.is_dir() { disk_bytes(&entry.path()) } else { facts.blocks() * 512 })
    });
    sizes.sum()
}

/// Debian's nginx: two workers, connections to the provider kept, nothing logged, streams passed
/// on at once (the provider's `x-accel-buffering: no`).
fn start_nginx(upstream: SocketAddr) -> Result<System> {
    let directory = tempfile::tempdir()?;
    let at = directory.path().display();
    // nginx cannot choose a port by itself; the one that was free a moment ago is.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let user = if is_root() { "user root;" } else { "" };
    let config = format!(
        "daemon off; worker_processes 2; pid {at}/pid; error_log stderr error; {user}
         events {{ worker_connections 2048; }}
         http {{
           access_log off; keepalive_requests 1000000000; client_max_body_size 32m;
           client_body_buffer_size 128k; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;
           fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
           upstream provider {{
             server {upstream}; keepalive 128; keepalive_requests 1000000000;
           }}
           server {{
             listen {address} reuseport; tcp_nodelay on;
             location / {{
               proxy_pass http://provider; proxy_http_version 1.1;
               proxy_set_header Connection \"\";
             }}
           }}
         }}"
    );
    let path = directory.path().join("nginx.conf");
    std::fs::write(&path, config)?;
    let errors = File::create(directory.path().join("errors"))?;
    let mut child = nginx()?
        .arg("-p")
        .arg(directory.path())
        .arg("-c")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn()
        .context("could not run nginx (apt-get install nginx-light)")?;
    let started = Instant::now();
    while TcpStream::connect(address).is_err() {
        let ended = child.try_wait()?.is_some();
        if ended || started.elapsed() > START_TIMEOUT {
            let said = std::fs::read_to_string(directory.path().join("errors"))?;
            let _ = child.kill();
            bail!("nginx does not listen: {said}");
        }
        thread::sleep(Duration::from_millis(10));
    }
    // The workers are there once the port answers: the master binds it before it starts them, so
    // wait for them too.
    let tree = wait_for_tree(child.id(), 3);
    Ok(System {
        kind: Kind::Nginx,
        address,
        inbox: None,
        running: Some(Running { child, tree, directory }),
    })
}

/// Debian puts it where a user's `PATH` does not look.
fn nginx() -> Result<Command> {
    let places = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"];
    let found = places.iter().map(PathBuf::from).find(|path| path.exists());
    Ok(Command::new(found.context("nginx is not installed (apt-get install nginx-light)")?))
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|facts| facts.uid() == 0)
}

fn wait_for_tree(root: u32, count: usize) -> Tree {
    let started = Instant::now();
    loop {
        let tree = Tree::of(root);
        if tree.len() >= count || started.elapsed() > START_TIMEOUT {
            return tree;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn start_gateway(kind: Kind, upstream: SocketAddr, binary: &Path) -> Result<System> {
    ensure!(binary.exists(), "no {} (cargo build --release makes it)", binary.display());
    let directory = tempfile::tempdir()?;
    let inbox = match kind {
        Kind::HookgateNone => None,
        _ => Some(Inbox::start()?),
    };
    let config = directory.path().join("config.yaml");
    let url = inbox.as_ref().map(|inbox| inbox.url.as_str());
    std::fs::write(&config, gateway_config(kind, upstream, url.unwrap_or_default()))?;
    let log = directory.path().join("log");
    let mut child = Command::new(binary)
        .arg("serve")
        .arg("--config")
        .arg(config)
        .arg("--data-dir")
        .arg(directory.path().join("data"))
        .args(["--port", "0"])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&log)?)
        .spawn()?;
    let out = child.stdout.take().context("stdout is piped")?;
    let mut lines = BufReader::new(out).lines();
    let announced = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let (_, rest) = line.split_once(LISTENS)?;
        let is_part = |c: char| c.is_ascii_digit() || c == '.' || c == ':';
        rest.split(|c: char| !is_part(c)).next()?.parse().ok()
    });
    // It must never wait for a reader of what it prints.
    thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    let tree = Tree::of(child.id());
    let running = Running { child, tree, directory };
    let Some(address) = announced else {
        bail!("it ended before it listened: {}", std::fs::read_to_string(log)?);
    };
    Ok(System { kind, address, inbox, running: Some(running) })
}

fn gateway_config(kind: Kind, upstream: SocketAddr, url: &str) -> String {
    let destination = match kind {
        Kind::Hookgate => format!(
            "litellm_settings:
  callbacks: [bench]
callback_settings:
  bench:
    callback_type: generic_api
    endpoint: {url}
    batch_size: 100
    flush_interval: 1
"
        ),
        Kind::HookgateEach => format!(
            "webhooks:
  primary:
    url: {url}
    secret: bench-secret-0123456789
    enabled: true
events:
  subscribe: [completion, error]
security:
  require_https: false
"
        ),
        Kind::Direct | Kind::Nginx | Kind::HookgateNone => String::new(),
    };
    format!(
        "model_list:
  - model_name: fast-chat
    litellm_params:
      model: openai/gpt-4o-mini
      api_base: http://{upstream}/v1
      api_key: sk-provider-0123456789
general_settings:
  master_key: {KEY}
{destination}"
    )
}
