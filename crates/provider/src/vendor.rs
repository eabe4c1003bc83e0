//! Vendors by LiteLLM's prefix: a table.
//!
//! Only those that speak `OpenAI`'s or Anthropic's dialect, with the base URL of their own
//! documentation and the environment variables that LiteLLM reads.

use std::borrow::Cow;

use domain::deployment::Dialect;

/// What is known of a provider by its LiteLLM prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vendor {
    /// The prefix of model names: `openai`, `anthropic`, …
    pub prefix: &'static str,
    /// The base URL without a final slash; `None` if the user must name it.
    pub base_url: Option<&'static str>,
    /// The environment variable that holds the key; `None` if none is needed.
    pub key_variable: Option<&'static str>,
    /// Other variables that may hold it, where that one is not set.
    pub key_aliases: &'static [&'static str],
    /// How it is spoken to.
    pub dialect: Dialect,
}

/// The vendor of a prefix; `None` if we do not know it.
pub fn vendor(prefix: &str) -> Option<&'static Vendor> {
    VENDORS.iter().find(|vendor| vendor.prefix == prefix)
}

/// All vendors, for messages that name them.
pub fn vendors() -> impl Iterator<Item = &'static Vendor> {
    VENDORS.iter()
}

impl Vendor {
    /// The base URL for a user's `api_base`, as LiteLLM reads it: Ollama's is its root, and
    /// Anthropic's may be the whole URL of its messages. No final slash.
    pub fn base_url_of<'a>(&self, api_base: &'a str) -> Cow<'a, str> {
        let base = api_base.trim_end_matches('/');
        match self.prefix {
            "anthropic" => {
                let base = base.strip_suffix("/messages").unwrap_or(base);
                base.strip_suffix("/v1").unwrap_or(base).into()
            }
            "ollama" | "ollama_chat" if !base.ends_with("/v1") => format!("{base}/v1").into(),
            _ => base.strip_suffix("/chat/completions").unwrap_or(base).into(),
        }
    }
}

/// A vendor that answers nobody without a key.
const fn open(prefix: &'static str, base_url: &'static str, key: &'static str) -> Vendor {
    Vendor {
        prefix,
        base_url: Some(base_url),
        key_variable: Some(key),
        key_aliases: &[],
        dialect: Dialect::OpenAi,
    }
}

/// A server of the user's own, which may ask for no key.
const fn own(
    prefix: &'static str,
    base_url: Option<&'static str>,
    key_aliases: &'static [&'static str],
) -> Vendor {
    Vendor { prefix, base_url, key_variable: None, key_aliases, dialect: Dialect::OpenAi }
}

const ANTHROPIC: Vendor = Vendor {
    dialect: Dialect::Anthropic,
    ..open("anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY")
};

const GEMINI: Vendor = Vendor {
    key_aliases: &["GOOGLE_API_KEY"],
    ..open("gemini", "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY")
};

const TOGETHER: Vendor = Vendor {
    key_aliases: &["TOGETHER_AI_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_TOKEN"],
    ..open("together_ai", "https://api.together.xyz/v1", "TOGETHER_API_KEY")
};

const FIREWORKS: Vendor = Vendor {
    key_aliases: &["FIREWORKS_AI_API_KEY"],
    ..open("fireworks_ai", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY")
};

const PERPLEXITY: Vendor = Vendor {
    key_aliases: &["PERPLEXITY_API_KEY"],
    ..open("perplexity", "https://api.perplexity.ai", "PERPLEXITYAI_API_KEY")
};

/// Ollama's own address, where it speaks `OpenAI`'s dialect.
const OLLAMA: Option<&str> = Some("http://localhost:11434/v1");

static VENDORS: [Vendor; 25] = [
    open("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    ANTHROPIC,
    GEMINI,
    open("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    open("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    open("codestral", "https://codestral.mistral.ai/v1", "CODESTRAL_API_KEY"),
    open("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    TOGETHER,
    open("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    open("xai", "https://api.x.ai/v1", "XAI_API_KEY"),
    FIREWORKS,
    PERPLEXITY,
    open("deepinfra", "https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    open("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    open("sambanova", "https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
    open("nvidia_nim", "https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
    open("moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
    own("ollama", OLLAMA, &["OLLAMA_API_KEY"]),
    own("ollama_chat", OLLAMA, &["OLLAMA_API_KEY"]),
    own("hosted_vllm", None, &["HOSTED_VLLM_API_KEY"]),
    own("lm_studio", None, &["LM_STUDIO_API_KEY"]),
    own("llamafile", Some("http://127.0.0.1:8080/v1"), &["LLAMAFILE_API_KEY"]),
    own("openai_like", None, &["OPENAI_LIKE_API_KEY"]),
    own("custom_openai", None, &[]),
    own("litellm_proxy", None, &["LITELLM_PROXY_API_KEY"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_names_one_vendor_and_base_urls_have_no_final_slash() {
        for (position, known) in VENDORS.iter().enumerate() {
            let first = VENDORS.iter().position(|other| other.prefix == known.prefix);
            assert_eq!(first, Some(position), "{}", known.prefix);
            assert!(
                known.base_url.is_none_or(|url| url.starts_with("http") && !url.ends_with('/'))
            );
        }
        assert_eq!(vendor("anthropic").map(|vendor| vendor.dialect), Some(Dialect::Anthropic));
        assert_eq!(vendor("bedrock"), None);
    }

    #[test]
    fn an_api_base_is_read_as_litellm_reads_it() {
        let cases = [
            ("openai", "http://localhost:1/v1/", "http://localhost:1/v1"),
            ("openai", "http://localhost:1/v1/chat/completions", "http://localhost:1/v1"),
            ("anthropic", "https://a.example", "https://a.example"),
            ("anthropic", "https://a.example/v1", "https://a.example"),
            ("anthropic", "https://a.example/v1/messages", "https://a.example"),
            ("ollama", "http://localhost:11434", "http://localhost:11434/v1"),
            ("ollama", "http://localhost:11434/v1/", "http://localhost:11434/v1"),
        ];
        for (prefix, api_base, expected) in cases {
            assert_eq!(vendor(prefix).unwrap().base_url_of(api_base), expected);
        }
    }
}
