//! Fields of other people's JSON, taken if they are what they should be.
//!
//! Providers write numbers where strings belong and objects where numbers do. None of these types
//! fails on a value of another kind: it reads as `None`, so that one odd field never costs the
//! text beside it.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// A string, or whatever else.
#[derive(Debug, Default)]
pub(crate) struct LooseStr<'a>(pub(crate) Option<Cow<'a, str>>);

/// A whole number that is not negative, or whatever else. `10.0` counts as 10.
#[derive(Debug, Default)]
pub(crate) struct LooseCount(pub(crate) Option<u64>);

/// A text: a string, or the texts of a list of content parts, or whatever else.
#[derive(Debug, Default)]
pub(crate) struct LooseText<'a>(pub(crate) Option<Cow<'a, str>>);

/// The visits that give `None`, for the kinds that a type does not take.
macro_rules! nothing_for {
    ($de:lifetime: $($kind:ident),*) => { $(nothing_for!(@ $de $kind);)* };
    (@ $de:lifetime str) => {
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> { Ok(Self::Value::default()) }
    };
    (@ $de:lifetime bool) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> { Ok(Self::Value::default()) }
        fn visit_unit<E>(self) -> Result<Self::Value, E> { Ok(Self::Value::default()) }
    };
    (@ $de:lifetime number) => {
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> { Ok(Self::Value::default()) }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> { Ok(Self::Value::default()) }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> { Ok(Self::Value::default()) }
    };
    (@ $de:lifetime list) => {
        fn visit_seq<A: SeqAccess<$de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
    (@ $de:lifetime object) => {
        fn visit_map<A: MapAccess<$de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
            while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
}

impl<'de: 'a, 'a> Deserialize<'de> for LooseStr<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = LooseStr<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(LooseStr(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(LooseStr(Some(Cow::Owned(text.to_owned()))))
            }

            nothing_for!('de: bool, number, list, object);
        }
        deserializer.deserialize_any(Any)
    }
}

impl<'de> Deserialize<'de> for LooseCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = LooseCount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_u64<E>(self, count: u64) -> Result<Self::Value, E> {
                Ok(LooseCount(Some(count)))
            }

            fn visit_i64<E>(self, count: i64) -> Result<Self::Value, E> {
                Ok(LooseCount(u64::try_from(count).ok()))
            }

            fn visit_f64<E>(self, count: f64) -> Result<Self::Value, E> {
                let is_whole = count >= 0.0 && count.fract() == 0.0 && count < 9e15;
                Ok(LooseCount(is_whole.then_some(count as u64)))
            }

            nothing_for!('de: bool, str, list, object);
        }
        deserializer.deserialize_any(Any)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for LooseText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = LooseText<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(LooseText(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(LooseText(Some(Cow::Owned(text.to_owned()))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
                let mut joined: Option<String> = None;
                while let Some(part) = parts.next_element::<LoosePart<'de>>()? {
                    if let Some(text) = part.0 {
                        joined.get_or_insert_default().push_str(&text);
                    }
                }
                Ok(LooseText(joined.map(Cow::Owned)))
            }

            nothing_for!('de: bool, number, object);
        }
        deserializer.deserialize_any(Any)
    }
}

/// The `text` of a content part, or whatever else.
#[derive(Default)]
struct LoosePart<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for LoosePart<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = LoosePart<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut part: A) -> Result<Self::Value, A::Error> {
                let mut text = None;
                while let Some(key) = part.next_key::<LooseStr<'de>>()? {
                    if key.0.as_deref() == Some("text") {
                        text = part.next_value::<LooseStr<'de>>()?.0;
                    } else {
                        part.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(LoosePart(text))
            }

            nothing_for!('de: bool, str, number, list);
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_kind_reads_as_none() {
        for json in ["null", "true", "[1,{}]", r#"{"a":[1]}"#, "-1", "1.5"] {
            assert!(serde_json::from_str::<LooseStr<'_>>(json).unwrap().0.is_none(), "{json}");
            assert!(serde_json::from_str::<LooseCount>(json).unwrap().0.is_none(), "{json}");
            assert!(serde_json::from_str::<LooseText<'_>>(json).unwrap().0.is_none(), "{json}");
        }
        assert!(serde_json::from_str::<LooseStr<'_>>("7").unwrap().0.is_none());
        assert!(serde_json::from_str::<LooseCount>(r#""7""#).unwrap().0.is_none());
    }

    #[test]
    fn a_value_of_the_right_kind_reads_as_itself() {
        let text = |json| serde_json::from_str::<LooseStr<'_>>(json).unwrap().0.unwrap();
        assert_eq!(text(r#""plain""#), "plain");
        assert_eq!(text(r#""a\u00e9\n""#), "aé\n");
        let count = |json| serde_json::from_str::<LooseCount>(json).unwrap().0;
        assert_eq!((count("7"), count("0"), count("10.0")), (Some(7), Some(0), Some(10)));
    }

    #[test]
    fn the_texts_of_content_parts_are_joined() {
        let json = r#"[{"type":"text","text":"a"},{"type":"image"},7,{"text":"b"}]"#;
        let text: LooseText<'_> = serde_json::from_str(json).unwrap();
        assert_eq!(text.0.unwrap(), "ab");
    }
}
