//! LiteLLM's `general_settings.alerting`: of its channels the gateway has the webhook, which tells of
//! budgets.

use domain::{
    destination::{Destination, Format},
    event::EventType,
};

use crate::config::{
    located::Node,
    parts::{self, Entry, Headers, Rest},
    policy::Policy,
    section::{Field, Section},
    standby::{Draft, FailoverFor},
    variable::Variables,
};

/// The destination's name.
const NAME: &str = "alerting_webhook";
/// The variable that LiteLLM takes the webhook's URL from.
const URL_VARIABLE: &str = "WEBHOOK_URL";
/// LiteLLM's other channels.
const OTHERS: [&str; 3] = ["slack", "ms_teams", "email"];

/// The destination that `alerting` asks for, if it asks for one.
pub(crate) fn read(
    general: &Section<'_>,
    variables: &Variables,
    policy: &Policy,
    has_budgets: bool,
) -> Option<Draft> {
    let mut found = None;
    for item in general.get("alerting")?.item_or_items() {
        match item.text().as_deref() {
            Some("webhook") => found = Some(item),
            Some(other) if OTHERS.contains(&other) => item.warning(format!(
                "LiteLLM alerts by {other}; hookgate does not, so nothing is sent there"
            )),
            Some(_) => {
                item.choice(&[("webhook", ()), ("slack", ()), ("ms_teams", ()), ("email", ())]);
            }
            None => {}
        }
    }
    let field = found?;
    if !has_budgets {
        field.warning(
            "sends budget events, and there is no budget: set litellm_settings.max_budget, or \
             budgets",
        );
    }
    let destination = destination(&field, variables, policy)?;
    Some(Draft {
        name: NAME.to_owned(),
        at: field.node.at.clone(),
        path: field.path.clone(),
        destination: Some(destination),
        failover_for: FailoverFor::Nobody,
    })
}

fn destination(field: &Field<'_>, variables: &Variables, policy: &Policy) -> Option<Destination> {
    let Some(text) = variables.get(URL_VARIABLE) else {
        field.problem(format!(
            "environment variable {URL_VARIABLE} is not set; set it to where alerts should go"
        ));
        return None;
    };
    let (address, warning) = match parts::check_address(text, policy, !policy.block_private) {
        Ok(checked) => checked,
        Err(what) => {
            field.problem(format!("the URL in {URL_VARIABLE} {what}"));
            return None;
        }
    };
    if let Some(warning) = warning {
        field.warning(format!("the URL in {URL_VARIABLE} {warning}"));
    }
    // LiteLLM has no settings for it, so it is an entry that says nothing.
    let nothing = Node::nothing(&field.node.at.file);
    let section = Section::open(NAME, &nothing, field.report)?;
    let rest = Rest {
        name: NAME,
        address: Some(address),
        headers: Headers::default(),
        format: Format::LitellmAlert,
        event_types: vec![EventType::Budget],
        filters: Vec::new(),
        retry: policy.defaults.retry.clone(),
        timeout: None,
    };
    Some(Entry::read(&section, policy).into_destination(rest, &section, policy))
}
