//! How connections leave the gateway's own network, to providers or to destinations.

use crate::secret::Secret;

/// The way out. The default is straight to whom it asks, trusting the bundled roots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outbound {
    /// What makes the connections, if the gateway itself may not.
    pub proxy: Option<ForwardProxy>,
    /// Root certificates (DER), each of which is one, trusted beside the bundled ones.
    pub extra_roots: Vec<Vec<u8>>,
}

/// An HTTP proxy that is asked for each connection by `CONNECT` (RFC 9110, 9.3.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardProxy {
    /// `http://host:port`, with the user and password for it, if it asks for them.
    pub url: Secret,
    /// Whom to ask without it: names, with all below them; addresses; networks; `*` for everybody.
    pub except: Vec<String>,
}
