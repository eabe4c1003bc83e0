//! Who may manage: the master key, or anybody on this machine if the gateway has none.

use axum::http::Extensions;
use domain::call::{Caller, Refusal};

/// Why a request may not manage. The texts are for whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No key was shown.
    NoKey(&'static str),
    /// The key is not one of the gateway's.
    WrongKey(&'static str),
    /// A web page, or another machine.
    Foreign(&'static str),
    /// A key for calls only.
    NotMaster,
}

/// What a key for calls only is told.
pub(crate) const NOT_MASTER: &str = "this key may call models; managing needs the master key";

/// Passes who may manage. The proxy says who sent the request; without its word nobody passes.
pub(crate) fn may_manage(extensions: &Extensions) -> Result<(), Denied> {
    match extensions.get::<Result<Caller, Refusal>>() {
        Some(Ok(Caller::Master | Caller::Anonymous)) => Ok(()),
        Some(Ok(Caller::Key { .. })) => Err(Denied::NotMaster),
        Some(Err(Refusal::NoKey(text))) => Err(Denied::NoKey(text)),
        Some(Err(Refusal::WrongKey(text))) => Err(Denied::WrongKey(text)),
        Some(Err(Refusal::Foreign(text))) => Err(Denied::Foreign(text)),
        Some(Ok(Caller::Refused)) | None => Err(Denied::NoKey("no API key was given")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_master_key_and_this_machine_manage() {
        let key = || Caller::Key { name: "a".to_owned(), hash: "b".to_owned() };
        for (said, passes) in [
            (Some(Ok(Caller::Master)), true),
            (Some(Ok(Caller::Anonymous)), true),
            (Some(Ok(key())), false),
            (Some(Ok(Caller::Refused)), false),
            (Some(Err(Refusal::NoKey("x"))), false),
            (Some(Err(Refusal::WrongKey("x"))), false),
            (Some(Err(Refusal::Foreign("x"))), false),
            (None, false),
        ] {
            let mut extensions = Extensions::new();
            if let Some(said) = said.clone() {
                extensions.insert::<Result<Caller, Refusal>>(said);
            }
            assert_eq!(may_manage(&extensions).is_ok(), passes, "{said:?}");
        }
    }
}
