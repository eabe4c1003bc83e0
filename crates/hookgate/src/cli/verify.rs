//! `hookgate verify`: whether a delivery that a receiver got is one of ours, and if not, why.
//!
//! It looks as a receiver does: at headers, body and clock, by the secrets and the security settings
//! of the configuration. Invariant: a secret is never printed.

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use domain::{
    destination::{Destination, Signing},
    time::{Clock, SystemClock, Timestamp},
};
use webhook::sign::{VerifyError, verify_gateway, verify_helicone, verify_standard};

use crate::{
    cli::EXIT_BAD_CONFIGURATION,
    config::{self, Environment, Settings, Sources},
};

/// Bytes of a body that are read at most; no delivery is near it.
const BODY_BYTES_MAX: u64 = 1 << 30;

/// `hookgate verify`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The configuration file, as LiteLLM's config.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A file with the sections webhooks, events, retry, security and delivery
    #[arg(long, value_name = "FILE")]
    pub webhooks: Option<PathBuf>,
    /// A registry of callbacks, as `generic_api_compatible_callbacks.json`
    #[arg(long, value_name = "FILE")]
    pub callbacks: Option<PathBuf>,
    /// The destination of the configuration whose secrets are to have signed
    #[arg(long, value_name = "NAME")]
    pub destination: String,
    /// A header of the delivery, as `Name: value`; once for each
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub headers: Vec<String>,
    /// The file with the body, byte for byte; without it, standard input
    pub body: Option<PathBuf>,
}

/// Prints what each signature is worth. Exits with 0 if there is one and all are good, with 1 if not,
/// with 78 for a bad configuration.
pub fn run(args: Args, environment: Environment, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let Args { config, webhooks, callbacks, destination, headers, body } = args;
    let sources = Sources { config, webhooks, callbacks, environment, ..Sources::default() };
    let settings = match config::load(&sources) {
        Ok((settings, _)) => settings,
        Err(problems) => {
            for problem in problems {
                writeln!(out, "error: {problem}")?;
            }
            return Ok(ExitCode::from(EXIT_BAD_CONFIGURATION));
        }
    };
    let headers = headers.iter().map(|text| header(text)).collect::<anyhow::Result<Vec<_>>>()?;
    let delivery = Delivery { headers, body: read_body(body.as_deref())? };
    let signing = signing(&settings, &destination)?;
    let now = SystemClock.now();
    let tolerance = settings.delivery.timestamp_tolerance;
    let judged = delivery.judge(signing, now, tolerance);
    if judged.is_empty() {
        writeln!(out, "not signed: of {} and webhook-signature no header is here", signing.header)?;
    }
    for (name, verdict) in &judged {
        match verdict {
            Ok(()) => writeln!(out, "{name}: good")?,
            Err(reason) => writeln!(out, "{name}: refused, {reason}")?,
        }
    }
    let is_good = !judged.is_empty() && judged.iter().all(|(_, verdict)| verdict.is_ok());
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How a destination signs, a standby included.
fn signing<'a>(settings: &'a Settings, name: &str) -> anyhow::Result<&'a Signing> {
    let all = || {
        let standby = |destination: &'a Destination| destination.backup.as_deref();
        settings.destinations.iter().flat_map(move |d| std::iter::once(d).chain(standby(d)))
    };
    let Some(destination) = all().find(|destination| destination.name.as_str() == name) else {
        let known: Vec<_> = all().map(|destination| destination.name.as_str()).collect();
        bail!("the configuration has no destination `{name}`; it has: {}", known.join(", "));
    };
    let signing = destination.signing.as_ref().filter(|signing| !signing.secrets.is_empty());
    signing
        .ok_or_else(|| anyhow!("destination `{name}` has no secret, so nothing is signed for it"))
}

fn header(text: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = text
        .split_once(':')
        .with_context(|| format!("`{text}` is no header: write it as `Name: value`"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn read_body(file: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let (mut source, name): (Box<dyn Read>, _) = match file {
        Some(path) => {
            let file = fs::File::open(path);
            let name = path.display().to_string();
            (Box::new(file.with_context(|| format!("could not open {name}"))?), name)
        }
        None => (Box::new(std::io::stdin()), "standard input".to_owned()),
    };
    let mut body = Vec::new();
    let read = source.by_ref().take(BODY_BYTES_MAX).read_to_end(&mut body);
    read.with_context(|| format!("could not read the body from {name}"))?;
    Ok(body)
}

/// What a receiver got.
struct Delivery {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Delivery {
    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Each signature by its header's name, and why it is refused if it is.
    fn judge(
        &self,
        signing: &Signing,
        now: Timestamp,
        tolerance: Duration,
    ) -> Vec<(String, Result<(), String>)> {
        let mut judged = Vec::new();
        let body = self.body.as_slice();
        if let Some(signature) = self.header(&signing.header) {
            let timestamp = self.header("x-webhook-timestamp").unwrap_or_default();
            let verify = |tolerance_ms| {
                verify_gateway(signing, signature, timestamp, body, now, tolerance_ms)
            };
            judged.push((signing.header.clone(), told(verify, timestamp, now, tolerance)));
        }
        if let Some(signature) = self.header("webhook-signature") {
            let id = self.header("webhook-id").unwrap_or_default();
            let timestamp = self.header("webhook-timestamp").unwrap_or_default();
            let verify = |tolerance_ms| {
                verify_standard(signing, id, timestamp, signature, body, now, tolerance_ms)
            };
            judged.push(("webhook-signature".to_owned(), told(verify, timestamp, now, tolerance)));
        }
        for name in ["Helicone-Signature", "X-Helicone-Signature"] {
            if let Some(signature) = self.header(name) {
                let verdict = verify_helicone(signing, signature, body);
                judged.push((name.to_owned(), verdict.map_err(|_| MISMATCH.to_owned())));
            }
        }
        judged
    }
}

const MISMATCH: &str = "no secret of the destination made it over this body, id and time";

/// A verdict in words. Of a signature that is too old it says whether it was right.
fn told(
    verify: impl Fn(u64) -> Result<(), VerifyError>,
    timestamp: &str,
    now: Timestamp,
    tolerance: Duration,
) -> Result<(), String> {
    let tolerance_ms = u64::try_from(tolerance.as_millis()).unwrap_or(u64::MAX);
    verify(tolerance_ms).map_err(|error| match error {
        VerifyError::Mismatch => MISMATCH.to_owned(),
        VerifyError::Timestamp => format!("its timestamp `{timestamp}` is no number of seconds"),
        VerifyError::Stale => {
            let secs: i64 = timestamp.parse().unwrap_or_default();
            let (apart, side) = match now.as_secs().saturating_sub(secs) {
                age @ 0.. => (age, "old"),
                ahead => (-ahead, "ahead of this machine's clock"),
            };
            let else_right = match verify(u64::MAX) {
                Ok(()) => "but for that it is right",
                Err(_) => MISMATCH,
            };
            format!(
                "it is {apart} s {side}, and security.timestamp_tolerance_ms is {tolerance_ms}; \
                 {else_right}"
            )
        }
    })
}
