//! hookgate
fn main() {}
