//! What a receiver's answer means.
