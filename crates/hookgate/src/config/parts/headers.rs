//! Headers of the user's own, from whichever places name them.

use domain::secret::Secret;

use crate::config::{report::Report, section::Field};

/// Headers under construction: a later one replaces an earlier one of the same name, in any case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers(Vec<(String, Secret)>);

impl Headers {
    /// Adds a header, or replaces its value.
    pub(crate) fn put(&mut self, name: &str, value: Secret) {
        self.0.retain(|(earlier, _)| !earlier.eq_ignore_ascii_case(name));
        self.0.push((name.to_owned(), value));
    }

    /// Adds the headers of a map of the configuration.
    pub(crate) fn read(&mut self, field: &Field<'_>) {
        let Some(section) = field.section() else { return };
        for (entry, field) in section.fields() {
            let Some(text) = field.text() else { continue };
            if text.contains("os.environ/") {
                field.warning(
                    "os.environ/NAME works only as the whole value, so this is sent as it stands; \
                     write ${NAME}",
                );
            }
            match webhook::request::validate_header(&entry.key, &text) {
                Ok(()) => self.put(&entry.key, Secret::new(&text)),
                Err(error) => field.problem(error.to_string()),
            }
        }
    }

    /// Adds what `GENERIC_LOGGER_HEADERS` holds: `k1=v1,k2=v2` (LiteLLM: split at commas, then at
    /// the first `=`, trimmed; pieces without `=` are passed over).
    pub(crate) fn read_variable(&mut self, text: &str, report: &Report) {
        for piece in text.split(',') {
            let Some((name, value)) = piece.split_once('=') else { continue };
            let (name, value) = (name.trim(), value.trim());
            match webhook::request::validate_header(name, value) {
                Ok(()) => self.put(name, Secret::new(value)),
                Err(error) => report.problem_outside(format!("GENERIC_LOGGER_HEADERS: {error}")),
            }
        }
    }

    /// The headers, in the order in which they were put.
    pub(crate) fn into_vec(self) -> Vec<(String, Secret)> {
        self.0
    }
}
