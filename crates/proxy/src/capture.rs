//! A stream on its way to the caller: bytes go out as they come, a copy is kept, and the end goes
//! out only once the outcome is in the journal.
//!
//! Invariant: a stream that did not reach its end never looks as if it had: it ends with an error
//! event and a broken connection.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use domain::{
    call::Endpoint,
    exchange::Outcome,
    failure::{Failure, FailureKind},
};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use provider::stream::{CallerStream, error_event};
use store::journal::Commit;
use tokio::time::{Instant, timeout_at};

use crate::{
    forward::Source,
    reply::BodyError,
    seal::{OpenCall, interrupted},
    upstream::{connection_failure, failure},
};

/// A streamed answer's body. Dropping it, as happens when the caller leaves, cancels the request to
/// the provider and seals the call.
pub(crate) struct CaptureBody {
    ready: VecDeque<Bytes>,
    state: State,
}

enum State {
    Idle(Box<Running>),
    Busy(Stepping),
    /// All was sent.
    Ended,
    /// What is ready still goes out; then the connection breaks.
    Cut {
        flushed: bool,
    },
}

/// Gives the stream back if it goes on.
type Stepping = Pin<Box<dyn Future<Output = (Option<Box<Running>>, Step)> + Send>>;

struct Running {
    open: OpenCall,
    stream: Box<dyn CallerStream>,
    source: Source,
    first: Option<Vec<Bytes>>,
}

enum Step {
    /// These go out, and more will come.
    More(Vec<Bytes>),
    /// These are the last; the outcome is recorded.
    Last(Vec<Bytes>),
    /// These go out, and then the stream breaks.
    Cut(Vec<Bytes>),
}

impl CaptureBody {
    /// A stream whose first events have been read.
    pub(crate) fn new(
        open: OpenCall,
        stream: Box<dyn CallerStream>,
        source: Source,
        first: Vec<Bytes>,
    ) -> Self {
        let running = Box::new(Running { open, stream, source, first: Some(first) });
        Self { ready: VecDeque::new(), state: State::Idle(running) }
    }

    fn take(&mut self, running: Option<Box<Running>>, step: Step) {
        let (frames, state) = match (step, running) {
            (Step::More(frames), Some(running)) => (frames, State::Idle(running)),
            (Step::More(frames) | Step::Last(frames), _) => (frames, State::Ended),
            (Step::Cut(frames), _) => (frames, State::Cut { flushed: false }),
        };
        self.ready.extend(frames);
        self.state = state;
    }
}

impl Body for CaptureBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Cut { flushed: true } => {
                    return Poll::Ready(Some(Err(BodyError::Cut)));
                }
                State::Cut { flushed: false } => {
                    // An error breaks the connection at once, with what was not yet written. So
                    // the server first gets a turn to write the error event.
                    self.state = State::Cut { flushed: true };
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                State::Idle(running) => self.state = State::Busy(Box::pin(running.step())),
                State::Busy(mut step) => match step.as_mut().poll(cx) {
                    Poll::Ready((running, step)) => self.take(running, step),
                    Poll::Pending => {
                        self.state = State::Busy(step);
                        return Poll::Pending;
                    }
                },
            }
        }
    }
}

impl Running {
    async fn step(mut self: Box<Self>) -> (Option<Box<Self>>, Step) {
        let mut out = self.first.take().unwrap_or_default();
        loop {
            if self.open.pieces_wanted {
                let deltas = self.stream.take_deltas();
                self.open.stream_deltas(deltas);
            }
            if self.stream.is_complete() || matches!(self.source, Source::Ended) {
                return (None, self.finish(out).await);
            }
            if !out.is_empty() {
                return (Some(self), Step::More(out));
            }
            let pushed = match self.next().await {
                Ok(Some(bytes)) => {
                    self.open.captured(&bytes);
                    self.stream.push(bytes, &mut out)
                }
                Ok(None) => {
                    self.source = Source::Ended;
                    self.stream.finish(&mut out)
                }
                Err(failure) => Err(failure),
            };
            if let Err(failure) = pushed {
                return (None, self.fail(failure, out).await);
            }
        }
    }

    /// The next bytes from the provider; `None` at its end. While they are waited for, deltas that
    /// wait for the commit of those before them are recorded as soon as it is done.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let Self { open, source, .. } = self;
        let cut = open.gateway.cut.clone();
        let (body, silence_max) = match source {
            Source::Ended => return Ok(None),
            Source::Mock { chunks, failure } => {
                return match chunks.pop_front() {
                    Some(bytes) => Ok(Some(bytes)),
                    None => failure.take().map_or(Ok(None), Err),
                };
            }
            Source::Provider { body, silence_max } => (body, *silence_max),
        };
        let silent_at = Instant::now() + silence_max;
        loop {
            let frame = tokio::select! {
                biased;
                frame = timeout_at(silent_at, body.frame()) => frame,
                () = cut.cancelled() => {
                    return Err(interrupted("the gateway was stopped while the call ran"));
                }
                () = open.piece_committed(), if open.has_waiting_deltas() => {
                    open.stream_deltas(Vec::new());
                    continue;
                }
            };
            match frame {
                Ok(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Ok(Some(Err(error))) => return Err(cut_off(open.provider(), &error)),
                Ok(None) => return Ok(None),
                Err(_) => return Err(silent(open.provider(), silence_max)),
            }
        }
    }

    /// Seals the call as completed, then lets the end go out.
    async fn finish(mut self: Box<Self>, mut out: Vec<Bytes>) -> Step {
        let commit = self.open.seal(Outcome::Completed);
        match self.drain_while(commit).await {
            Ok(_) => Step::Last(out),
            Err(error) => {
                out.clear();
                out.push(error_event(self.open.call.endpoint, &unrecorded(&error)));
                Step::Cut(out)
            }
        }
    }

    /// Waits for the commit, and meanwhile reads the end of the provider's body, so that its
    /// connection can serve another call.
    async fn drain_while(
        &mut self,
        mut commit: Commit,
    ) -> Result<domain::record::Sequence, store::journal::AppendError> {
        if let Source::Provider { body, .. } = &mut self.source {
            loop {
                tokio::select! {
                    biased;
                    frame = body.frame() => match frame {
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => break,
                    },
                    sealed = &mut commit => return sealed,
                }
            }
        }
        commit.await
    }

    async fn fail(mut self: Box<Self>, failure: Failure, mut out: Vec<Bytes>) -> Step {
        let provider_said_so = failure.kind == FailureKind::StreamError && !out.is_empty();
        if !provider_said_so {
            out.push(error_event(self.open.call.endpoint, &failure));
        }
        // A failed response is an answer to OpenAI's SDKs: a connection that breaks after it would
        // be told as lost in its place.
        let has_ended = provider_said_so && self.open.call.endpoint == Endpoint::Responses;
        // The caller is told of a failure either way, so a commit that fails changes nothing for it.
        if let Err(error) = self.open.seal(Outcome::Failed(failure)).await {
            tracing::error!(call.id = %self.open.call.id, %error, "A failed call was not recorded.");
        }
        if has_ended { Step::Last(out) } else { Step::Cut(out) }
    }
}

fn cut_off(provider: &str, error: &hyper::Error) -> Failure {
    let cause = connection_failure(provider, error);
    let message = format!("the provider's stream ended before its end: {}", cause.message);
    failure(FailureKind::StreamCut, 502, message)
}

fn silent(provider: &str, limit: Duration) -> Failure {
    let message = format!("provider `{provider}` sent nothing for {limit:?} in its stream");
    failure(FailureKind::Timeout, 408, message)
}

/// The failure of a call whose outcome the journal did not take.
pub(crate) fn unrecorded(error: &store::journal::AppendError) -> Failure {
    tracing::error!(%error, "A call's outcome could not be recorded.");
    failure(
        FailureKind::Internal,
        503,
        format!("the call's outcome could not be recorded: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use domain::record::Record;
    use testkit::{Answer, Gate, Upstream};

    use super::*;
    use crate::{
        fakes::{self, Fate},
        service::run,
    };

    #[tokio::test]
    async fn what_came_during_a_piece_s_commit_is_recorded_when_that_is_done() {
        let second = Gate::new();
        let delta =
            |text| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
        let upstream = Upstream::start().await;
        upstream.push(Answer::sse([delta("a"), delta("b")]).pause_after(1, &second).stall_after(2));
        let is_piece = |record: &Record| matches!(record, Record::Captured(_));
        let journal = fakes::Journal::new(|record| match record {
            Record::Captured(_) => Fate::Hold,
            _ => Fate::Commit,
        });
        let config = fakes::config(vec![fakes::deployment(&upstream.openai_url())]);
        let gateway = fakes::gateway(config, journal.clone());
        let mut body = run(fakes::admitted(&gateway, true)).await.into_body();

        let piece = body.frame().await.expect("it goes on").expect("it is whole");
        assert!(piece.into_data().expect("it is text").ends_with(b"\n\n"));
        journal.wait_for(1, is_piece).await;
        second.open();
        body.frame().await.expect("it goes on").expect("it is whole");
        // The provider says no more, and the second piece is still to be recorded.
        let more = async {
            journal.release();
            journal.wait_for(2, is_piece).await;
        };
        let recorded = tokio::time::timeout(Duration::from_secs(20), async {
            tokio::select! {
                biased;
                _ = body.frame() => false,
                () = more => true,
            }
        });
        assert_eq!(recorded.await, Ok(true));
    }
}
