//! The doors: one list with their access levels, and what all of them share.

pub mod access;
pub mod agents;
pub mod contacts;
pub mod desk;
pub mod events;
pub mod extract;
pub mod messages;
pub mod page;
pub mod problem;
pub mod request_id;
pub mod rooms;
pub mod webhooks;

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, middleware, routing::get};
use sqlx::PgPool;
use utoipa::openapi::OpenApi;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter},
    routes,
};

use access::Access;
use problem::Problem;

use crate::{
    channels::messenger::send::SenderAction,
    clock::Clock,
    config::Settings,
    crew::Crew,
    db::bell::{Bell, Topic},
    ids::{RoomId, TenantId},
    intake::accept::Intake,
    live::Live,
    queues::Dispatch,
    replies::{Outgoing, profiles},
    seal::SealKey,
};

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
    /// Wakes workers and readers.
    pub bell: Bell,
    /// Who works in this process.
    pub crew: Crew,
    /// Moves rooms.
    pub dispatch: Dispatch,
    /// Writes to contacts.
    pub outgoing: Outgoing,
    /// Takes webhooks in.
    pub intake: Intake,
    /// Hands out event streams.
    pub live: Live,
    /// Who has one open.
    pub streams: events::Streams,
}

impl App {
    /// Puts the parts together.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "one for each part")]
    pub fn new(
        db: PgPool,
        clock: Clock,
        seal: SealKey,
        settings: Arc<Settings>,
        bell: Bell,
        crew: Crew,
        dispatch: Dispatch,
        outgoing: Outgoing,
        intake: Intake,
        live: Live,
    ) -> Self {
        Self {
            db,
            clock,
            seal,
            settings,
            bell,
            crew,
            dispatch,
            outgoing,
            intake,
            live,
            streams: events::Streams::default(),
        }
    }

    /// After a commit: the tenant's log has grown.
    pub fn ring_events(&self, tenant: TenantId) {
        self.bell.ring(Topic::Events(tenant));
    }

    /// Settings that other processes keep in memory have changed.
    pub fn settings_changed(&self) {
        self.bell.ring(Topic::Config);
    }

    /// A sign of life to the contact, in the background; nobody waits for it.
    pub fn act(&self, tenant: TenantId, room: RoomId, action: SenderAction) {
        let outgoing = self.outgoing.clone();
        self.crew.spawn(async move { profiles::act(&outgoing, tenant, room, action).await });
    }
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
        // Meta's door.
        door(Access::Public, routes!(webhooks::verify, webhooks::receive)),
        // Answering.
        door(Access::AGENT, routes!(agents::show_mine, agents::set_mine)),
        door(Access::AGENT, routes!(rooms::mine)),
        door(Access::WATCH, routes!(agents::set)),
        door(Access::ROOMS, routes!(rooms::list)),
        door(Access::ROOMS, routes!(rooms::show)),
        door(Access::ROOMS, routes!(messages::list, messages::write)),
        door(Access::ROOMS, routes!(messages::note)),
        door(Access::AGENT, routes!(rooms::accept)),
        door(Access::AGENT, routes!(rooms::decline)),
        door(Access::ROOMS, routes!(rooms::typing)),
        door(Access::ROOMS, routes!(rooms::seen)),
        door(Access::ROOMS, routes!(rooms::tags)),
        door(Access::ROOMS, routes!(rooms::transfer)),
        door(Access::ROOMS, routes!(rooms::close)),
        door(Access::SUPERVISOR, routes!(rooms::take)),
        door(Access::STAFF, routes!(contacts::show, contacts::change)),
        door(Access::STAFF, routes!(contacts::rooms)),
        // What happens.
        door(Access::STAFF, routes!(events::events)),
    ]
}

/// A method on a path, and who may enter.
#[derive(Clone, Debug)]
pub struct DoorFacts {
    /// `GET` …
    pub method: &'static str,
    /// With `{id}` where an id goes.
    pub path: String,
    /// Who may enter.
    pub access: Access,
}

/// Every method on every path, with who may enter.
#[must_use]
pub fn list_doors() -> Vec<DoorFacts> {
    let mut facts = Vec::new();
    for Door { access, routes: (_, paths, _) } in doors() {
        for (path, item) in &paths.paths {
            let methods = [
                ("GET", item.get.is_some()),
                ("POST", item.post.is_some()),
                ("PUT", item.put.is_some()),
                ("PATCH", item.patch.is_some()),
                ("DELETE", item.delete.is_some()),
            ];
            facts.extend(methods.into_iter().filter(|it| it.1).map(|(method, _)| DoorFacts { method, path: path.clone(), access }));
        }
    }
    facts
}

/// The OpenAPI document, made from the doors.
#[must_use]
pub fn openapi() -> OpenApi {
    let mut router = OpenApiRouter::<App>::new();
    for it in doors() {
        router = router.routes(it.routes);
    }
    router.into_openapi()
}

/// The router and its description.
pub fn build(app: &App) -> (Router, OpenApi) {
    let mut router = OpenApiRouter::new();
    for Door { access, routes: (schemas, paths, methods) } in doors() {
        let layer = middleware::from_fn_with_state((app.clone(), access), access::layer);
        let limit =
            DefaultBodyLimit::max(if access == Access::Public { webhooks::MAX_BODY_BYTES } else { MAX_BODY_BYTES });
        router = router.routes((schemas, paths, methods.route_layer(layer).layer(limit)));
    }
    let (router, openapi) = router.split_for_parts();
    let router = router
        .route("/", get(desk::root))
        .route("/desk", get(desk::index))
        .route("/desk/{file}", get(desk::asset))
        .fallback(async || Problem::of(problem::NOT_FOUND))
        .method_not_allowed_fallback(async || Problem::of(problem::METHOD_NOT_ALLOWED))
        .layer(middleware::from_fn(request_id::layer))
        .with_state(app.clone());
    (router, openapi)
}
