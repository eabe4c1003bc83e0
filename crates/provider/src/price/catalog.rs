//! Rates of models out of the bundled price data, remembered.
//!
//! `genai-prices` matches a model's name against rules on every calculation and hands out sums, not
//! rates. So this module asks it for the price of a probe and keeps the rate. Prices may change at
//! midnight or by the time of day, hence a rate is good for the minute that it was asked for.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
    time::{Duration, UNIX_EPOCH},
};

use domain::time::Timestamp;
use genai_prices::{Calculator, PriceCalculation, PriceRequest, Usage, UsageKey};

use super::Rates;

/// Models remembered at once; past it, all are forgotten and asked for again.
const MODELS_MAX: usize = 1_024;

/// The prompt of a probe: below the first price step of any known model (100,000 tokens).
const PROBE_TOKENS: u64 = 1_000;

/// Prompts up to this length use a remembered rate, if the probe's rate holds here too.
const SHORT_TOKENS: u64 = 32_000;

/// A prompt longer than any price step.
const LONG_TOKENS: u64 = 100_000_000;

/// A tier of service with prices of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Cheaper and slower.
    Flex,
    /// Dearer and faster.
    Priority,
    /// Dearer and faster still.
    Fast,
}

impl Tier {
    /// From the text of an answer's `service_tier`; `None` for the ordinary tier.
    pub fn from_text(text: &str) -> Option<Self> {
        match text {
            "flex" => Some(Self::Flex),
            "priority" => Some(Self::Priority),
            "fast" => Some(Self::Fast),
            _ => None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Priority => "priority",
            Self::Fast => "fast",
        }
    }
}

pub(super) struct Catalog {
    calculator: &'static Calculator,
    known: RwLock<HashMap<Box<str>, Vec<Known>>>,
}

/// What was found out about a model at one provider in one tier.
#[derive(Debug, Clone)]
struct Known {
    provider: Box<str>,
    tier: Option<Tier>,
    minute: i64,
    /// `None` if the data do not know the model.
    found: Option<Found>,
}

#[derive(Debug, Clone, Copy)]
struct Found {
    rates: Rates,
    /// The rates hold for prompts up to this length.
    input_tokens_max: u64,
    context_window: Option<u64>,
}

impl Catalog {
    pub(super) fn new() -> Self {
        Self { calculator: Calculator::bundled(), known: RwLock::default() }
    }

    pub(super) fn rates(
        &self,
        provider: &str,
        model: &str,
        tier: Option<Tier>,
        input_tokens: u64,
        at: Timestamp,
    ) -> Option<Rates> {
        let found = self.look_up(provider, model, tier, at)?;
        if input_tokens <= found.input_tokens_max {
            return Some(found.rates);
        }
        let probe = Probe { calculator: self.calculator, provider, model, tier, at };
        probe.rates(input_tokens).map(|(rates, _)| rates)
    }

    pub(super) fn context_window(&self, provider: &str, model: &str, at: Timestamp) -> Option<u64> {
        self.look_up(provider, model, None, at)?.context_window
    }

    fn look_up(
        &self,
        provider: &str,
        model: &str,
        tier: Option<Tier>,
        at: Timestamp,
    ) -> Option<Found> {
        let minute = at.as_secs().div_euclid(60);
        let is_same = |known: &Known| known.tier == tier && *known.provider == *provider;
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            let entry = known.get(model).and_then(|entries| entries.iter().find(|k| is_same(k)));
            if let Some(entry) = entry.filter(|entry| entry.minute == minute) {
                return entry.found;
            }
        }
        let found = Probe { calculator: self.calculator, provider, model, tier, at }.found();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MODELS_MAX && !known.contains_key(model) {
            known.clear();
        }
        let entries = known.entry(model.into()).or_default();
        entries.retain(|entry| !is_same(entry));
        entries.push(Known { provider: provider.into(), tier, minute, found });
        found
    }
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").finish_non_exhaustive()
    }
}

/// One model's prices, asked for at one time.
struct Probe<'a> {
    calculator: &'static Calculator,
    provider: &'a str,
    model: &'a str,
    tier: Option<Tier>,
    at: Timestamp,
}

impl Probe<'_> {
    fn found(&self) -> Option<Found> {
        let (rates, matched) = self.rates(PROBE_TOKENS)?;
        let holds_at = |tokens| self.rates(tokens).is_some_and(|(other, _)| other == rates);
        let input_tokens_max = if !holds_at(SHORT_TOKENS) {
            0
        } else if holds_at(LONG_TOKENS) {
            u64::MAX
        } else {
            SHORT_TOKENS
        };
        Some(Found { rates, input_tokens_max, context_window: self.context_window(&matched) })
    }

    /// The rates for a prompt of that length, and what the name was taken for.
    fn rates(&self, input_tokens: u64) -> Option<(Rates, PriceCalculation)> {
        let count = input_tokens.max(1) as f64;
        let call = self.ask(&[])?.total_price;
        let plain =
            self.ask(&[(UsageKey::INPUT_TOKENS, count), (UsageKey::OUTPUT_TOKENS, count)])?;
        let of_input = |part: UsageKey| {
            let priced = self.ask(&[(UsageKey::INPUT_TOKENS, count), (part, count)]);
            priced.map_or(plain.input_price, |priced| priced.input_price)
        };
        let read = of_input(UsageKey::CACHE_READ_TOKENS);
        let written = of_input(UsageKey::CACHE_WRITE_TOKENS);
        let written_1h = self
            .ask(&[
                (UsageKey::INPUT_TOKENS, count),
                (UsageKey::CACHE_WRITE_TOKENS, count),
                (UsageKey::CACHE_WRITE_1H_TOKENS, count),
            ])
            .map_or(written, |priced| priced.input_price);
        let reasoned = self
            .ask(&[
                (UsageKey::INPUT_TOKENS, count),
                (UsageKey::OUTPUT_TOKENS, count),
                (UsageKey::OUTPUT_REASONING_TOKENS, count),
            ])
            .map_or(plain.output_price, |priced| priced.output_price);
        let rates = Rates {
            input: rounded(plain.input_price / count),
            output: rounded(plain.output_price / count),
            cache_read: rounded(read / count),
            cache_write: rounded(written / count),
            cache_write_1h: rounded(written_1h / count),
            reasoning: rounded(reasoned / count),
            call: rounded(call),
        };
        Some((rates, plain))
    }

    fn ask(&self, tokens: &[(UsageKey, f64)]) -> Option<PriceCalculation> {
        let mut usage = Usage::new();
        for (key, count) in tokens {
            usage.insert(key.clone(), *count);
        }
        let since_epoch = Duration::from_nanos(self.at.as_nanos().max(0).cast_unsigned());
        let mut request = PriceRequest::new(self.model, &usage)
            .with_provider_id(price_provider(self.provider))
            .with_timestamp(UNIX_EPOCH + since_epoch);
        if let Some(tier) = self.tier {
            request = request.with_price_context("service_tier", tier.as_str());
        }
        self.calculator.calculate(&request).ok()
    }

    fn context_window(&self, matched: &PriceCalculation) -> Option<u64> {
        let by_id = |id: &str| self.calculator.find_provider(Some(id), None).ok().flatten();
        let provider = by_id(&matched.provider_id)?;
        provider.models().find(|model| model.id() == matched.model_id)?.context_window()
    }
}

/// The price data's name for a provider, where their rules do not know `LiteLLM`'s prefix.
fn price_provider(prefix: &str) -> &str {
    match prefix {
        "fireworks_ai" => "fireworks",
        "azure_ai" => "azure",
        "codestral" => "mistral",
        other => other,
    }
}

/// Without the last digits, which are noise of the division: 2.5e-6 and not 2.4999999999999998e-6.
fn rounded(rate: f64) -> f64 {
    format!("{rate:.12e}").parse().unwrap_or(rate)
}
