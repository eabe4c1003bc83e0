//! The keys that stored secrets are sealed with. They come from the environment alone: in a file they
//! would lie beside what they seal.

use domain::secret::Secret;
use store::sqlite::PreviousKey;

use super::{Environment, report::Report};

/// The variable with the key that stored secrets are sealed with.
pub const ENCRYPTION_KEY_VARIABLE: &str = "HOOKGATE_ENCRYPTION_KEY";

/// The variable with the key that they were sealed with before.
pub const PREVIOUS_KEY_VARIABLE: &str = "HOOKGATE_ENCRYPTION_KEY_PREVIOUS";

/// What stands in the latter for the key file in the data directory. It is too short to be a key.
const KEY_FILE: &str = "secrets.key";

/// A shorter one is easily guessed.
const CHARS_MIN: usize = 16;

/// The key in force, if the environment has one.
pub(super) fn read_key(environment: &Environment, report: &Report) -> Option<Secret> {
    let text = variable(environment, ENCRYPTION_KEY_VARIABLE)?;
    if text.chars().count() < CHARS_MIN {
        report.problem_outside(format!(
            "{ENCRYPTION_KEY_VARIABLE} must have at least {CHARS_MIN} characters; make one with: \
             openssl rand -base64 32"
        ));
    }
    Some(Secret::new(text))
}

/// The key of before, if the environment has one. Who gives the one in force would believe that the
/// key has changed, and is warned.
pub(super) fn read_previous_key(environment: &Environment, report: &Report) -> Option<PreviousKey> {
    let text = variable(environment, PREVIOUS_KEY_VARIABLE)?;
    let key = variable(environment, ENCRYPTION_KEY_VARIABLE);
    if key == Some(text) {
        report.warning_outside(format!(
            "{PREVIOUS_KEY_VARIABLE} is the same as {ENCRYPTION_KEY_VARIABLE}, so the key does not \
             change; set the latter to the new key"
        ));
    }
    if text == KEY_FILE {
        if key.is_none() {
            report.warning_outside(format!(
                "{PREVIOUS_KEY_VARIABLE} is the key file, which is in force while \
                 {ENCRYPTION_KEY_VARIABLE} is not set, so the key does not change; set the latter \
                 to the new key"
            ));
        }
        return Some(PreviousKey::KeyFile);
    }
    if text.chars().count() < CHARS_MIN {
        report.problem_outside(format!(
            "{PREVIOUS_KEY_VARIABLE} must be the key of before, which has at least {CHARS_MIN} \
             characters, or `{KEY_FILE}` for the key file in the data directory"
        ));
    }
    Some(PreviousKey::Text(Secret::new(text)))
}

/// Without what a file or a shell may have left around it. An empty one is not set.
fn variable<'a>(environment: &'a Environment, name: &str) -> Option<&'a str> {
    environment.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
}
