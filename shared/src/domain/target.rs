//! Whom Millrace calls: addresses that its callers name. A call must never reach what only Millrace can reach, such as the
//! metadata service or a neighbour in a private network.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use url::{Host, Url};

/// Longest URL, in characters.
pub const MAX_URL: usize = 2_000;

/// How far calls may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Public addresses only, by https.
    Public,
    /// The loopback interface too, also by http: for work on one's own machine.
    Local,
}

impl Reach {
    /// Whether calls to this address are allowed.
    #[must_use]
    pub fn allows(self, address: IpAddr) -> bool {
        is_public(address) || (self == Self::Local && address.is_loopback())
    }
}

/// Why a URL may not be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// It is not a URL with a host.
    #[error("is not a URL with a host")]
    Garbled,
    /// It is too long.
    #[error("has more than {} characters", MAX_URL)]
    TooLong,
    /// It is not https.
    #[error("must begin with https://")]
    NotHttps,
    /// It holds a name or a password.
    #[error("must not hold a name or a password")]
    Credentials,
    /// It holds a fragment, which is never sent.
    #[error("must not have a #fragment")]
    Fragment,
    /// Its host is an address that is not public.
    #[error("must lead to a public address")]
    NotPublic,
}

/// A URL to be called. Whether the addresses behind its name are public is seen when it is called. `Debug` shows its host
/// only: the rest may be secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CallbackUrl(Url);

impl CallbackUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, reach: Reach) -> Result<Self, Forbidden> {
        if text.chars().count() > MAX_URL {
            return Err(Forbidden::TooLong);
        }
        let url = Self(Url::parse(text).map_err(|_| Forbidden::Garbled)?);
        url.check(reach)?;
        Ok(url)
    }

    /// Whether it may be called, as far as its text tells.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, reach: Reach) -> Result<(), Forbidden> {
        let url = &self.0;
        let host = url.host().ok_or(Forbidden::Garbled)?;
        let local = reach == Reach::Local && is_loopback(&host);
        match url.scheme() {
            "https" => {}
            "http" if local => {}
            _ => return Err(Forbidden::NotHttps),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Forbidden::Credentials);
        }
        if url.fragment().is_some() {
            return Err(Forbidden::Fragment);
        }
        // A name is looked up by the resolver, which checks; an address is not.
        let address = match host {
            Host::Domain(_) => return Ok(()),
            Host::Ipv4(address) => IpAddr::V4(address),
            Host::Ipv6(address) => IpAddr::V6(address),
        };
        if reach.allows(address) { Ok(()) } else { Err(Forbidden::NotPublic) }
    }

    /// The whole URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Its host.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }
}

/// Any URL: what was stored was checked before, and is checked again when it is called.
impl TryFrom<String> for CallbackUrl {
    type Error = Forbidden;

    fn try_from(text: String) -> Result<Self, Forbidden> {
        Url::parse(&text).map(Self).map_err(|_| Forbidden::Garbled)
    }
}

impl From<CallbackUrl> for String {
    fn from(url: CallbackUrl) -> Self {
        url.0.into()
    }
}

impl fmt::Debug for CallbackUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallbackUrl({}://{}/…)", self.0.scheme(), self.host())
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// Networks inside of IPv4 that are not public: the registry of special-purpose addresses
/// ([IANA](https://www.iana.org/assignments/iana-ipv4-special-registry)), multicast, and what is reserved.
const SPECIAL_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),       // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),      // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // shared by carriers
    (Ipv4Addr::new(127, 0, 0, 0), 8),     // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // link-local, with the metadata service
    (Ipv4Addr::new(172, 16, 0, 0), 12),   // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // protocols
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16),  // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),     // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),     // reserved, broadcast
];

/// Networks inside of 2000::/3 that are not public
/// ([IANA](https://www.iana.org/assignments/iana-ipv6-special-registry)).
const SPECIAL_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocols, with Teredo, which holds IPv4 addresses
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4, which holds IPv4 addresses
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// Whether anybody on the internet can reach this address. Of IPv6 only 2000::/3 is given out as such; all else is loopback,
/// local, multicast, or another writing of an IPv4 address.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let inside = |(net, bits): &(Ipv4Addr, u32)| (address.to_bits() ^ net.to_bits()) >> (32 - bits) == 0;
            !SPECIAL_V4.iter().any(inside)
        }
        IpAddr::V6(address) => {
            let inside = |(net, bits): &(Ipv6Addr, u32)| (address.to_bits() ^ net.to_bits()) >> (128 - bits) == 0;
            address.to_bits() >> 125 == 1 && !SPECIAL_V6.iter().any(inside)
        }
    }
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
