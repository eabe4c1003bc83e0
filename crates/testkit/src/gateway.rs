//! The real binary, started on a configuration in a directory of its own.

use std::{
    fs::File,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    task::JoinSet,
};

use crate::{DEADLINE, client::Client, record::Record};

/// What the gateway prints once it listens, up to the port.
const LISTENS: &str = "Hookgate listens on http://127.0.0.1:";

/// How to start a gateway. Changes made later take effect at the next start.
#[derive(Debug)]
pub struct Setup {
    binary: PathBuf,
    directory: TempDir,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Setup {
    /// Writes `config` as `config.yaml` into a new directory; `binary` is
    /// `env!("CARGO_BIN_EXE_hookgate")`. Its environment is empty but for what is added here.
    pub fn new(binary: &str, config: &str) -> Self {
        let directory = tempfile::tempdir().expect("the system has room for a directory");
        let setup = Self { binary: binary.into(), directory, args: Vec::new(), env: Vec::new() };
        setup.write_file("config.yaml", config);
        setup
    }

    /// Adds a file beside the configuration.
    #[must_use]
    pub fn file(self, name: &str, text: &str) -> Self {
        self.write_file(name, text);
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where the configuration lies.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where the gateway keeps its journal.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Writes a file beside the configuration, or the configuration itself.
    pub fn write_file(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), text)
            .expect("a new directory is writable");
    }

    /// Starts the gateway on a port of the system's choice and waits until it listens.
    pub async fn start(self) -> Gateway {
        Gateway::launch(self, Arc::default(), 0).await
    }

    /// The binary with this setup's directory and environment, for a command that ends by itself:
    /// `setup.command(&["check", "config.yaml"]).output().await`.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(args)
            .current_dir(self.directory.path())
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

/// A running gateway. Killed when dropped; its directory goes with it.
#[derive(Debug)]
pub struct Gateway {
    /// What it was started with.
    pub setup: Setup,
    child: Child,
    address: SocketAddr,
    log: Arc<Record<String>>,
    readers: JoinSet<()>,
}

impl Gateway {
    /// Starts `binary` on `config` and waits until it listens.
    pub async fn start(binary: &str, config: &str) -> Self {
        Setup::new(binary, config).start().await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A caller without a key.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the child has not been waited for")
    }

    /// Its resident memory, in bytes (proc(5), `VmRSS`).
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the gateway runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5)");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("proc(5)");
        kib << 10
    }

    /// What it has written to stdout and stderr over all its lives, a line each. The same stands
    /// in `gateway.log` in its directory.
    pub fn log(&self) -> Vec<String> {
        self.log.all()
    }

    /// Waits until a line holds `text`, and returns that line.
    pub async fn wait_for_log(&self, text: &str) -> String {
        let found = |lines: &[String]| lines.iter().any(|line| line.contains(text));
        let lines = self.log.wait_until(&format!("the line {text:?}"), found).await;
        lines.into_iter().find(|line| line.contains(text)).unwrap_or_default()
    }

    /// Waits until `count` lines hold `text`.
    pub async fn wait_for_log_lines(&self, text: &str, count: usize) {
        let enough =
            |lines: &[String]| lines.iter().filter(|line| line.contains(text)).count() >= count;
        self.log.wait_until(&format!("{count} lines with {text:?}"), enough).await;
    }

    /// Ends it with SIGKILL: nothing of its own runs any more. Returns what it was started with.
    pub async fn kill(mut self) -> Stopped {
        // Fails only if it has ended already; the wait tells.
        let _ = self.child.start_kill();
        let status = self.wait().await;
        self.stopped(status).await
    }

    /// Ends it with SIGTERM, and waits until it has drained and ended.
    pub async fn terminate(mut self) -> Stopped {
        self.send_sigterm();
        let status = self.wait().await;
        self.stopped(status).await
    }

    /// Sends SIGTERM and returns at once.
    pub fn send_sigterm(&self) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process has an id"), Signal::TERM).expect("it is our child");
    }

    /// Waits for it to end by itself.
    pub async fn wait(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(DEADLINE, self.child.wait()).await;
        assert!(ended.is_ok(), "the gateway does not end; its log: {:#?}", self.log());
        ended.expect("checked above").expect("our child can be waited for")
    }

    /// Kills it with SIGKILL and starts it again on the same data and the same port.
    pub async fn kill_and_restart(self) -> Self {
        self.kill().await.start().await
    }

    async fn stopped(mut self, status: ExitStatus) -> Stopped {
        // Its pipes are closed: what is left in them is its last words.
        while self.readers.join_next().await.is_some() {}
        Stopped { setup: self.setup, status, log: self.log, port: self.address.port() }
    }

    async fn launch(setup: Setup, log: Arc<Record<String>>, port: u16) -> Self {
        let file = File::options()
            .create(true)
            .append(true)
            .open(setup.directory().join("gateway.log"))
            .expect("a new directory is writable");
        let file = Arc::new(Mutex::new(file));
        let (config, data) = (setup.directory().join("config.yaml"), setup.data_dir());
        let mut child = setup
            .command(&["serve"])
            .arg("--config")
            .arg(config)
            .arg("--data-dir")
            .arg(data)
            .args(["--port", &port.to_string()])
            .args(&setup.args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built for this test");
        let lines_before = log.all().len();
        let mut readers = JoinSet::new();
        let (out, err) = (child.stdout.take(), child.stderr.take());
        readers.spawn(keep_lines(out.expect("stdout is piped"), log.clone(), file.clone()));
        readers.spawn(keep_lines(err.expect("stderr is piped"), log.clone(), file));
        let started = tokio::select! {
            port = announced_port(&log, lines_before) => Some(port),
            _ = child.wait() => None,
        };
        if started.is_none() {
            while readers.join_next().await.is_some() {}
        }
        assert!(started.is_some(), "the gateway ended before it listened: {:#?}", log.all());
        let port = started.expect("checked above");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self { setup, child, address, log, readers }
    }
}

/// A gateway that has ended; its directory is still there.
#[derive(Debug)]
pub struct Stopped {
    /// What it was started with.
    pub setup: Setup,
    /// How it ended.
    pub status: ExitStatus,
    log: Arc<Record<String>>,
    port: u16,
}

impl Stopped {
    /// What it wrote, a line each.
    pub fn log(&self) -> Vec<String> {
        self.log.all()
    }

    /// Starts it again on the same data and the same port.
    pub async fn start(self) -> Gateway {
        Gateway::launch(self.setup, self.log, self.port).await
    }
}

async fn announced_port(log: &Record<String>, lines_before: usize) -> u16 {
    let port = |line: &String| {
        let (_, rest) = line.split_once(LISTENS)?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<u16>().ok()
    };
    let announced = |lines: &[String]| lines[lines_before..].iter().any(|l| port(l).is_some());
    let lines = log.wait_until("the gateway to listen", announced).await;
    lines[lines_before..].iter().find_map(port).expect("waited for it")
}

async fn keep_lines(
    source: impl AsyncRead + Unpin,
    log: Arc<Record<String>>,
    file: Arc<Mutex<File>>,
) {
    let mut lines = BufReader::new(source).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line).into_owned();
        // The file is a courtesy to whoever looks into it; the test reads the record.
        let _ = writeln!(file.lock().expect("no test panicked here"), "{line}");
        log.push(line);
    }
}
