//! The receivers: accept every POST, and note which call's event came when.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::Result;
use memchr::memmem;

use crate::{
    server::{self, Answer},
    wire,
};

/// What one destination has got, and where it lies.
#[derive(Debug, Clone)]
pub(crate) struct Inbox {
    pub(crate) url: String,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
}

/// One item of a POST.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// The id of the call that it is about.
    pub(crate) call: u128,
    /// When its POST had been read.
    pub(crate) at: Instant,
}

impl Inbox {
    /// Starts a receiver on a thread of its own.
    pub(crate) fn start() -> Result<Self> {
        let arrivals = Arc::<Mutex<Vec<Arrival>>>::default();
        let kept = arrivals.clone();
        let address: SocketAddr = server::start(move || {
            let accepted = Answer::whole(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec());
            move |head, body| {
                let at = Instant::now();
                let mut kept = kept.lock().expect("nobody panics with it");
                kept.extend(calls(head, body).map(|call| Arrival { call, at }));
                accepted.clone()
            }
        })?;
        Ok(Self { url: format!("http://{address}/events"), arrivals })
    }

    /// Takes everything out.
    pub(crate) fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut self.arrivals.lock().expect("nobody panics with it"))
    }

    /// Waits until `count` items are in, or nothing has come for `patience`.
    pub(crate) async fn wait_for(&self, count: usize, patience: Duration) {
        let mut seen = (0, Instant::now());
        loop {
            let here = self.arrivals.lock().expect("nobody panics with it").len();
            if here >= count || (here == seen.0 && seen.1.elapsed() > patience) {
                return;
            }
            if here > seen.0 {
                seen = (here, Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The calls that a POST is about: by LiteLLM's field in each item, or, without one, by the
/// `webhook-id` of a single event (`evt_<call>_<type>`).
fn calls(head: &[u8], body: &[u8]) -> impl Iterator<Item = u128> {
    const FIELD: &[u8] = b"\"litellm_call_id\"";
    let mut calls: Vec<u128> = memmem::find_iter(body, FIELD)
        .filter_map(|at| {
            let value = &body[at + FIELD.len()..];
            let start = value.iter().position(u8::is_ascii_hexdigit)?;
            wire::hex_id(&value[start..])
        })
        .collect();
    // An item may name its call at more than one place.
    calls.dedup();
    if calls.is_empty() {
        let id = wire::header(head, "webhook-id").and_then(|id| id.strip_prefix(b"evt_"));
        calls.extend(id.and_then(wire::hex_id));
    }
    calls.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_from_batches_and_from_single_events() {
        let id = |last: u8| format!("0198f00d-cafe-7abc-8def-0123456789a{last}");
        let batch = format!(
            r#"[{{"litellm_call_id":"{0}","m":{{"litellm_call_id":"{0}"}}}},{{"litellm_call_id": "{1}"}}]"#,
            id(1),
            id(2)
        );
        let found: Vec<u128> = calls(b"", batch.as_bytes()).collect();
        assert_eq!(found.len(), 2);
        let head =
            format!("POST / HTTP/1.1\r\nWebhook-Id: evt_{}_error\r\n\r\n", id(1).replace('-', ""));
        assert_eq!(calls(head.as_bytes(), b"{}").collect::<Vec<_>>(), found[..1]);
    }
}
