//! Which addresses may be dialled, and how names become addresses.
//!
//! Invariant: there is no other way out. Literal addresses take the same way as names, and an
//! answer of which one address must not be dialled is refused whole: who mixes them is probing.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
};

use domain::network::Network;
use tokio::net::lookup_host;
use webhook::address::{self, Refusal};

use super::connect::ConnectError;

/// What a resolver is working on.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Turns names into addresses.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of a name, in the order in which they are to be tried, with the port.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a>;
}

/// The machine's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        Box::pin(async move { Ok(lookup_host((host, port)).await?.collect()) })
    }
}

/// Judges addresses for all destinations.
pub(super) struct Guard {
    resolver: Box<dyn Resolve>,
    /// Private networks that every destination may be in.
    networks: Vec<Network>,
    /// Where the gateway itself listens.
    listeners: RwLock<Vec<SocketAddr>>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("networks", &self.networks).finish_non_exhaustive()
    }
}

impl Guard {
    pub(super) fn new(resolver: Box<dyn Resolve>, networks: Vec<Network>) -> Arc<Self> {
        Arc::new(Self { resolver, networks, listeners: RwLock::default() })
    }

    /// The gateway listens there: no destination may be there.
    pub(super) fn refuse(&self, listener: SocketAddr) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    /// The addresses of a host, all of which may be dialled, and at least one.
    pub(super) async fn resolve(
        &self,
        host: &str,
        port: u16,
        allow_private: bool,
    ) -> Result<Vec<SocketAddr>, ConnectError> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let addresses = if let Ok(ip) = bare.parse() {
            vec![SocketAddr::new(ip, port)]
        } else {
            let resolved = self.resolver.resolve(bare, port).await;
            resolved.map_err(|source| ConnectError::Resolve { host: host.to_owned(), source })?
        };
        self.vet(host, &addresses, allow_private)?;
        Ok(addresses)
    }

    pub(super) fn vet(
        &self,
        host: &str,
        addresses: &[SocketAddr],
        allow_private: bool,
    ) -> Result<(), ConnectError> {
        if addresses.is_empty() {
            return Err(ConnectError::NoAddress { host: host.to_owned() });
        }
        let check = |address: &SocketAddr| {
            let ip = address.ip();
            let allow = allow_private || self.networks.iter().any(|network| network.contains(ip));
            address::check(ip, allow)?;
            if self.is_own(*address) {
                return Err(Refusal { address: ip, kind: OWN_LISTENER, private: false });
            }
            Ok(())
        };
        addresses
            .iter()
            .try_for_each(check)
            .map_err(|source| ConnectError::Refused { host: host.to_owned(), source })
    }

    /// Whether the gateway listens at an address, as far as the address itself tells.
    fn is_own(&self, address: SocketAddr) -> bool {
        let (ip, port) = (address.ip().to_canonical(), address.port());
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().any(|own| {
            let own_ip = own.ip().to_canonical();
            let all_of_loopback = own_ip.is_unspecified() && ip.is_loopback();
            own.port() == port && (own_ip == ip || all_of_loopback)
        })
    }

    /// Refuses a connection that came back to the gateway itself: one that listens on all addresses
    /// is reached by any of the machine's, and then both ends have the same.
    pub(super) fn vet_connected(&self, local: SocketAddr, peer: SocketAddr) -> Result<(), Refusal> {
        let ip = peer.ip();
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
        let to_self = local.ip().to_canonical() == ip.to_canonical();
        let is_own =
            |own: &SocketAddr| own.ip().is_unspecified() && own.port() == peer.port() && to_self;
        if listeners.iter().any(is_own) {
            return Err(Refusal { address: ip, kind: OWN_LISTENER, private: false });
        }
        Ok(())
    }
}

const OWN_LISTENER: &str = "the gateway's own";

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(networks: &[&str]) -> Arc<Guard> {
        let networks = networks.iter().map(|text| text.parse().unwrap()).collect();
        Guard::new(Box::new(SystemResolver), networks)
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn passes(guard: &Guard, texts: &[&str], allow_private: bool) -> bool {
        match guard.vet("a", &addresses(texts), allow_private) {
            Ok(()) => true,
            Err(ConnectError::Refused { .. }) => false,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn an_answer_with_one_bad_address_is_refused_whole() {
        let guard = guard(&[]);
        assert!(passes(&guard, &["1.1.1.1:443", "[2606:4700:4700::1111]:443"], false));
        for bad in ["10.0.0.1:443", "[::1]:443", "[::ffff:192.168.0.1]:443"] {
            assert!(!passes(&guard, &["1.1.1.1:443", bad], false), "{bad}");
            assert!(passes(&guard, &["1.1.1.1:443", bad], true), "{bad}");
        }
        assert!(!passes(&guard, &["10.0.0.1:443", "169.254.169.254:443"], true));
    }

    #[test]
    fn an_empty_answer_is_no_address() {
        let vetted = guard(&[]).vet("a", &[], true);
        assert!(matches!(vetted, Err(ConnectError::NoAddress { .. })));
    }

    #[test]
    fn an_allowed_network_opens_itself_and_nothing_that_is_never_open() {
        let guard = guard(&["10.1.0.0/16", "fd00::/8", "169.254.0.0/16"]);
        for (address, is_open) in [
            ("10.1.2.3:80", true),
            ("[::ffff:10.1.2.3]:80", true),
            ("10.2.0.1:80", false),
            ("127.0.0.1:80", false),
            ("[fd12::1]:80", true),
            ("[fd00:ec2::254]:80", false),
            ("169.254.169.254:80", false),
        ] {
            assert_eq!(passes(&guard, &[address], false), is_open, "{address}");
        }
    }

    #[test]
    fn where_the_gateway_listens_no_destination_may_be() {
        let guard = guard(&[]);
        guard.refuse("127.0.0.1:4000".parse().unwrap());
        guard.refuse("0.0.0.0:4001".parse().unwrap());
        guard.refuse("[::]:4002".parse().unwrap());
        for (address, may_be) in [
            ("127.0.0.1:4000", false),
            ("[::ffff:127.0.0.1]:4000", false),
            ("127.0.0.2:4000", true),
            ("127.0.0.1:4003", true),
            ("127.0.0.1:4001", false),
            ("127.9.9.9:4001", false),
            ("[::1]:4001", false),
            ("127.0.0.1:4002", false),
            ("10.0.0.1:4001", true),
        ] {
            assert_eq!(passes(&guard, &[address], true), may_be, "{address}");
        }
    }

    #[test]
    fn a_connection_to_oneself_is_refused_when_the_gateway_listens_everywhere() {
        let guard = guard(&[]);
        guard.refuse("0.0.0.0:4001".parse().unwrap());
        let vet = |local: &str, peer: &str| {
            guard.vet_connected(local.parse().unwrap(), peer.parse().unwrap()).is_ok()
        };
        assert!(!vet("10.0.0.5:50000", "10.0.0.5:4001"));
        assert!(vet("10.0.0.5:50000", "10.0.0.6:4001"), "another machine's port of that number");
        assert!(vet("10.0.0.5:50000", "10.0.0.5:4002"), "another service of this machine");
    }
}
