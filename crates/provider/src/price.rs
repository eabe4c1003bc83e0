//! What tokens cost.

use domain::{
    deployment::DeploymentFacts,
    time::Timestamp,
    usage::{Cost, ModelPrice, Usage},
};

/// Prices of models. Build it once and share it: the price data decode in tens of milliseconds.
#[derive(Debug)]
pub struct Prices {}

impl Prices {
    /// Decodes the price data.
    pub fn new() -> Self {
        unimplemented!()
    }

    /// What the tokens cost at that time, or `None` if the model has no known price.
    pub fn cost(&self, _facts: &DeploymentFacts, _usage: &Usage, _at: Timestamp) -> Option<Cost> {
        unimplemented!()
    }

    /// What one token costs at that time, or `None` if the model has no known price.
    pub fn per_token(&self, _facts: &DeploymentFacts, _at: Timestamp) -> Option<ModelPrice> {
        unimplemented!()
    }
}
