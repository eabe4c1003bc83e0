//! How events are written: one module per format.
