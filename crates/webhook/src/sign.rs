//! Signatures over bodies.
