//! `error_str` and `error_information`, in the names of LiteLLM's exceptions.

use domain::{
    call::Caller,
    deployment::Dialect,
    failure::{Failure, FailureKind, LimitKind, LimitReached},
};

use super::{Told, hidden::header, post::Post};
use crate::format::json::{Json, Null};

/// What LiteLLM says of a caller who leaves a stream.
const LEFT: &str = "Client disconnected the request";

pub(super) fn write(json: &mut Json, post: &Post<'_>) {
    match post.told {
        Told::Success => {
            json.field("error_str", Null);
            json.name("error_information");
            json.open();
            for name in ["error_code", "error_class", "llm_provider", "traceback", "error_message"]
            {
                json.field(name, "");
            }
            json.nulls(&["error_provider_request_id"]);
            json.nulls(&LIMIT_KEYS);
            json.nulls(&["error_cooldown_deployments", "normalized_error"]);
            json.close();
        }
        Told::Left => {
            json.field("error_str", LEFT);
            json.name("error_information");
            json.open();
            json.field("error_code", "499");
            json.field("error_class", "ClientDisconnected");
            json.field("error_message", LEFT);
            json.close();
        }
        Told::Failure(failure) => write_failure(json, post, failure),
    }
}

fn write_failure(json: &mut Json, post: &Post<'_>, failure: &Failure) {
    let is_mock = post.attempt.is_some_and(|a| a.deployment.dialect == Dialect::Mock);
    let class = class(failure, is_mock);
    let message = message(post, failure, class);
    json.field("error_str", message.as_str());
    json.name("error_information");
    json.open();
    // LiteLLM tells the provider's own code where it has one, but only of refused requests.
    let is_refusal = matches!(failure.kind, FailureKind::BadRequest | FailureKind::ContentFilter);
    let own_code = failure.code.as_deref().filter(|_| is_refusal && !is_mock);
    let status = status(failure).to_string();
    json.field("error_code", own_code.unwrap_or(&status));
    json.field("error_class", class);
    let provider = post.attempt.map_or("", |attempt| &attempt.deployment.provider);
    json.field("llm_provider", provider);
    json.field("traceback", "");
    json.field("error_message", message.as_str());
    let request_id = post
        .attempt
        .and_then(|attempt| header(attempt, "x-request-id").or(header(attempt, "request-id")));
    json.field("error_provider_request_id", request_id);
    write_limit(json, post, failure);
    json.field("error_cooldown_deployments", Null);
    json.field("normalized_error", normalized(failure, class, &message));
    json.close();
}

/// Which limit was reached, and by whom.
const LIMIT_KEYS: [&str; 6] = [
    "error_rate_limit_category",
    "error_rate_limit_type",
    "error_budget_entity_type",
    "error_budget_entity_id",
    "error_budget_limit",
    "error_budget_spend",
];

fn write_limit(json: &mut Json, post: &Post<'_>, failure: &Failure) {
    let is_limit = matches!(failure.kind, FailureKind::RateLimit | FailureKind::BudgetExceeded);
    let is_vendors = failure.limit.is_none() && post.attempt.is_some();
    let category = is_limit.then_some(match (failure.kind, is_vendors) {
        (FailureKind::RateLimit, true) => "vendor_rate_limit",
        _ => "litellm_rate_limit",
    });
    let Some(limit) = failure.limit.as_deref().filter(|_| is_limit) else {
        json.field("error_rate_limit_category", category);
        return json.nulls(&LIMIT_KEYS[1..]);
    };
    let kind = match limit.kind {
        LimitKind::Rpm => Some("requests"),
        LimitKind::Tpm => Some("tokens"),
        LimitKind::Parallel => Some("concurrent_requests"),
        LimitKind::Budget => Some("budget"),
        LimitKind::Provider => None,
    };
    let budget = (limit.kind == LimitKind::Budget).then_some(limit);
    json.field("error_rate_limit_category", category);
    json.field("error_rate_limit_type", kind);
    json.field("error_budget_entity_type", budget.map(entity_type));
    json.field("error_budget_entity_id", budget.and_then(|limit| entity_id(post, limit)));
    json.field("error_budget_limit", budget.map(|limit| limit.limit));
    json.field("error_budget_spend", budget.map(|limit| limit.limit - limit.remaining));
}

/// What LiteLLM calls whose budget it is.
fn entity_type(limit: &LimitReached) -> &str {
    match limit.scope.as_str() {
        "gateway" => "proxy",
        scope => scope,
    }
}

/// Whose budget it is; LiteLLM knows keys by their hashes.
fn entity_id<'a>(post: &Post<'a>, limit: &'a LimitReached) -> Option<&'a str> {
    match (limit.scope.as_str(), &post.call.caller) {
        ("key", Caller::Key { hash, .. }) => Some(hash),
        ("end_user" | "tag", _) => Some(&limit.matched),
        _ => None,
    }
}

/// The status that LiteLLM has for a failure, where it is not the one that our caller got: its
/// exceptions for broken connections and answers are 500s, and every time-out is a 408.
const fn status(failure: &Failure) -> u16 {
    match failure.kind {
        FailureKind::Connection | FailureKind::BadResponse | FailureKind::StreamCut => 500,
        FailureKind::Timeout => 408,
        FailureKind::ProviderError if failure.status != 503 => 500,
        _ => failure.status,
    }
}

/// LiteLLM's exception for a failure. Those that it has none for keep a name of their own.
fn class(failure: &Failure, is_mock: bool) -> &'static str {
    match failure.kind {
        FailureKind::RateLimit => "RateLimitError",
        // A mocked refusal is a plain one there.
        FailureKind::ContentFilter if is_mock => "BadRequestError",
        FailureKind::ContentFilter => "ContentPolicyViolationError",
        FailureKind::ContextWindowExceeded => "ContextWindowExceededError",
        FailureKind::BadRequest if failure.status == 422 => "UnprocessableEntityError",
        FailureKind::BadRequest => "BadRequestError",
        FailureKind::Authentication if failure.status == 403 => "PermissionDeniedError",
        FailureKind::Authentication => "AuthenticationError",
        FailureKind::NotFound => "NotFoundError",
        FailureKind::Timeout => "Timeout",
        FailureKind::ProviderError if failure.status == 503 => "ServiceUnavailableError",
        FailureKind::ProviderError | FailureKind::Connection | FailureKind::Internal => {
            "InternalServerError"
        }
        FailureKind::BadResponse | FailureKind::StreamCut | FailureKind::StreamError => "APIError",
        FailureKind::UnknownModel => "ProxyModelNotFoundError",
        FailureKind::BudgetExceeded => "BudgetExceededError",
        FailureKind::InvalidRequest if failure.param.is_some() => "ProxyMissingRequiredParamError",
        FailureKind::InvalidRequest
        | FailureKind::Unauthorized
        | FailureKind::ModelDenied
        | FailureKind::Overloaded => "ProxyException",
        FailureKind::ClientDisconnected => "ClientDisconnected",
        FailureKind::Interrupted => "Interrupted",
    }
}

/// The message under LiteLLM's prefix, by which its documentation tells apart whose error it is:
/// the class, and once more with the provider's client where a provider was asked.
fn message(post: &Post<'_>, failure: &Failure, class: &str) -> String {
    let is_gateways = matches!(
        failure.kind,
        FailureKind::UnknownModel
            | FailureKind::InvalidRequest
            | FailureKind::ModelDenied
            | FailureKind::BudgetExceeded
            | FailureKind::Unauthorized
            | FailureKind::Overloaded
            | FailureKind::Interrupted
            | FailureKind::ClientDisconnected
    );
    let said = &failure.message;
    if is_gateways || said.starts_with("litellm.") {
        return said.clone();
    }
    let asked = post.attempt.filter(|a| a.deployment.dialect != Dialect::Mock);
    let Some(deployment) = asked.map(|attempt| &attempt.deployment) else {
        return format!("litellm.{class}: {said}");
    };
    let client = match deployment.provider.as_str() {
        "openai" => "OpenAI".to_owned(),
        other => {
            let mut letters = other.chars();
            letters.next().map(|c| c.to_uppercase().chain(letters).collect()).unwrap_or_default()
        }
    };
    let again = match failure.kind {
        FailureKind::Timeout | FailureKind::StreamCut => return format!("litellm.{class}: {said}"),
        _ if deployment.dialect == Dialect::Anthropic => String::new(),
        FailureKind::BadRequest => String::new(),
        FailureKind::ContextWindowExceeded => format!("litellm.BadRequestError: {class}: "),
        FailureKind::ContentFilter => {
            return format!(
                "litellm.BadRequestError: litellm.{class}: {class}: {client}Exception - {said}"
            );
        }
        _ => format!("{class}: "),
    };
    format!("litellm.{class}: {again}{client}Exception - {said}")
}

/// LiteLLM's code for failures of a kind, whoever caused them: first by who refused, then by words
/// of the message, by the class, and by the status
/// (`litellm_core_utils/error_normalization.py`).
fn normalized(failure: &Failure, class: &str, message: &str) -> &'static str {
    let by_kind = match failure.kind {
        FailureKind::Unauthorized => Some("401_AUTHENTICATION_FAILED"),
        FailureKind::ModelDenied => Some("403_MODEL_ACCESS_DENIED"),
        FailureKind::BudgetExceeded => Some("429_BUDGET_EXCEEDED"),
        // LiteLLM knows these by the words of its own client.
        FailureKind::Connection | FailureKind::StreamCut => Some("500_PROVIDER_CONNECTION_ERROR"),
        _ => None,
    };
    by_kind
        .or_else(|| normalized_by_words(&message.to_ascii_lowercase()))
        .or_else(|| normalized_by_class(class))
        .unwrap_or_else(|| normalized_by_status(status(failure)))
}

fn normalized_by_words(message: &str) -> Option<&'static str> {
    const WORDS: [(&[&str], &str); 8] = [
        (&["budget has been exceeded", "max budget", "crossed budget"], "429_BUDGET_EXCEEDED"),
        (&["no healthy deployment", "no deployments available"], "429_NO_HEALTHY_DEPLOYMENTS"),
        (&["is not supported for provider", "not implemented"], "500_UNSUPPORTED_OPERATION"),
        (
            &["context window", "context length", "prompt is too long", "input is too long"],
            "400_CONTEXT_WINDOW_EXCEEDED",
        ),
        (&["missing required parameter", "field required"], "400_MISSING_REQUIRED_PARAMETER"),
        (&["overloaded", "unable to process your request"], "503_PROVIDER_OVERLOADED"),
        (&["connection error", "connection reset"], "500_PROVIDER_CONNECTION_ERROR"),
        (&["timeout", "time out", "timedout", "timed out"], "408_UPSTREAM_TIMEOUT"),
    ];
    let says = |words: &&(&[&str], &str)| words.0.iter().any(|words| message.contains(words));
    WORDS.iter().find(says).map(|(_, code)| *code)
}

fn normalized_by_class(class: &str) -> Option<&'static str> {
    Some(match class {
        "RateLimitError" => "429_RATE_LIMIT_EXCEEDED",
        "AuthenticationError" => "401_AUTHENTICATION_FAILED",
        "PermissionDeniedError" => "403_PERMISSION_DENIED",
        "ContextWindowExceededError" => "400_CONTEXT_WINDOW_EXCEEDED",
        "ContentPolicyViolationError" => "400_CONTENT_POLICY_VIOLATION",
        "NotFoundError" => "404_RESOURCE_NOT_FOUND",
        "Timeout" => "408_UPSTREAM_TIMEOUT",
        "ServiceUnavailableError" => "503_PROVIDER_OVERLOADED",
        "InternalServerError" => "500_PROVIDER_INTERNAL_ERROR",
        "BadRequestError" | "UnprocessableEntityError" => "400_INVALID_REQUEST",
        _ => return None,
    })
}

const fn normalized_by_status(status: u16) -> &'static str {
    match status {
        400 => "400_INVALID_REQUEST",
        401 => "401_AUTHENTICATION_FAILED",
        403 => "403_PERMISSION_DENIED",
        404 => "404_RESOURCE_NOT_FOUND",
        408 | 504 => "408_UPSTREAM_TIMEOUT",
        422 => "400_INVALID_PARAMETER_VALUE",
        429 => "429_RATE_LIMIT_EXCEEDED",
        500 | 502 => "500_PROVIDER_INTERNAL_ERROR",
        503 => "503_PROVIDER_OVERLOADED",
        _ => "UNCLASSIFIED",
    }
}
