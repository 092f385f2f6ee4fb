//! Where a request comes from.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::request::Parts,
};

use super::App;

/// The client's address, if it is known.
#[derive(Clone, Copy, Debug)]
pub struct Address(pub Option<IpAddr>);

impl FromRequestParts<App> for Address {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        if app.settings.http.trust_forwarded_for {
            // The last entry is the one that our own proxy wrote; those before it are what the client claims.
            let headers = parts.headers.get_all("x-forwarded-for").iter();
            let last = headers.filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(',')).next_back();
            if let Some(address) = last.and_then(|it| it.trim().parse().ok()) {
                return Ok(Self(Some(address)));
            }
        }
        Ok(Self(parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(it)| it.ip())))
    }
}
