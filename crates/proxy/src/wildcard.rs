//! Wildcards in names of models, as LiteLLM reads them: `openai/*` serves every name that begins with
//! `openai/`, and a `*` in the provider's name of the model stands for the same text.

/// A model's name with at least one `*`, each of which stands for any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wildcard {
    /// What stands before, between and after the stars: one more than there are stars.
    parts: Vec<String>,
}

impl Wildcard {
    /// The wildcard that a name is; `None` if it has no star.
    pub(crate) fn of(name: &str) -> Option<Self> {
        name.contains('*').then(|| Self { parts: name.split('*').map(str::to_owned).collect() })
    }

    /// How much a name must have in common with it. Of several that match, the one with the most
    /// is meant.
    pub(crate) fn specificity(&self) -> (usize, usize) {
        (self.parts.iter().map(String::len).sum(), self.parts.len())
    }

    /// What each star stands for in a name; `None` if the name does not match. Where it can be
    /// split in several ways, an earlier star takes as much as it can.
    pub(crate) fn stars<'a>(&self, name: &'a str) -> Option<Vec<&'a str>> {
        let (first, after) = self.parts.split_first()?;
        let (last, between) = after.split_last()?;
        let mut rest = name.strip_prefix(first.as_str())?.strip_suffix(last.as_str())?;
        let mut stars = Vec::with_capacity(after.len());
        for part in between.iter().rev() {
            let (before, star) = rest.rsplit_once(part.as_str())?;
            stars.push(star);
            rest = before;
        }
        stars.push(rest);
        stars.reverse();
        Some(stars)
    }
}

/// The provider's name of the model: its stars, in order, stand for the same as those of the name
/// that was asked for. If that has more of them, it is passed on as it is.
pub(crate) fn fill(model: &str, stars: &[&str], asked: &str) -> String {
    let count = model.matches('*').count();
    if count == 0 {
        return model.to_owned();
    }
    if stars.len() > count {
        return asked.to_owned();
    }
    let mut stars = stars.iter();
    let mut filled = String::with_capacity(model.len() + asked.len());
    for (at, part) in model.split('*').enumerate() {
        if at > 0 {
            filled.push_str(stars.next().copied().unwrap_or("*"));
        }
        filled.push_str(part);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_matches_and_the_provider_s_name_follows_from_it() {
        // The name in the list, the provider's, what is asked for, and what the provider is asked.
        let cases = [
            ("openai/*", "*", "openai/gpt-4o", Some("gpt-4o")),
            ("openai/*", "*", "openai/a/b", Some("a/b")),
            ("openai/*", "*", "openai/", Some("")),
            ("openai/*", "*", "OpenAI/gpt-4o", None),
            ("openai/*", "*", "openai", None),
            ("*", "*", "gpt-4o", Some("gpt-4o")),
            ("*", "gpt-4o", "anything", Some("gpt-4o")),
            ("claude-*", "claude-*", "claude-x", Some("claude-x")),
            ("*-mini", "gpt-*-mini", "4o-mini", Some("gpt-4o-mini")),
            ("fo::*::static::*", "a::*::b::*", "fo::x::static::y", Some("a::x::b::y")),
            // The first star takes as much as it can.
            ("*-*", "*/*", "a-b-c", Some("a-b/c")),
            ("*-*", "*", "a-b", Some("a-b")),
            ("*", "*/*", "a", Some("a/*")),
            ("aa*aa", "*", "aaa", None),
            ("aa*aa", "*", "aaaa", Some("")),
            ("é*", "*", "éa", Some("a")),
        ];
        for (name, model, asked, expected) in cases {
            let stars = Wildcard::of(name).expect("it has a star");
            let found = stars.stars(asked).map(|stars| fill(model, &stars, asked));
            assert_eq!(found.as_deref(), expected, "{name} {model} {asked}");
        }
        assert_eq!(Wildcard::of("gpt-4o"), None);
    }

    #[test]
    fn the_longer_of_two_wildcards_is_meant() {
        let specificity = |name| Wildcard::of(name).expect("it has a star").specificity();
        assert!(specificity("openai/gpt-*") > specificity("openai/*"));
        assert!(specificity("openai/*") > specificity("*"));
    }
}
