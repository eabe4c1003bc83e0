//! One chunk of a chat or text completion, borrowed from its bytes.
//!
//! Written by hand instead of derived, because members that we do not know are kept: a provider's
//! own fields survive into the assembled answer.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::loose::{LooseCount, LooseStr, LooseText};

/// A member that we do not know, as it was written.
pub(super) type Extra<'a> = (LooseStr<'a>, &'a RawValue);

#[derive(Debug, Default)]
pub(super) struct Chunk<'a> {
    pub(super) id: LooseStr<'a>,
    pub(super) created: Option<&'a RawValue>,
    pub(super) model: LooseStr<'a>,
    pub(super) choices: Vec<Choice<'a>>,
    pub(super) usage: Option<&'a RawValue>,
    pub(super) extras: Vec<Extra<'a>>,
}

#[derive(Debug, Default)]
pub(super) struct Choice<'a> {
    pub(super) index: LooseCount,
    pub(super) delta: Delta<'a>,
    /// A text completion's, which has no delta.
    pub(super) text: LooseStr<'a>,
    pub(super) finish_reason: LooseStr<'a>,
    /// Some providers report the usage here.
    pub(super) usage: Option<&'a RawValue>,
    pub(super) extras: Vec<Extra<'a>>,
}

#[derive(Debug, Default)]
pub(super) struct Delta<'a> {
    pub(super) role: LooseStr<'a>,
    pub(super) content: LooseText<'a>,
    pub(super) tool_calls: Vec<ToolCall<'a>>,
    pub(super) function_call: Option<Function<'a>>,
    pub(super) extras: Vec<Extra<'a>>,
}

#[derive(Debug, Default)]
pub(super) struct ToolCall<'a> {
    pub(super) index: LooseCount,
    pub(super) id: LooseStr<'a>,
    pub(super) kind: LooseStr<'a>,
    pub(super) function: Option<Function<'a>>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    pub(super) name: LooseStr<'a>,
    #[serde(borrow)]
    pub(super) arguments: LooseStr<'a>,
}

/// What each object does with the members that it finds.
trait Members<'de>: Default {
    fn take<A: MapAccess<'de>>(&mut self, key: LooseStr<'de>, map: &mut A) -> Result<(), A::Error>;
}

struct Object<T>(std::marker::PhantomData<T>);

impl<'de, T: Members<'de>> Visitor<'de> for Object<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut object = T::default();
        while let Some(key) = map.next_key::<LooseStr<'de>>()? {
            object.take(key, &mut map)?;
        }
        Ok(object)
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }
}

macro_rules! read_as_object {
    ($($name:ident),*) => { $(
        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Object::<$name<'de>>(std::marker::PhantomData))
            }
        }
    )* };
}

read_as_object!(Chunk, Choice, Delta, ToolCall);

impl<'de> Members<'de> for Chunk<'de> {
    fn take<A: MapAccess<'de>>(&mut self, key: LooseStr<'de>, map: &mut A) -> Result<(), A::Error> {
        match key.0.as_deref().unwrap_or_default() {
            "id" => self.id = map.next_value()?,
            "created" => self.created = map.next_value()?,
            "model" => self.model = map.next_value()?,
            "choices" => self.choices = map.next_value::<Option<_>>()?.unwrap_or_default(),
            "usage" => self.usage = map.next_value()?,
            // What it is, what pads it, and what came instead of it.
            "object" | "obfuscation" | "error" => drop(map.next_value::<IgnoredAny>()?),
            _ => self.extras.push((key, map.next_value()?)),
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Choice<'de> {
    fn take<A: MapAccess<'de>>(&mut self, key: LooseStr<'de>, map: &mut A) -> Result<(), A::Error> {
        match key.0.as_deref().unwrap_or_default() {
            "index" => self.index = map.next_value()?,
            "delta" => self.delta = map.next_value()?,
            "text" => self.text = map.next_value()?,
            "finish_reason" => self.finish_reason = map.next_value()?,
            "usage" => self.usage = map.next_value()?,
            // One entry a token: larger than the text itself.
            "logprobs" => drop(map.next_value::<IgnoredAny>()?),
            _ => self.extras.push((key, map.next_value()?)),
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Delta<'de> {
    fn take<A: MapAccess<'de>>(&mut self, key: LooseStr<'de>, map: &mut A) -> Result<(), A::Error> {
        match key.0.as_deref().unwrap_or_default() {
            "role" => self.role = map.next_value()?,
            "content" => self.content = map.next_value()?,
            "tool_calls" => self.tool_calls = map.next_value::<Option<_>>()?.unwrap_or_default(),
            "function_call" => self.function_call = map.next_value()?,
            _ => self.extras.push((key, map.next_value()?)),
        }
        Ok(())
    }
}

impl<'de> Members<'de> for ToolCall<'de> {
    fn take<A: MapAccess<'de>>(&mut self, key: LooseStr<'de>, map: &mut A) -> Result<(), A::Error> {
        match key.0.as_deref().unwrap_or_default() {
            "index" => self.index = map.next_value()?,
            "id" => self.id = map.next_value()?,
            "type" => self.kind = map.next_value()?,
            "function" => self.function = map.next_value()?,
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}
