//! What tokens cost.
//!
//! The user's own prices win, field by field; the bundled data of `genai-prices` fill in the rest.
//! A call's cost is tokens times rates, after the rule that `LiteLLM`'s payloads follow: what was
//! read from or written to a cache is taken out of the prompt and priced on its own, reasoning is
//! part of the answer. This module does not decide what counts as a token: `usage` does.
//!
//! Invariant: no estimate of a price. A model that neither the user nor the data know costs `None`.

mod catalog;

use domain::{
    deployment::DeploymentFacts,
    time::Timestamp,
    usage::{Cost, ModelPrice, Usage},
};

use catalog::Catalog;
pub use catalog::Tier;

/// Prices of models. Build it once and share it: the price data decode in tens of milliseconds.
#[derive(Debug)]
pub struct Prices {
    catalog: Catalog,
}

/// US dollars per token of each kind, and per call.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Rates {
    input: f64,
    output: f64,
    cache_read: f64,
    cache_write: f64,
    cache_write_1h: f64,
    reasoning: f64,
    call: f64,
}

impl Prices {
    /// Decodes the price data.
    pub fn new() -> Self {
        Self { catalog: Catalog::new() }
    }

    /// What the tokens cost at that time, in the provider's ordinary tier; `None` if the model has
    /// no known price, or prompt and answer were not both reported: half a cost would be wrong.
    pub fn cost(&self, facts: &DeploymentFacts, usage: &Usage, at: Timestamp) -> Option<Cost> {
        self.cost_in(None, facts, usage, at)
    }

    /// Like `cost`, in the tier that the provider says it served the call in.
    pub fn cost_in(
        &self,
        tier: Option<Tier>,
        facts: &DeploymentFacts,
        usage: &Usage,
        at: Timestamp,
    ) -> Option<Cost> {
        let (input_tokens, _) = usage.input_tokens.zip(usage.output_tokens)?;
        let rates = self.rates(facts, tier, input_tokens, at)?;
        Some(rates.cost(usage))
    }

    /// What one token of a short prompt costs at that time, or `None` if the model has no known
    /// price.
    pub fn per_token(&self, facts: &DeploymentFacts, at: Timestamp) -> Option<ModelPrice> {
        let rates = self.rates(facts, None, 0, at)?;
        // Both come rounded out of the same division, so equal rates are equal bits.
        let other = |rate: f64| (rate.to_bits() != rates.input.to_bits()).then_some(rate);
        Some(ModelPrice {
            input: rates.input,
            output: rates.output,
            cache_read: other(rates.cache_read),
            cache_write: other(rates.cache_write),
            context_window: self.catalog.context_window(&facts.provider, &facts.model, at),
        })
    }

    fn rates(
        &self,
        facts: &DeploymentFacts,
        tier: Option<Tier>,
        input_tokens: u64,
        at: Timestamp,
    ) -> Option<Rates> {
        let own = facts.prices.unwrap_or_default();
        let whole = own.input_cost_per_token.is_some() && own.output_cost_per_token.is_some();
        let known = if whole {
            None
        } else {
            self.catalog.rates(&facts.provider, &facts.model, tier, input_tokens, at)
        };
        if known.is_none()
            && own.input_cost_per_token.is_none()
            && own.output_cost_per_token.is_none()
        {
            return None;
        }
        let mut rates = known.unwrap_or_default();
        if let Some(input) = own.input_cost_per_token {
            rates.input = input;
            (rates.cache_read, rates.cache_write, rates.cache_write_1h) = (input, input, input);
        }
        if let Some(output) = own.output_cost_per_token {
            (rates.output, rates.reasoning) = (output, output);
        }
        rates.cache_read = own.cache_read_input_token_cost.unwrap_or(rates.cache_read);
        if let Some(write) = own.cache_creation_input_token_cost {
            (rates.cache_write, rates.cache_write_1h) = (write, write);
        }
        Some(rates)
    }
}

impl Default for Prices {
    fn default() -> Self {
        Self::new()
    }
}

impl Rates {
    /// Prices tokens. Parts that are larger than their whole count as the whole.
    fn cost(&self, usage: &Usage) -> Cost {
        let input_tokens = usage.input_tokens.unwrap_or_default();
        let output_tokens = usage.output_tokens.unwrap_or_default();
        let read = usage.cache_read_tokens.unwrap_or_default().min(input_tokens);
        let written = usage.cache_write_tokens.unwrap_or_default().min(input_tokens - read);
        let for_an_hour = usage.cache_write_1h_tokens.unwrap_or_default().min(written);
        let reasoned = usage.reasoning_tokens.unwrap_or_default().min(output_tokens);

        let cache_read = read as f64 * self.cache_read;
        let cache_write = (written - for_an_hour) as f64 * self.cache_write
            + for_an_hour as f64 * self.cache_write_1h;
        let reasoning = reasoned as f64 * self.reasoning;
        let input = (input_tokens - read - written) as f64 * self.input + cache_read + cache_write;
        let output = (output_tokens - reasoned) as f64 * self.output + reasoning;
        Cost {
            input,
            output,
            total: input + output + self.call,
            cache_read: usage.cache_read_tokens.map(|_| cache_read),
            cache_write: usage.cache_write_tokens.map(|_| cache_write),
            reasoning: usage.reasoning_tokens.map(|_| reasoning),
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::deployment::{CustomPrices, Dialect};

    use super::*;

    fn deployment(provider: &str, model: &str) -> DeploymentFacts {
        DeploymentFacts {
            id: "d1".into(),
            model_name: "public".into(),
            provider: provider.into(),
            model: model.into(),
            api_base: String::new(),
            dialect: Dialect::OpenAi,
            prices: None,
        }
    }

    fn tokens(input: u64, output: u64) -> Usage {
        Usage {
            input_tokens: Some(input),
            output_tokens: Some(output),
            total_tokens: Some(input + output),
            ..Usage::default()
        }
    }

    fn assert_close(seen: f64, wanted: f64) {
        assert!((seen - wanted).abs() < 1e-12, "{seen} is not {wanted}");
    }

    /// 2026-11-21T00:00:00Z.
    const NOW: Timestamp = Timestamp::from_millis(1_795_219_200_000);

    #[test]
    fn cached_and_reasoning_tokens_cost_what_litellm_says_they_cost() {
        let usage =
            Usage { cache_read_tokens: Some(8), reasoning_tokens: Some(3), ..tokens(19, 10) };
        let cost = Prices::new().cost(&deployment("openai", "gpt-4o"), &usage, NOW).unwrap();
        assert_close(cost.total, 1.375e-4);
        assert_close(cost.input, 3.75e-5);
        assert_close(cost.output, 1e-4);
        assert_close(cost.cache_read.unwrap(), 1e-5);
        assert_close(cost.reasoning.unwrap(), 3e-5);
        assert_eq!(cost.cache_write, None);
    }

    #[test]
    fn a_second_look_at_a_model_gives_the_same_cost() {
        let prices = Prices::new();
        let facts = deployment("openai", "gpt-4o");
        let first = prices.cost(&facts, &tokens(10, 20), NOW);
        assert!(first.is_some());
        assert_eq!(prices.cost(&facts, &tokens(10, 20), NOW), first);
    }

    #[test]
    fn a_long_prompt_is_priced_in_its_own_tier() {
        let prices = Prices::new();
        let facts = deployment("google", "gemini-2.5-pro");
        let short = prices.cost(&facts, &tokens(1_000, 0), NOW).unwrap();
        let long = prices.cost(&facts, &tokens(300_000, 0), NOW).unwrap();
        assert_close(short.input, 1_000.0 * 1.25e-6);
        assert_close(long.input, 300_000.0 * 2.5e-6);
    }

    #[test]
    fn a_model_that_nobody_knows_has_no_cost() {
        let prices = Prices::new();
        let facts = deployment("openai", "my-private-model");
        assert_eq!(prices.cost(&facts, &tokens(10, 20), NOW), None);
        assert_eq!(prices.per_token(&facts, NOW), None);
    }

    #[test]
    fn tokens_that_nobody_reported_have_no_cost() {
        let (prices, facts) = (Prices::new(), deployment("openai", "gpt-4o"));
        let half = Usage { output_tokens: None, total_tokens: None, ..tokens(10, 20) };
        assert_eq!(prices.cost(&facts, &Usage::default(), NOW), None);
        assert_eq!(prices.cost(&facts, &half, NOW), None);
    }

    #[test]
    fn the_users_own_prices_win() {
        let mut facts = deployment("openai", "gpt-4o");
        facts.prices = Some(CustomPrices {
            input_cost_per_token: Some(1.0),
            output_cost_per_token: Some(2.0),
            cache_read_input_token_cost: Some(0.5),
            cache_creation_input_token_cost: None,
        });
        let usage =
            Usage { cache_read_tokens: Some(4), cache_write_tokens: Some(1), ..tokens(10, 3) };
        let cost = Prices::new().cost(&facts, &usage, NOW).unwrap();
        assert_close(cost.input, 5.0 + 4.0 * 0.5 + 1.0);
        assert_close(cost.output, 6.0);
        assert_close(cost.total, 14.0);
    }

    #[test]
    fn a_single_price_of_the_user_leaves_the_others_to_the_data() {
        let mut facts = deployment("openai", "gpt-4o");
        facts.prices =
            Some(CustomPrices { input_cost_per_token: Some(1.0), ..CustomPrices::default() });
        let cost = Prices::new().cost(&facts, &tokens(1, 10), NOW).unwrap();
        assert_close(cost.input, 1.0);
        assert_close(cost.output, 1e-4);
    }

    #[test]
    fn writes_that_are_kept_for_an_hour_cost_more() {
        let prices = Prices::new();
        let facts = deployment("anthropic", "claude-sonnet-4-5");
        let short = Usage { cache_write_tokens: Some(1_000), ..tokens(1_000, 0) };
        let long = Usage { cache_write_1h_tokens: Some(1_000), ..short };
        assert_close(prices.cost(&facts, &short, NOW).unwrap().input, 3.75e-3);
        assert_close(prices.cost(&facts, &long, NOW).unwrap().input, 6e-3);
    }

    #[test]
    fn a_price_per_token_is_a_round_number_and_names_the_cache_price_where_it_differs() {
        let price = Prices::new().per_token(&deployment("openai", "gpt-4o"), NOW).unwrap();
        assert_eq!((price.input, price.output), (2.5e-6, 1e-5));
        assert_eq!((price.cache_read, price.cache_write), (Some(1.25e-6), None));
        assert_eq!(price.context_window, Some(128_000));
    }

    #[test]
    fn a_served_tier_has_its_own_price() {
        let prices = Prices::new();
        let facts = deployment("openai", "o3");
        let standard = prices.cost(&facts, &tokens(1_000, 0), NOW).unwrap();
        let flex = prices.cost_in(Some(Tier::Flex), &facts, &tokens(1_000, 0), NOW).unwrap();
        assert_close(flex.input * 2.0, standard.input);
    }
}
