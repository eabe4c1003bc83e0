//! The 36 keys of `metadata`: whose call it was and how it came.

use domain::call::Caller;

use super::post::{Post, write_requester};
use crate::format::json::{Json, Members, Null, Raw};

pub(super) fn write(json: &mut Json, post: &Post<'_>) {
    let call = post.call;
    json.open();
    // LiteLLM writes this text for its master key, which has no hash that could be told.
    let (hash, alias, user) = match &call.caller {
        Caller::Master => (Some("litellm_proxy_master_key"), None, Some("default_user_id")),
        Caller::Key { name, hash } => (Some(hash.as_str()), Some(name.as_str()), None),
        Caller::Anonymous | Caller::Refused => (None, None, None),
    };
    json.field("user_api_key_hash", hash);
    json.field("user_api_key_alias", alias);
    // Only the spending of a named key is anybody's; LiteLLM has 0.0 for all others.
    let is_named = matches!(call.caller, Caller::Key { .. });
    json.field("user_api_key_spend", (!is_named).then_some(0.0));
    json.nulls(&[
        "user_api_key_max_budget",
        "user_api_key_budget_reset_at",
        "user_api_key_user_spend",
        "user_api_key_user_max_budget",
        "user_api_key_team_spend",
        "user_api_key_team_max_budget",
        "user_api_key_team_id",
        "user_api_key_org_id",
        "user_api_key_org_alias",
        "user_api_key_project_id",
        "user_api_key_project_alias",
    ]);
    json.field("user_api_key_user_id", user);
    json.nulls(&["user_api_key_team_alias", "user_api_key_user_email"]);
    json.field("user_api_key_end_user_id", call.end_user.as_deref());
    json.field("user_api_key_request_route", call.path.as_str());

    let spend_logs = spend_logs_metadata(post);
    json.field("spend_logs_metadata", spend_logs.map(Raw));
    write_requester(json, call);
    json.name("requester_metadata");
    // LiteLLM looks at a request's metadata once its key was found right, and adds nothing to it in
    // the two APIs whose `metadata` is the provider's.
    if call.caller == Caller::Refused {
        json.value(Null);
    } else if post.is_apart() {
        let own = post.request.get("metadata");
        json.value(own.filter(|own| own.starts_with('{')).map(Raw));
    } else {
        write_requester_metadata(json, post, spend_logs);
    }
    json.field("prompt_management_metadata", Null);
    json.name("applied_guardrails");
    json.open_list();
    json.close_list();
    json.nulls(&["mcp_tool_call_metadata", "vector_store_request_metadata", "routing_decision"]);
    json.name("usage_object");
    super::answer::write_usage_object(json, post);
    json.name("requester_custom_headers");
    json.open();
    for (name, value) in call.headers.iter().filter(|(name, _)| name.starts_with("x-")) {
        json.field_named(name, value.as_str());
    }
    json.close();
    json.field("cold_storage_object_key", Null);
    json.name("user_api_key_auth_metadata");
    json.open();
    json.close();
    json.nulls(&["team_alias", "team_id", "kubernetes_pod_routing"]);
    json.field("used_client_oauth_token", false);
    json.close();
}

/// The caller's own metadata, with what headers changed in it, and the headers themselves.
fn write_requester_metadata(json: &mut Json, post: &Post<'_>, spend_logs: Option<&str>) {
    let own = &post.metadata;
    let tags = post.call.header("x-litellm-tags").map(|_| &post.call.tags);
    let chain = ["x-litellm-trace-id", "x-litellm-session-id"];
    let chain =
        chain.into_iter().find_map(|name| post.call.header(name).filter(|id| !id.is_empty()));
    json.open();
    for (name, value) in own.iter() {
        match name {
            // The gateway's own, below.
            "headers" | "used_client_oauth_token" => {}
            "trace_id" | "session_id" if chain.is_some() => {}
            "tags" if tags.is_some() => {
                json.name("tags");
                json.open_list();
                for tag in tags.into_iter().flatten() {
                    json.element(tag.as_str());
                }
                json.close_list();
            }
            "spend_logs_metadata" => json.field_named(name, spend_logs.map(Raw)),
            _ => json.field_named(name, Raw(value)),
        }
    }
    if let Some(chain) = chain {
        json.field("trace_id", chain);
        json.field("session_id", chain);
    }
    if own.get("spend_logs_metadata").is_none() && spend_logs.is_some() {
        json.field("spend_logs_metadata", spend_logs.map(Raw));
    }
    json.name("headers");
    json.open();
    for (name, value) in &post.call.headers {
        json.field_named(name, value.as_str());
    }
    json.close();
    json.field("used_client_oauth_token", false);
    json.close();
}

/// The header wins over the body. A header that is no JSON object is passed over.
fn spend_logs_metadata<'a>(post: &Post<'a>) -> Option<&'a str> {
    let header = post.call.header("x-litellm-spend-logs-metadata");
    let is_object = |text: &&str| !Members::of(text).is_empty();
    let of_litellm = || post.request.get("litellm_metadata").map(Members::of).unwrap_or_default();
    header
        .filter(is_object)
        .or_else(|| post.metadata.get("spend_logs_metadata"))
        .or_else(|| of_litellm().get("spend_logs_metadata"))
}
