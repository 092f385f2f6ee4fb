//! Gets files that others name by address, and lets nobody use that to reach what only we can reach.
//!
//! An address is followed if its host is allowed. Allowed domains are spoken to by https on port 443 and only at public addresses: the
//! resolver of the connection itself leaves out all others, so a name cannot change its mind between check and use. Every step of a
//! redirect is looked at in the same way. Origins that the operator names with scheme and port are trusted as they are.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Client, StatusCode,
    dns::{Addrs, Name, Resolve, Resolving},
    header, redirect,
};
use url::{Host, Origin, Url};

/// Steps of a redirect that are followed.
const MOST_REDIRECTS: usize = 3;
/// A content network that has not taken the connection by then is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Gets files. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fetch {
    allowed: Arc<Allowed>,
    public_only: Client,
    as_it_is: Client,
    most_bytes: usize,
    patience: Duration,
}

/// Why there are no bytes.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// We do not go there.
    #[error("the address is refused: {0}")]
    Refused(&'static str),
    /// More bytes than we keep.
    #[error("more than {0} bytes")]
    TooLarge(usize),
    /// No bytes now; `is_gone` if the other side says so for good.
    #[error("not available: {detail}")]
    Unavailable {
        /// What happened.
        detail: String,
        /// Whether it was a 4xx.
        is_gone: bool,
    },
}

impl Fetch {
    /// A client for `hosts` (domains, or origins such as `http://10.0.0.5:9000`, with commas between them) and one more origin.
    ///
    /// # Errors
    /// One line if a host is neither.
    pub fn new(hosts: &str, also: &Url, most_bytes: usize, patience: Duration) -> Result<Self, String> {
        let mut allowed = Allowed::read(hosts)?;
        allowed.origins.push(also.origin());
        // Whoever comes second finds the same provider already there.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = || {
            Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .redirect(redirect::Policy::none())
                .no_proxy()
                .referer(false)
        };
        let built = |it: reqwest::ClientBuilder| it.build().map_err(|_| "the HTTP client cannot be built".to_owned());
        Ok(Self {
            allowed: Arc::new(allowed),
            public_only: built(client().dns_resolver(PublicOnly))?,
            as_it_is: built(client())?,
            most_bytes,
            patience,
        })
    }

    /// The most bytes a file may have.
    #[must_use]
    pub fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    /// Longest time that [`Fetch::get`] takes.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// The bytes at an address.
    ///
    /// # Errors
    /// [`FetchError`]
    pub async fn get(&self, address: &str) -> Result<Bytes, FetchError> {
        let late = || FetchError::Unavailable { detail: format!("took over {:?}", self.patience), is_gone: false };
        tokio::time::timeout(self.patience, self.follow(address)).await.map_err(|_| late())?
    }

    async fn follow(&self, address: &str) -> Result<Bytes, FetchError> {
        let mut url = Url::parse(address).map_err(|_| FetchError::Refused("it is no URL"))?;
        for _ in 0..=MOST_REDIRECTS {
            let trust = self.allowed.look(&url)?;
            let client = if trust == Trust::AsItIs { &self.as_it_is } else { &self.public_only };
            let response = client.get(url.clone()).send().await.map_err(broken)?;
            // The resolver has seen to it; should it ever be bypassed, this has not been.
            let is_private = response.remote_addr().is_some_and(|it| !is_public(it.ip()));
            if trust == Trust::PublicOnly && is_private {
                return Err(FetchError::Refused("it leads to a private address"));
            }
            if response.status().is_redirection() {
                let next = response.headers().get(header::LOCATION).and_then(|it| it.to_str().ok());
                url = next.and_then(|it| url.join(it).ok()).ok_or(FetchError::Refused("it redirects nowhere"))?;
                continue;
            }
            return self.read(response).await;
        }
        Err(FetchError::Refused("it redirects too often"))
    }

    async fn read(&self, mut response: reqwest::Response) -> Result<Bytes, FetchError> {
        let status = response.status();
        if status != StatusCode::OK {
            let is_gone = status.is_client_error()
                && !matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
            return Err(FetchError::Unavailable { detail: format!("the answer is {status}"), is_gone });
        }
        let too_large = || FetchError::TooLarge(self.most_bytes);
        let promised = response.content_length().unwrap_or(0);
        if promised > self.most_bytes as u64 {
            return Err(too_large());
        }
        let mut bytes = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if bytes.len() + chunk.len() > self.most_bytes {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }
}

/// Addresses of files are as good as passwords: an error does not hold them.
fn broken(error: reqwest::Error) -> FetchError {
    let sources = std::iter::successors(std::error::Error::source(&error), |it| it.source());
    if sources.into_iter().any(|it| it.is::<Private>()) {
        return FetchError::Refused("it leads to a private address");
    }
    FetchError::Unavailable { detail: error.without_url().to_string(), is_gone: false }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    PublicOnly,
    AsItIs,
}

#[derive(Debug, Default)]
struct Allowed {
    domains: Vec<String>,
    origins: Vec<Origin>,
}

impl Allowed {
    fn read(hosts: &str) -> Result<Self, String> {
        let mut allowed = Self::default();
        for host in hosts.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            if host.contains("://") {
                let url = Url::parse(host).ok().filter(|it| matches!(it.scheme(), "http" | "https") && it.has_host());
                let url = url.ok_or_else(|| format!("{host} is no origin"))?;
                allowed.origins.push(url.origin());
            } else {
                match Host::parse(host) {
                    Ok(Host::Domain(domain)) => allowed.domains.push(domain),
                    _ => return Err(format!("{host} is no domain; addresses are named as http://address:port")),
                }
            }
        }
        Ok(allowed)
    }

    fn look(&self, url: &Url) -> Result<Trust, FetchError> {
        if self.origins.contains(&url.origin()) {
            return Ok(Trust::AsItIs);
        }
        let Some(Host::Domain(host)) = url.host() else { return Err(FetchError::Refused("its host is not allowed")) };
        let is_under = |domain: &String| {
            host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if !self.domains.iter().any(is_under) {
            return Err(FetchError::Refused("its host is not allowed"));
        }
        if url.scheme() != "https" || url.port().is_some() || !url.username().is_empty() {
            return Err(FetchError::Refused("it is not plain https"));
        }
        Ok(Trust::PublicOnly)
    }
}

/// A resolver that knows no private addresses.
struct PublicOnly;

#[derive(Debug)]
struct Private;

impl fmt::Display for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name has private addresses only")
    }
}

impl std::error::Error for Private {}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let public: Vec<SocketAddr> = found.into_iter().filter(|it| is_public(it.ip())).collect();
            if public.is_empty() {
                return Err(Private.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the internet's, not of our own network, machine or its neighbours (RFC 6890's tables).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => is_public_v4(it),
        IpAddr::V6(it) => is_public_v6(it),
    }
}

fn is_public_v4(it: Ipv4Addr) -> bool {
    let [a, b, c, _] = it.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_reserved = a == 0 || a >= 240 || (a == 192 && b == 0 && c == 0) || (a == 198 && (b == 18 || b == 19));
    !(it.is_private()
        || it.is_loopback()
        || it.is_link_local()
        || it.is_multicast()
        || it.is_documentation()
        || is_shared
        || is_reserved)
}

fn is_public_v6(it: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = it.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match (a, b) {
        // Addresses of the old kind in several dresses: mapped and compatible, NAT64, 6to4.
        (0, 0) if (c, d, e) == (0, 0, 0) && (f == 0 || f == 0xffff) => f == 0xffff && is_public_v4(v4(g, h)),
        (0x64, 0xff9b) => (c, d, e, f) == (0, 0, 0, 0) && is_public_v4(v4(g, h)),
        (0x2002, _) => is_public_v4(v4(b, c)),
        (0x2001, 0xdb8) | (0x2001, 0..0x200) => false,
        // Only 2000::/3 is given out.
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(hosts: &str) -> Fetch {
        let graph = Url::parse("http://127.0.0.1:9").unwrap();
        Fetch::new(hosts, &graph, 1000, Duration::from_secs(2)).unwrap()
    }

    #[test]
    fn addresses_of_our_own_are_not_public() {
        for private in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "203.0.113.7",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "fec0::1",
            "4000::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in [
            "157.240.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "2a03:2880:f12f::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[track_caller]
    fn look(hosts: &str, url: &str) -> Option<Trust> {
        Allowed::read(hosts).unwrap().look(&Url::parse(url).unwrap()).ok()
    }

    #[test]
    fn only_allowed_hosts_are_spoken_to() {
        let hosts = "fbcdn.net, fbsbx.com,http://10.0.0.5:9000";
        let public = Some(Trust::PublicOnly);
        assert_eq!(look(hosts, "https://fbcdn.net/a"), public);
        assert_eq!(look(hosts, "https://scontent.xx.FBCDN.net/a?oe=1"), public);
        assert_eq!(look(hosts, "https://cdn.fbsbx.com/a"), public);
        assert_eq!(look(hosts, "http://10.0.0.5:9000/a"), Some(Trust::AsItIs));
        for url in [
            "http://fbcdn.net/a",
            "https://fbcdn.net:8443/a",
            "https://user@fbcdn.net/a",
            "https://evilfbcdn.net/a",
            "https://fbcdn.net.evil.example/a",
            "https://evil.example/fbcdn.net",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://2130706433/",
            "https://0x7f.1/",
            "ftp://fbcdn.net/a",
            "file:///etc/passwd",
            "data:,x",
            "http://10.0.0.5/a",
            "https://10.0.0.5:9000/a",
            "http://10.0.0.5:9001/a",
            "https://fbcdn.net@evil.example/",
        ] {
            assert_eq!(look(hosts, url), None, "{url}");
        }
        assert!(Allowed::read("10.0.0.5").is_err());
        assert!(Allowed::read("http://").is_err());
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_refused() {
        // Everybody's resolver knows that name.
        let refused = fetch("localhost").get("https://localhost/").await;
        assert!(matches!(refused, Err(FetchError::Refused("it leads to a private address"))), "{refused:?}");
    }

    #[tokio::test]
    async fn nobody_there_is_no_refusal() {
        let error = fetch("").get("http://127.0.0.1:9/?secret=1").await.unwrap_err();
        assert!(matches!(error, FetchError::Unavailable { is_gone: false, .. }), "{error:?}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
}
