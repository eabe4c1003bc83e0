//! The deployments that a model's name stands for.

use std::{collections::HashMap, sync::Arc};

use crate::{
    config::Deployment,
    route::Group,
    wildcard::{Wildcard, fill},
};

/// Deployments by the model names that callers use.
pub(crate) struct Models {
    named: HashMap<String, Tiers>,
    /// The more specific first.
    wildcards: Vec<(Wildcard, Tiers)>,
}

/// The deployments of one name by their `order`: the next tier is asked once the one before failed.
type Tiers = Vec<Arc<Group>>;

impl Models {
    pub(crate) fn new(deployments: &[Deployment]) -> Self {
        let mut all: HashMap<&str, Vec<&Deployment>> = HashMap::new();
        for deployment in deployments {
            all.entry(&deployment.facts.model_name).or_default().push(deployment);
        }
        let (mut named, mut wildcards) = (HashMap::new(), Vec::new());
        for (name, deployments) in all {
            let tiers = tiers(name, &deployments);
            match Wildcard::of(name) {
                Some(wildcard) => wildcards.push((wildcard, tiers)),
                None => drop(named.insert(name.to_owned(), tiers)),
            }
        }
        wildcards.sort_by_key(|(wildcard, _)| std::cmp::Reverse(wildcard.specificity()));
        Self { named, wildcards }
    }

    /// The deployments of a name; none if nothing has it. A wildcard's are told which model they
    /// are asked for.
    pub(crate) fn find(&self, name: &str) -> Tiers {
        if let Some(tiers) = self.named.get(name) {
            return tiers.clone();
        }
        let matching = |(wildcard, tiers): &(Wildcard, Tiers)| {
            let stars = wildcard.stars(name)?;
            let named =
                |group: &Arc<Group>| Arc::new(group.named(name, |model| fill(model, &stars, name)));
            Some(tiers.iter().map(named).collect())
        };
        self.wildcards.iter().find_map(matching).unwrap_or_default()
    }
}

/// Those without an `order` come last.
fn tiers(name: &str, deployments: &[&Deployment]) -> Tiers {
    let order = |deployment: &&Deployment| deployment.order.unwrap_or(u32::MAX);
    let mut sorted = deployments.to_vec();
    sorted.sort_by_key(order);
    let tiers = sorted.chunk_by(|one, other| order(one) == order(other));
    tiers.map(|tier| Arc::new(Group::new(name, tier))).collect()
}
