//! The network between lanes and receivers, in place of the guarded client.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use delivery::send::{SendLimits, Sent, Transport};
use domain::{delivery::Timings, time::Clock as _};
use store::journal::BoxFuture;
use webhook::{
    request::Request,
    verdict::{Phase, SendError, SendErrorKind},
};

use crate::{
    clock::SimClock,
    engine::lock,
    mutation::Mutation,
    oracle::Oracle,
    process::Process,
    receiver::{Plan, Receiver},
};

/// All receivers, by host.
pub type Receivers = Arc<Mutex<BTreeMap<String, Receiver>>>;

/// The network as one life of the gateway sees it.
#[derive(Clone)]
pub struct Network {
    /// Who is there.
    pub receivers: Receivers,
    /// Who looks at what is sent.
    pub oracle: Arc<Oracle>,
    /// The life.
    pub process: Arc<Process>,
    /// The time.
    pub clock: Arc<SimClock>,
    /// What is wrong with it on purpose.
    pub mutation: Option<Mutation>,
    /// Pieces of streams that one mistake holds back.
    pub held: Arc<Mutex<Vec<Request>>>,
}

impl Transport for Network {
    fn send<'a>(&'a self, request: Request, limits: SendLimits<'a>) -> BoxFuture<'a, Sent> {
        let timeout = limits.timeout;
        let request = Mutation::request(self.mutation, request);
        let is_piece = is_piece(&request);
        Box::pin(async move {
            match self.mutation {
                Some(Mutation::SendsTwice) if !is_piece => {
                    let twice = request.clone();
                    let both = async {
                        tokio::join!(self.attempt(request, timeout), self.attempt(twice, timeout))
                    };
                    both.await.0
                }
                Some(Mutation::SendsOnceMore) if !is_piece => {
                    let again = request.clone();
                    let sent = self.attempt(request, timeout).await;
                    if sent.answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                        return self.attempt(again, timeout).await;
                    }
                    sent
                }
                Some(Mutation::HoldsPieces) => self.hold(request, timeout).await,
                _ => self.attempt(request, timeout).await,
            }
        })
    }
}

impl Network {
    /// Says at once that a piece was sent, and sends it beside the next attempt.
    async fn hold(&self, request: Request, timeout: Duration) -> Sent {
        let held = std::mem::take(&mut *lock(&self.held));
        if is_piece(&request) {
            lock(&self.held).push(request);
            let answer = Ok(webhook::verdict::Answer { status: 200, ..Default::default() });
            let (duration, timings) = (Duration::ZERO, Timings::default());
            return Sent { duration, timings, address: None, answer };
        }
        let late = async {
            for piece in held {
                self.attempt(piece, timeout).await;
            }
        };
        tokio::join!(self.attempt(request, timeout), late).0
    }

    async fn attempt(&self, request: Request, timeout: Duration) -> Sent {
        self.process.step().await;
        let (host, body) = (host(&request.url), request.body.to_bytes());
        let events = events(&body);
        let id = request.header("webhook-id").unwrap_or_default();
        let flight = self.oracle.begins(host, id, &events, &body);
        let plan = self.plan(host, &events, timeout);
        tokio::time::sleep(plan.arrives).await;
        self.process.step().await;
        self.oracle.arrives(&flight, plan.takes);
        tokio::time::sleep(plan.ends.saturating_sub(plan.arrives)).await;
        // What was decided in this moment, before anybody knew of this end, leaves before it.
        tokio::task::yield_now().await;
        self.process.step().await;
        self.oracle.ends(flight, &plan);
        let answer = plan.answer.map_err(|kind| SendError { kind, message: format!("{kind:?}") });
        let answer = Mutation::answer(self.mutation, answer);
        Sent { duration: plan.ends, timings: Timings::default(), address: None, answer }
    }

    fn plan(&self, host: &str, events: &[&str], timeout: Duration) -> Plan {
        let mut receivers = lock(&self.receivers);
        let Some(receiver) = receivers.get_mut(host) else {
            let answer = Err(SendErrorKind::Dns);
            let (arrives, ends) = (Duration::ZERO, Duration::ZERO);
            return Plan { arrives, ends, takes: false, answer, asked: None };
        };
        let plan = receiver.plan(self.clock.elapsed(), self.clock.now(), events);
        if plan.ends < timeout {
            return plan;
        }
        let takes = plan.takes && plan.arrives < timeout;
        let answer = Err(SendErrorKind::Timeout(Phase::Answer));
        let arrives = plan.arrives.min(timeout);
        Plan { arrives, ends: timeout, takes, answer, asked: None }
    }
}

/// Whether it carries tokens of a running stream.
fn is_piece(request: &Request) -> bool {
    request.header("webhook-id").is_some_and(|id| id.contains("_streaming_"))
}

/// The host of `https://host/…`.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// The ids of the events in a body of the formats that worlds use.
pub(crate) fn events(body: &[u8]) -> Vec<&str> {
    const NAME: &str = "\"event_id\":\"";
    let text = std::str::from_utf8(body).unwrap_or_default();
    let found = text.match_indices(NAME).map(|(at, _)| &text[at + NAME.len()..]);
    found.filter_map(|rest| rest.split('"').next()).collect()
}
