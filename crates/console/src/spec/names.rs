//! The words that stand for the domain's choices, and both ways between them.

use domain::{
    destination::{
        CloudEventsMode, Compat, Compression, HeliconeBodies, LogFormat, Method, OtlpIntegers,
        OtlpProfile, RuleField, RuleOperator, SignedContent,
    },
    event::EventType,
    failure::Severity,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An enum of words, each of which stands for a value of a domain type.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident for $domain:ty {
        $($(#[$inner:meta])* $variant:ident = $text:tt => $value:path,)*
    }) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
        )]
        pub enum $name {
            $($(#[$inner])* #[serde(rename = $text)] $variant,)*
        }

        impl From<$name> for $domain {
            fn from(name: $name) -> Self {
                match name {
                    $($name::$variant => $value,)*
                }
            }
        }

        impl From<$domain> for $name {
            fn from(value: $domain) -> Self {
                match value {
                    $($value => Self::$variant,)*
                }
            }
        }
    };
}

names! {
    /// HTTP methods of deliveries.
    MethodName for Method {
        /// POST.
        Post = "POST" => Method::Post,
        /// PUT.
        Put = "PUT" => Method::Put,
    }
}

names! {
    /// What a signature covers.
    SignedContentName for SignedContent {
        /// The time, a point, and the body.
        Timestamp = "timestamp" => SignedContent::TimestampAndBody,
        /// The body alone.
        Body = "body" => SignedContent::Body,
    }
}

names! {
    /// How LiteLLM's payloads stand in a body.
    LogFormatName for LogFormat {
        /// A JSON array.
        JsonArray = "json_array" => LogFormat::JsonArray,
        /// One a line.
        Ndjson = "ndjson" => LogFormat::Ndjson,
        /// One a body.
        Single = "single" => LogFormat::Single,
    }
}

names! {
    /// Whose attributes traces have.
    ProfileName for OtlpProfile {
        /// `OpenRouter`'s Broadcast.
        OpenRouter = "openrouter" => OtlpProfile::OpenRouter,
        /// `OpenTelemetry`'s conventions for generative AI.
        GenAi = "genai" => OtlpProfile::GenAi,
    }
}

names! {
    /// How OTLP integers are written.
    IntegersName for OtlpIntegers {
        /// As decimal text.
        Text = "string" => OtlpIntegers::String,
        /// As JSON numbers.
        Number = "number" => OtlpIntegers::Number,
    }
}

/// Groups of further facts of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GenerationGroupName {
    /// Tokens and cost.
    Cost,
    /// Ids, the end user, the application.
    Identity,
    /// How it was asked for and how it went.
    RequestContext,
}

names! {
    /// How a Helicone payload holds a call's bodies.
    BodiesName for HeliconeBodies {
        /// As JSON objects.
        Object = "object" => HeliconeBodies::Object,
        /// As text.
        Text = "string" => HeliconeBodies::String,
    }
}

names! {
    /// How `CloudEvents` stand in a body.
    ModeName for CloudEventsMode {
        /// One a body.
        Structured = "structured" => CloudEventsMode::Structured,
        /// A JSON array.
        Batch = "batch" => CloudEventsMode::Batch,
    }
}

names! {
    /// What a format follows where a system and its document differ.
    CompatName for Compat {
        /// What the system really sends.
        Real = "real" => Compat::Real,
        /// What its document shows.
        Document = "document" => Compat::Document,
    }
}

names! {
    /// How bodies are packed.
    CompressionName for Compression {
        /// Not at all.
        None = "none" => Compression::None,
        /// gzip.
        Gzip = "gzip" => Compression::Gzip,
    }
}

names! {
    /// Types of events.
    EventTypeName for EventType {
        /// A call completed.
        Completion = "completion" => EventType::Completion,
        /// A call failed.
        Error = "error" => EventType::Error,
        /// Tokens of a stream.
        Streaming = "streaming" => EventType::Streaming,
        /// Spending reached a threshold.
        Budget = "budget" => EventType::Budget,
        /// The gateway or a provider limited the rate.
        RateLimit = "rate_limit" => EventType::RateLimit,
        /// A destination is no longer sent to.
        DestinationDisabled = "destination.disabled" => EventType::DestinationDisabled,
        /// A destination takes deliveries again.
        DestinationRecovered = "destination.recovered" => EventType::DestinationRecovered,
        /// A delivery was given up.
        DeliveryExhausted = "delivery.exhausted" => EventType::DeliveryExhausted,
    }
}

names! {
    /// Severities of errors.
    SeverityName for Severity {
        /// The request's own fault, or to be expected.
        Warning = "warning" => Severity::Warning,
        /// A provider failed.
        Error = "error" => Severity::Error,
        /// The gateway, or its credential, failed.
        Critical = "critical" => Severity::Critical,
    }
}

names! {
    /// What a rule looks at.
    RuleFieldName for RuleField {
        /// The model's name.
        Model = "model" => RuleField::Model,
        /// The provider.
        Provider = "provider" => RuleField::Provider,
        /// The caller's session.
        SessionId = "session_id" => RuleField::SessionId,
        /// The end user.
        UserId = "user_id" => RuleField::UserId,
        /// The name of the caller's key.
        ApiKeyName = "api_key_name" => RuleField::ApiKeyName,
        /// Why the answer ended.
        FinishReason = "finish_reason" => RuleField::FinishReason,
        /// The request's texts.
        Input = "input" => RuleField::Input,
        /// The answer's text.
        Output = "output" => RuleField::Output,
        /// US dollars.
        TotalCost = "total_cost" => RuleField::TotalCost,
        /// Tokens of both.
        TotalTokens = "total_tokens" => RuleField::TotalTokens,
        /// Tokens of the prompt.
        PromptTokens = "prompt_tokens" => RuleField::PromptTokens,
        /// Tokens of the answer.
        CompletionTokens = "completion_tokens" => RuleField::CompletionTokens,
    }
}

names! {
    /// How a rule compares.
    RuleOperatorName for RuleOperator {
        /// The same.
        Equals = "equals" => RuleOperator::Equals,
        /// Not the same.
        NotEquals = "not_equals" => RuleOperator::NotEquals,
        /// Holds the value.
        Contains = "contains" => RuleOperator::Contains,
        /// Does not hold it.
        NotContains = "not_contains" => RuleOperator::NotContains,
        /// Matches the regular expression.
        Regex = "regex" => RuleOperator::Regex,
        /// Begins with the value.
        StartsWith = "starts_with" => RuleOperator::StartsWith,
        /// Ends with it.
        EndsWith = "ends_with" => RuleOperator::EndsWith,
        /// Greater.
        Gt = "gt" => RuleOperator::Gt,
        /// Less.
        Lt = "lt" => RuleOperator::Lt,
        /// Greater or the same.
        Gte = "gte" => RuleOperator::Gte,
        /// Less or the same.
        Lte = "lte" => RuleOperator::Lte,
        /// Is there.
        Exists = "exists" => RuleOperator::Exists,
        /// Is not there.
        NotExists = "not_exists" => RuleOperator::NotExists,
    }
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum FormatName {
    /// Gateway events, one JSON object a body.
    #[serde(rename = "event")]
    Event,
    /// LiteLLM's generic API callback.
    #[serde(rename = "generic_api")]
    GenericApi,
    /// OTLP/JSON traces.
    #[serde(rename = "otlp")]
    Otlp,
    /// Helicone's webhook payload.
    #[serde(rename = "helicone")]
    Helicone,
    /// The `CloudEvents` envelope around gateway events.
    #[serde(rename = "cloudevents")]
    CloudEvents,
    /// LiteLLM's alert webhook.
    #[serde(rename = "litellm_alert")]
    LitellmAlert,
}

impl FormatName {
    /// As it is written.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::GenericApi => "generic_api",
            Self::Otlp => "otlp",
            Self::Helicone => "helicone",
            Self::CloudEvents => "cloudevents",
            Self::LitellmAlert => "litellm_alert",
        }
    }
}

/// How the rules of a group are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogicName {
    /// All must pass.
    And,
    /// One must pass.
    Or,
}
