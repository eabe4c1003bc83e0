//! What others call a provider: `OpenRouter`, and `GenAI`'s conventions.

use std::borrow::Cow;

use domain::deployment::DeploymentFacts;

/// A provider's names, by LiteLLM's prefix.
#[derive(Debug, Clone, Copy)]
struct Names {
    prefix: &'static str,
    /// `OpenRouter`'s name of it.
    name: &'static str,
    /// `OpenRouter`'s short name of it.
    slug: &'static str,
    /// What stands before the `/` in `OpenRouter`'s names of the models that it makes.
    author: &'static str,
    /// `gen_ai.provider.name` of the conventions, which name some; else ours.
    convention: &'static str,
}

const fn names(prefix: &'static str, [name, slug, author, convention]: [&'static str; 4]) -> Names {
    Names { prefix, name, slug, author, convention }
}

static NAMES: [Names; 17] = [
    names("openai", ["OpenAI", "openai", "openai", "openai"]),
    names("anthropic", ["Anthropic", "anthropic", "anthropic", "anthropic"]),
    names("gemini", ["Google AI Studio", "google-ai-studio", "google", "gcp.gemini"]),
    names("groq", ["Groq", "groq", "groq", "groq"]),
    names("mistral", ["Mistral", "mistral", "mistralai", "mistral_ai"]),
    names("codestral", ["Mistral", "mistral", "mistralai", "mistral_ai"]),
    names("deepseek", ["DeepSeek", "deepseek", "deepseek", "deepseek"]),
    names("together_ai", ["Together", "together", "together", "together_ai"]),
    names("openrouter", ["OpenRouter", "openrouter", "openrouter", "openrouter"]),
    names("xai", ["xAI", "xai", "x-ai", "x_ai"]),
    names("fireworks_ai", ["Fireworks", "fireworks", "fireworks", "fireworks_ai"]),
    names("perplexity", ["Perplexity", "perplexity", "perplexity", "perplexity"]),
    names("deepinfra", ["DeepInfra", "deepinfra", "deepinfra", "deepinfra"]),
    names("cerebras", ["Cerebras", "cerebras", "cerebras", "cerebras"]),
    names("sambanova", ["SambaNova", "sambanova", "sambanova", "sambanova"]),
    names("nvidia_nim", ["NVIDIA", "nvidia", "nvidia", "nvidia_nim"]),
    names("moonshot", ["Moonshot AI", "moonshotai", "moonshotai", "moonshot"]),
];

fn names_of(prefix: &str) -> Option<&'static Names> {
    NAMES.iter().find(|names| names.prefix == prefix)
}

/// `OpenRouter`'s name of a provider; LiteLLM's prefix of one that it does not know.
pub(super) fn name(deployment: &DeploymentFacts) -> &str {
    names_of(&deployment.provider).map_or(&deployment.provider, |names| names.name)
}

/// `OpenRouter`'s short name of a provider.
pub(super) fn slug(deployment: &DeploymentFacts) -> &str {
    names_of(&deployment.provider).map_or(&deployment.provider, |names| names.slug)
}

/// The conventions' name of a provider.
pub(super) fn convention(deployment: &DeploymentFacts) -> &str {
    names_of(&deployment.provider).map_or(&deployment.provider, |names| names.convention)
}

/// Who makes the model: what its name says before a `/`, else the provider.
pub(super) fn author(deployment: &DeploymentFacts) -> &str {
    match deployment.model.split_once('/') {
        Some((author, _)) if !author.is_empty() => author,
        _ => names_of(&deployment.provider).map_or(&deployment.provider, |names| names.author),
    }
}

/// Suffixes of a model's name that ask `OpenRouter` for a way of serving it.
const VARIANTS: [&str; 8] =
    [":nitro", ":floor", ":online", ":exacto", ":free", ":extended", ":thinking", ":beta"];

/// A model's name as `OpenRouter` has it: behind its author, without the suffix of a variant.
pub(super) fn model<'a>(deployment: &DeploymentFacts, model: &'a str) -> Cow<'a, str> {
    let model = without_variant(model);
    if model.contains('/') {
        return model.into();
    }
    format!("{}/{model}", author(deployment)).into()
}

/// A model's name without the suffix of a variant.
pub(super) fn without_variant(model: &str) -> &str {
    VARIANTS.iter().find_map(|variant| model.strip_suffix(variant)).unwrap_or(model)
}

#[cfg(test)]
mod tests {
    use domain::sample;

    use super::*;

    #[test]
    fn a_model_stands_behind_who_makes_it() {
        let cases = [
            ("openai", "gpt-4o", "openai/gpt-4o"),
            ("gemini", "gemini-3-pro", "google/gemini-3-pro"),
            ("openrouter", "anthropic/claude-haiku-4.5:nitro", "anthropic/claude-haiku-4.5"),
            ("ollama", "llama3:8b", "ollama/llama3:8b"),
            ("together_ai", "meta-llama/Llama-4", "meta-llama/Llama-4"),
        ];
        for (provider, name, expected) in cases {
            let deployment = DeploymentFacts {
                provider: provider.to_owned(),
                model: name.to_owned(),
                ..sample::deployment()
            };
            assert_eq!(model(&deployment, name), expected);
        }
    }
}
