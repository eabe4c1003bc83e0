//! Receivers, and their moods.

use std::time::Duration;

use domain::time::Timestamp;
use webhook::verdict::{Answer, Phase, SendErrorKind};

/// How long the guarded client listens to an answer's body, at most. By then it has the status.
const BODY_TIME: Duration = Duration::from_secs(5);

/// How a receiver behaves for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It takes what comes, within some milliseconds.
    Well,
    /// It takes what comes, within seconds; sometimes too late.
    Slow,
    /// It answers this status.
    Failing(u16),
    /// So many of a hundred fail.
    Flaky(u8),
    /// It asks to be left alone for so many seconds.
    Busy {
        /// The seconds.
        secs: u32,
        /// Whether it says so as a date.
        as_date: bool,
    },
    /// It breaks connections, sometimes after it has taken what came.
    Resetting,
    /// It never answers, and has sometimes taken what came.
    Hanging,
    /// It says 200 at once, and then a byte a second until nobody listens any more.
    Dripping,
    /// Nobody listens.
    Away,
    /// 410.
    Gone,
    /// It takes what comes, and says that it wants no more.
    WantsNoMore,
    /// It takes so many events at once, and no more (413).
    Small(usize),
}

/// What a receiver never takes: of every so many events one.
#[derive(Debug, Clone, Copy)]
pub struct Refusal {
    /// One of so many.
    pub one_of: u64,
    /// What it answers to them.
    pub status: u16,
    /// Whether it asks not to get them again.
    pub aborts: bool,
}

/// How long a receiver asks to be left alone.
#[derive(Debug, Clone, Copy)]
pub enum Asked {
    /// For so long.
    For(Duration),
    /// Until then.
    Until(Timestamp),
}

/// What a receiver does with one request.
#[derive(Debug, Clone)]
pub struct Plan {
    /// When it has the request, from the beginning of the attempt.
    pub arrives: Duration,
    /// When the attempt is over.
    pub ends: Duration,
    /// Whether it takes what came.
    pub takes: bool,
    /// What the sender sees.
    pub answer: Result<Answer, SendErrorKind>,
    /// How long it asks to be left alone.
    pub asked: Option<Asked>,
}

/// A receiver.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// Moods, each from a time on.
    pub moods: Vec<(Duration, Mood)>,
    /// What it never takes.
    pub refuses: Option<Refusal>,
    /// Whether it takes everything once it recovers. Where order is strict, two in a row that are
    /// never taken look like an outage, and hold the lane up until somebody looks.
    pub relents: bool,
    /// For its choices.
    pub dice: fastrand::Rng,
}

impl Receiver {
    /// One that is always well.
    pub fn well(seed: u64) -> Self {
        Self {
            moods: Vec::new(),
            refuses: None,
            relents: false,
            dice: fastrand::Rng::with_seed(seed),
        }
    }

    /// Its mood.
    pub fn mood(&self, at: Duration) -> Mood {
        let begun = self.moods.iter().take_while(|(from, _)| *from <= at);
        begun.last().map_or(Mood::Well, |(_, mood)| *mood)
    }

    /// It is well from now on; what it never takes it still does not, unless it relents.
    pub fn recover(&mut self) {
        self.moods.clear();
        if self.relents {
            self.refuses = None;
        }
    }

    /// What it does with a request.
    pub fn plan(&mut self, at: Duration, wall: Timestamp, events: &[&str]) -> Plan {
        let mood = self.mood(at);
        let refuses = self.refuses.filter(|refusal| {
            events.iter().any(|event| hash(event).is_multiple_of(refusal.one_of))
        });
        if let Some(refusal) = refuses
            && matches!(mood, Mood::Well | Mood::Slow | Mood::Small(_) | Mood::Flaky(_))
        {
            let control = refusal.aborts.then(|| "abort-message".to_owned());
            return self.answer(Answer { control, ..status(refusal.status) });
        }
        self.plan_by_mood(mood, wall, events.len())
    }

    fn plan_by_mood(&mut self, mood: Mood, wall: Timestamp, events: usize) -> Plan {
        match mood {
            Mood::Well => self.answer(status(200)),
            Mood::Slow => {
                let plan = self.answer(status(200));
                let ends = plan.arrives + Duration::from_millis(self.dice.u64(500..15_000));
                Plan { ends, ..plan }
            }
            Mood::Failing(code) => self.answer(status(code)),
            Mood::Flaky(percent) => {
                let code = if self.dice.u8(0..100) < percent { 503 } else { 200 };
                self.answer(status(code))
            }
            Mood::Busy { secs, as_date } => {
                let secs = Duration::from_secs(secs.into());
                let (text, asked) = if as_date {
                    // A date has no fractions of a second.
                    let until = Timestamp::from_millis(wall.plus(secs).as_secs() * 1_000);
                    (http_date(until), Asked::Until(until))
                } else {
                    (secs.as_secs().to_string(), Asked::For(secs))
                };
                let code = if self.dice.bool() { 429 } else { 503 };
                let answer = Answer { retry_after: Some(text), ..status(code) };
                Plan { asked: Some(asked), ..self.answer(answer) }
            }
            Mood::Resetting => self.broken(SendErrorKind::Reset),
            Mood::Hanging => {
                let plan = self.broken(SendErrorKind::Timeout(Phase::Answer));
                Plan { ends: Duration::MAX, ..plan }
            }
            Mood::Dripping => {
                let plan = self.answer(status(200));
                Plan { ends: plan.arrives + BODY_TIME, ..plan }
            }
            Mood::Away => Plan { takes: false, ..self.broken(SendErrorKind::Connect) },
            Mood::Gone => self.answer(status(410)),
            Mood::WantsNoMore => {
                let control = Some("disable".to_owned());
                self.answer(Answer { control, ..status(200) })
            }
            Mood::Small(most) => {
                let code = if events > most { 413 } else { 200 };
                self.answer(status(code))
            }
        }
    }

    fn answer(&mut self, answer: Answer) -> Plan {
        let arrives = Duration::from_millis(self.dice.u64(1..20));
        let ends = arrives + Duration::from_millis(self.dice.u64(0..20));
        let takes = (200..300).contains(&answer.status);
        Plan { arrives, ends, takes, answer: Ok(answer), asked: None }
    }

    fn broken(&mut self, kind: SendErrorKind) -> Plan {
        let takes = self.dice.bool();
        Plan { takes, answer: Err(kind), ..self.answer(status(0)) }
    }
}

fn status(status: u16) -> Answer {
    Answer { status, ..Answer::default() }
}

/// The same in every run and on every machine.
pub(crate) fn hash(text: &str) -> u64 {
    // FNV-1a.
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// RFC 9110's preferred form.
fn http_date(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_second(at.as_secs()).unwrap_or_default();
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
