//! Which destination stands by for which.
//!
//! Invariant: a standby stands inside its primary's `Destination` and nowhere else, and has none of
//! its own.

use domain::destination::Destination;

use super::report::{At, Report, did_you_mean};

/// A destination, and where it stands in the configuration.
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) at: At,
    pub(crate) path: String,
    /// `None` if it is not enabled.
    pub(crate) destination: Option<Destination>,
    pub(crate) failover_for: FailoverFor,
}

/// For whom a destination stands by.
pub(crate) enum FailoverFor {
    /// Nothing is said: an entry named `backup` stands by for `primary` (seed 002), others for
    /// nobody.
    AsNamed,
    /// For nobody.
    Nobody,
    /// `failover_for: name`.
    Destination { name: String, at: At, path: String },
}

/// Puts standbys into their primaries; what remains are the destinations with a lane of their own.
pub(crate) fn arrange(drafts: Vec<Draft>, report: &Report) -> Vec<Destination> {
    report_same_names(&drafts, report);
    let primaries: Vec<Option<String>> =
        drafts.iter().map(|draft| primary_of(draft, &drafts, report)).collect();
    let mut alone: Vec<Destination> = Vec::new();
    let mut standbys: Vec<(String, Destination, Draft)> = Vec::new();
    for (mut draft, primary) in drafts.into_iter().zip(primaries) {
        let Some(destination) = draft.destination.take() else { continue };
        match primary {
            None => alone.push(destination),
            Some(primary) => standbys.push((primary, destination, draft)),
        }
    }
    for (primary, destination, draft) in standbys {
        match alone.iter_mut().find(|other| other.name.as_str() == primary) {
            Some(other) if other.backup.is_none() => other.backup = Some(Box::new(destination)),
            Some(other) => {
                let first = other.backup.as_ref().map(|b| b.name.to_string()).unwrap_or_default();
                let what = format!("`{primary}` has a standby already: `{first}`");
                report.problem(&draft.at, &draft.path, what);
            }
            None => {
                let what = format!("`{primary}` is itself a standby, and a standby has none");
                report.problem(&draft.at, &draft.path, what);
            }
        }
    }
    alone
}

fn report_same_names(drafts: &[Draft], report: &Report) {
    for (index, draft) in drafts.iter().enumerate() {
        if let Some(first) = drafts[..index].iter().find(|first| first.name == draft.name) {
            let what =
                format!("is a second destination of this name; the first is at {}", first.at);
            report.problem(&draft.at, &draft.path, what);
        }
    }
}

fn primary_of(draft: &Draft, drafts: &[Draft], report: &Report) -> Option<String> {
    draft.destination.as_ref()?;
    let find = |name: &str| drafts.iter().find(|other| other.name == name);
    match &draft.failover_for {
        FailoverFor::Nobody => None,
        FailoverFor::AsNamed => {
            let primary = find("primary").filter(|_| draft.name == "backup")?;
            primary.destination.as_ref().map(|_| primary.name.clone())
        }
        FailoverFor::Destination { name, .. } if *name == draft.name => None,
        FailoverFor::Destination { name, at, path } => match find(name) {
            Some(primary) if primary.destination.is_some() => Some(name.clone()),
            Some(_) => {
                let what = format!("`{name}` is not enabled, so this one gets every event itself");
                report.warning(at, path, what);
                None
            }
            None => {
                let names = drafts.iter().map(|draft| draft.name.as_str());
                let near = did_you_mean(name, names);
                report.problem(at, path, format!("there is no destination `{name}`{near}"));
                None
            }
        },
    }
}
