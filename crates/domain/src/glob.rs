//! Globs, as configurations write them.

/// Whether a glob matches a whole name: `*` stands for any characters, `?` for one; everything
/// else, case included, for itself. Takes at most the product of both lengths.
pub fn matches(glob: &str, name: &str) -> bool {
    let (mut glob, mut name) = (glob.chars(), name.chars());
    // Where to go on if what follows the last star does not fit: one character later.
    let mut last_star = None;
    loop {
        let (glob_before, name_before) = (glob.clone(), name.clone());
        let is_fit = match (glob.next(), name.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                name = name_before.clone();
                last_star = Some((glob.clone(), name_before));
                continue;
            }
            (Some('?'), Some(_)) => true,
            (Some(expected), Some(found)) => expected == found,
            (_, None) => return glob_before.clone().all(|c| c == '*'),
            (None, Some(_)) => false,
        };
        if is_fit {
            continue;
        }
        let Some((after_star, mut from)) = last_star.take() else { return false };
        if from.next().is_none() {
            return false;
        }
        glob = after_star.clone();
        name = from.clone();
        last_star = Some((after_star, from));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn globs_match_whole_names() {
        let cases = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "ab", true),
            ("?", "", false),
            ("?", "é", true),
            ("?", "ab", false),
            ("gpt-4*", "gpt-4", true),
            ("gpt-4*", "gpt-4-turbo", true),
            ("gpt-4*", "xgpt-4", false),
            ("*mini", "gpt-4o-mini", true),
            ("*mini", "gpt-4o-mini-2024", false),
            ("*4o*", "gpt-4o-mini", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*?c", "abc", true),
            ("a*?c", "ac", false),
            ("[a]", "a", false),
            ("a.c", "abc", false),
        ];
        for (glob, name, expected) in cases {
            assert_eq!(matches(glob, name), expected, "{glob:?} {name:?}");
        }
    }

    #[test]
    fn a_hostile_glob_takes_no_longer_than_glob_times_name() {
        let glob = "*a".repeat(200) + "b";
        assert!(!matches(&glob, &"a".repeat(20_000)));
    }

    /// The rule itself, in the plainest way.
    fn plainly(glob: &[char], name: &[char]) -> bool {
        match (glob, name) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=name.len()).any(|cut| plainly(rest, &name[cut..])),
            (['?', glob @ ..], [_, name @ ..]) => plainly(glob, name),
            ([c, glob @ ..], [d, name @ ..]) => c == d && plainly(glob, name),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn law_globs_match_as_the_plain_rule_does(glob in "[ab*?]{0,8}", name in "[ab]{0,10}") {
            let plain =
                plainly(&glob.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>());
            prop_assert_eq!(matches(&glob, &name), plain);
        }
    }
}
