pub(super) fn note_known(_path: &str, _known: &[&'static str]) {}
