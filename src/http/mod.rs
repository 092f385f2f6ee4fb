//! The doors: one list with their access levels, and what all of them share.

pub mod access;
pub mod extract;
pub mod page;
pub mod problem;
pub mod request_id;

mod tenants;

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, middleware};
use sqlx::PgPool;
use utoipa::openapi::OpenApi;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter},
    routes,
};

use access::Access;
use problem::Problem;

use crate::{clock::Clock, config::Settings, seal::SealKey};

/// Largest body of an ordinary door; webhooks have their own limit.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// What every door works with.
#[derive(Clone)]
pub struct App {
    /// The database.
    pub db: PgPool,
    /// The time.
    pub clock: Clock,
    /// Seals and opens secrets.
    pub seal: SealKey,
    /// The settings.
    pub settings: Arc<Settings>,
}

/// One door (or several methods on one path) and who may enter.
pub struct Door {
    /// Who may enter.
    pub access: Access,
    /// Its handlers and their description.
    pub routes: UtoipaMethodRouter<App>,
}

fn door(access: Access, routes: UtoipaMethodRouter<App>) -> Door {
    Door { access, routes }
}

/// Every door of the API. A new one is added here, and the access test finds it.
#[must_use]
pub fn doors() -> Vec<Door> {
    vec![
        // Tenants.
        door(Access::Operator, routes!(tenants::create, tenants::list)),
        door(Access::Operator, routes!(tenants::show, tenants::change, tenants::remove)),
    ]
}

/// The router and its description.
pub fn build(app: &App) -> (Router, OpenApi) {
    let mut router = OpenApiRouter::new();
    for Door { access, routes: (schemas, paths, methods) } in doors() {
        let layer = middleware::from_fn_with_state((app.clone(), access), access::layer);
        router = router.routes((schemas, paths, methods.route_layer(layer)));
    }
    let (router, openapi) = router.split_for_parts();
    let router = router
        .fallback(async || Problem::of(problem::NOT_FOUND))
        .method_not_allowed_fallback(async || Problem::of(problem::METHOD_NOT_ALLOWED))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(request_id::layer))
        .with_state(app.clone());
    (router, openapi)
}
