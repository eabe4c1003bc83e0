//! `hookgate demo`: the main job in a minute. A gateway with a mock model, a receiver that checks
//! every signature, a few calls, and each webhook as it arrives.

mod caller;

mod receiver;

use std::{collections::HashMap, io::Write, process::ExitCode, time::Duration};

use anyhow::{Context, ensure};
use tokio::sync::mpsc;

use self::{
    caller::{CALLS, Caller},
    receiver::Arrived,
};
use crate::{
    app::App,
    config::{Sources, load},
};

/// The configuration that the demo runs with: the same kind of file that users write.
const CONFIG: &str = include_str!("demo/config.yaml");
const SECRET: &str = "whsec_ZGVtby1zZWNyZXQtb2YtaG9va2dhdGUh";
/// How long the demo waits for a webhook before it says that one is missing.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the demo. Exits with 1 if a webhook is missing or does not verify.
pub fn run(out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("could not start the demo's receiver")?;
    let (arrivals, arrived) = mpsc::channel(1024);
    let receiver = runtime.block_on(receiver::start(SECRET, arrivals))?;
    let directory = directory()?;
    let app = start(&directory, &receiver.to_string())?;
    writeln!(out, "A gateway listens on http://{} and has one model, `demo`.", app.address())?;
    writeln!(out, "A receiver on http://{receiver} checks the signature of each webhook.\n")?;
    let caller = Caller::new(app.address());
    let shown = runtime.block_on(show(&caller, arrived, out));
    app.stopping().drain.cancel();
    app.wait()?;
    std::fs::remove_dir_all(&directory).context("could not remove the demo's directory")?;
    let code = if shown? { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    Ok(code)
}

fn start(directory: &std::path::Path, receiver: &str) -> anyhow::Result<App> {
    let config = directory.join("config.yaml");
    std::fs::write(&config, CONFIG).context("could not write the demo's configuration")?;
    let environment = HashMap::from([
        ("DEMO_RECEIVER".to_owned(), format!("http://{receiver}")),
        ("DEMO_SECRET".to_owned(), SECRET.to_owned()),
    ]);
    let sources = Sources {
        config: Some(config),
        port: Some(0),
        data_dir: Some(directory.join("data")),
        environment,
        ..Sources::default()
    };
    let (settings, _) = load(&sources).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the demo's configuration: {}", problems.join("; "))
    })?;
    App::start(settings)
}

/// A directory of the demo's own, so that it neither meets nor leaves data.
fn directory() -> anyhow::Result<std::path::PathBuf> {
    let name = format!("hookgate-demo-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).context("could not make the demo's directory")?;
    Ok(directory)
}

/// Makes the calls and prints what arrives; returns whether everything did, and verified.
async fn show(
    caller: &Caller,
    mut arrived: mpsc::Receiver<Arrived>,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let mut outcomes = 0;
    for call in CALLS {
        let answer = caller.call(call).await?;
        writeln!(out, "→ {}\n  {} {}", call.what, answer.status, answer.text)?;
        outcomes += 1;
        let mut wanted = true;
        while wanted {
            let Some(webhook) = next(&mut arrived).await else { break };
            writeln!(out, "{webhook}")?;
            ensure!(webhook.verified, "a signature did not verify");
            wanted = !webhook.is_outcome();
        }
        writeln!(out)?;
    }
    writeln!(out, "The same calls, batched for a receiver that speaks LiteLLM's format:")?;
    let mut logged = 0;
    while logged < outcomes {
        let Some(webhook) = next(&mut arrived).await else {
            writeln!(out, "{logged} of {outcomes} arrived within {PATIENCE:?}.")?;
            return Ok(false);
        };
        logged += webhook.payloads();
        writeln!(out, "{webhook}")?;
    }
    writeln!(
        out,
        "\nAll {outcomes} calls arrived at both destinations; every signature verified."
    )?;
    Ok(true)
}

async fn next(arrived: &mut mpsc::Receiver<Arrived>) -> Option<Arrived> {
    tokio::time::timeout(PATIENCE, arrived.recv()).await.ok().flatten()
}
