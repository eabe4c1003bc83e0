//! The text of the pages. Knows nothing of files.
//!
//! Sections and their order are those of LiteLLM's generator, so that links into its pages have a
//! place to go; the words are ours.

use std::{collections::BTreeMap, fmt::Write};

use domain::{destination::LogFormat, event::EventType};

use crate::config::Integration;

/// How a page begins that was written by this command.
pub(super) const MARK: &str = "<!-- Written by `hookgate docs`";

/// A description in the index is cut after this many characters.
const SUMMARY_CHARS_MAX: usize = 80;

/// Every page by its file's name.
pub(super) fn pages(integrations: &[Integration]) -> BTreeMap<String, String> {
    let page = |it: &Integration| (format!("{}.md", it.name), page(it, integrations));
    let mut pages: BTreeMap<_, _> = integrations.iter().map(page).collect();
    pages.insert("index.md".to_owned(), index(integrations));
    pages
}

fn page(it: &Integration, all: &[Integration]) -> String {
    let mut text = format!(
        "{MARK} from the registry of callbacks: change `docs` there. -->\n\n# {}\n\n{}",
        plain(&it.display_name),
        plain(&it.description)
    );
    if let Some(website) = &it.website {
        let _ = write!(text, " [More about {}]({})", plain(&it.display_name), link(website));
    }
    text.push_str("\n\n## Supported events\n\n| event | sent |\n|---|---|\n");
    for (kind, name) in
        [(EventType::Completion, "llm_api_success"), (EventType::Error, "llm_api_failure")]
    {
        let sent = if it.event_types.contains(&kind) { "yes" } else { "no" };
        let _ = writeln!(text, "| `{name}` | {sent} |");
    }
    push_variables(it, &mut text);
    push_quick_start(it, &mut text);
    push_payload(it, &mut text);
    push_headers(it, &mut text);
    text.push_str("\n## See also\n\n- [All integrations](index.md)\n");
    for other in all.iter().filter(|other| other.name != it.name) {
        let _ = writeln!(text, "- [{}]({}.md)", plain(&other.display_name), other.name);
    }
    text
}

fn push_variables(it: &Integration, text: &mut String) {
    text.push_str("\n## Environment variables\n\n");
    if it.variables.is_empty() {
        text.push_str("None.\n");
    } else {
        text.push_str("| variable | what it holds | required |\n|---|---|---|\n");
    }
    for variable in &it.variables {
        let _ = writeln!(text, "| `{variable}` | {} | yes |", meaning(variable));
    }
    if let Some(notes) = &it.additional_notes {
        let _ = writeln!(text, "\n> {}", plain(notes));
    }
}

/// What a variable holds, as far as its name tells.
fn meaning(variable: &str) -> &'static str {
    let name = variable.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if has(&["url", "endpoint"]) {
        "the webhook's URL"
    } else if has(&["key", "token", "secret"]) {
        "a key or token"
    } else {
        "a value of your account"
    }
}

fn push_quick_start(it: &Integration, text: &mut String) {
    text.push_str(
        "\n## Quick start\n\n`config.yaml`:\n\n```yaml\n\
         model_list:\n  - model_name: gpt-4o\n    litellm_params:\n      model: openai/gpt-4o\n      \
         api_key: os.environ/OPENAI_API_KEY\n\n",
    );
    push_use(it, text);
    text.push_str(
        "```\n\nStart the gateway, and make a call that needs no provider:\n\n```sh\n\
         hookgate --config config.yaml\n\
         curl http://127.0.0.1:4000/v1/chat/completions -H 'Content-Type: application/json' \\\n  \
         -d '{\"model\": \"gpt-4o\", \"messages\": [{\"role\": \"user\", \"content\": \"hi\"}], \
         \"mock_response\": \"hey!\"}'\n```\n",
    );
}

/// The part of a configuration that uses it.
fn push_use(it: &Integration, text: &mut String) {
    let _ = writeln!(text, "litellm_settings:\n  callbacks: [\"{}\"]", it.name);
    if !it.variables.is_empty() {
        text.push_str("\nenvironment_variables: # or set them where the gateway runs\n");
    }
    for variable in &it.variables {
        let value = match meaning(variable) {
            "the webhook's URL" => "https://example.com/your-webhook",
            _ => "your-value",
        };
        let _ = writeln!(text, "  {variable}: {value}");
    }
}

fn push_payload(it: &Integration, text: &mut String) {
    let body = match it.log_format {
        LogFormat::JsonArray => "A body is a JSON array of them, also for one",
        LogFormat::Ndjson => "A body has one of them a line",
        LogFormat::Single => "A body is one of them",
    };
    let batch = match it.log_format {
        LogFormat::Single => "each is sent at once",
        _ => {
            "up to 100 are sent together, after 60 seconds at the latest (`batch_size` and \
              `flush_interval` in the registry's entry change that)"
        }
    };
    let _ = writeln!(
        text,
        "\n## Logged payload\n\nLiteLLM's `StandardLoggingPayload`, as [`generic_api`]\
         (../formats.md#generic_api) shows it. {body}; {batch}."
    );
}

fn push_headers(it: &Integration, text: &mut String) {
    text.push_str("\n## Request headers\n\n");
    if let Some(endpoint) = &it.endpoint {
        let _ = writeln!(text, "Each body is a POST to `{}`.\n", code(endpoint));
    }
    text.push_str("| header | value |\n|---|---|\n");
    for (name, value) in &it.headers {
        let _ = writeln!(text, "| `{name}` | `{}` |", code(value).replace('|', "\\|"));
    }
    text.push_str("| `webhook-id` | the body's id, the same in every attempt |\n");
}

fn index(integrations: &[Integration]) -> String {
    let mut text = format!(
        "{MARK} from the registry of callbacks: change `docs` there. -->\n\n# Integrations\n\n\
         Services whose webhooks are known by name: write the name into `callbacks`, and set its \
         variables.\n\n| integration | what it does | events |\n|---|---|---|\n"
    );
    for it in integrations {
        let name = plain(&it.display_name);
        let events: Vec<_> = it.event_types.iter().map(|kind| kind.as_str()).collect();
        let (summary, events) = (summary(&it.description), events.join(", "));
        let _ = writeln!(text, "| [{name}]({}.md) | {summary} | {events} |", it.name);
    }
    if let Some(first) = integrations.first() {
        text.push_str("\n## Quick setup\n\n```yaml\n");
        push_use(first, &mut text);
        text.push_str("```\n\n`hookgate check config.yaml` names each variable that is missing.\n");
    }
    text.push_str(
        "\n## Adding an integration\n\nPut a file `generic_api_compatible_callbacks.json` beside your \
         `config.yaml` (or name one with `--callbacks`). It is a map of names to entries:\n\n\
         ```json\n{\n    \"your_service\": {\n        \
         \"event_types\": [\"llm_api_success\", \"llm_api_failure\"],\n        \
         \"endpoint\": \"{{environment_variables.YOUR_SERVICE_WEBHOOK_URL}}\",\n        \
         \"headers\": {\"Authorization\": \"Bearer {{environment_variables.YOUR_SERVICE_KEY}}\"},\n        \
         \"environment_variables\": [\"YOUR_SERVICE_WEBHOOK_URL\", \"YOUR_SERVICE_KEY\"],\n        \
         \"docs\": {\n            \"show_in_docs\": true,\n            \
         \"display_name\": \"Your Service\",\n            \
         \"description\": \"What it does with the outcomes of calls.\"\n        }\n    }\n}\n```\n\n\
         `hookgate docs --callbacks FILE` then writes its page. A name that the built-in registry has \
         too is taken from your file.\n",
    );
    text
}

/// The first characters of a description.
fn summary(description: &str) -> String {
    let description = plain(description).replace('|', "\\|");
    match description.char_indices().nth(SUMMARY_CHARS_MAX) {
        Some((end, _)) => format!("{}…", description[..end].trim_end()),
        None => description,
    }
}

/// Text of a registry on one line, without marks of Markdown or HTML.
fn plain(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut escaped = String::with_capacity(line.len());
    for c in line.chars() {
        if matches!(c, '\\' | '`' | '*' | '[' | ']' | '<' | '>') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// An address that ends neither the link nor the line.
fn link(address: &str) -> String {
    let escape = |c: char| match c {
        '(' | ')' | '<' | '>' | ' ' | '\n' | '\r' => format!("%{:02X}", u32::from(c)),
        c => c.to_string(),
    };
    address.chars().map(escape).collect()
}

/// A value with its variables as a shell writes them.
fn code(value: &str) -> String {
    let value = value.split_whitespace().collect::<Vec<_>>().join(" ").replace('`', "'");
    let mut rest = value.as_str();
    let mut text = String::new();
    while let Some((before, (name, after))) = rest
        .split_once("{{environment_variables.")
        .and_then(|(before, inside)| Some((before, inside.split_once("}}")?)))
    {
        let _ = write!(text, "{before}${name}");
        rest = after;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integration() -> Integration {
        Integration {
            name: "my_service".to_owned(),
            display_name: "My *Service*".to_owned(),
            description: "Takes | everything <b>and</b>\nmore. ".repeat(4),
            website: Some("https://x.example/(a) b".to_owned()),
            additional_notes: Some("A `note`.".to_owned()),
            event_types: vec![EventType::Error],
            log_format: LogFormat::Single,
            endpoint: Some("{{environment_variables.MY_URL}}/in".to_owned()),
            headers: vec![(
                "X-Both".to_owned(),
                "{{environment_variables.A_KEY}}|{{environment_variables.B}} `".to_owned(),
            )],
            variables: vec!["MY_URL".to_owned(), "A_KEY".to_owned(), "B".to_owned()],
        }
    }

    #[test]
    fn a_page_shows_what_its_entry_says_and_marks_up_nothing_by_itself() {
        let pages = pages(&[integration()]);
        insta::assert_snapshot!(pages["my_service.md"]);
        insta::assert_snapshot!(pages["index.md"]);
    }
}
