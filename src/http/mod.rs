//! The doors: one list with their access levels, and what all of them share.

pub mod access;
mod address;
pub mod agents;
pub mod api_keys;
pub mod audit;
pub mod canned_answers;
pub mod contacts;
mod created;
mod describe;
pub mod desk;
pub mod directory;
pub mod docs;
pub mod events;
pub mod extract;
pub mod health;
pub mod hours;
pub mod incoming_chats;
pub mod ledger;
pub mod live;
pub mod media;
pub mod messages;
pub mod meta_apps;
pub mod page;
pub mod problem;
pub mod queues;
pub mod reactions;
mod refusals;
pub mod request_id;
pub mod rooms;
pub mod routing;
pub mod serve;
pub mod sessions;
pub mod streams;
pub mod tenants;
pub mod uploads;
pub mod users;
pub mod webhooks;
pub mod widgets;

pub use tenants::create_tenant;

use std::{net::SocketAddr, ops::Deref, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, DefaultBodyLimit, Request},
    middleware,
    response::Response,
    routing::get,
};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use tower::ServiceExt;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter},
    routes,
};

use access::Access;
use problem::Problem;
use serve::Paced;

use crate::{
    channels::messenger::send::SenderAction,
    clock::Clock,
    config::Settings,
    crew::Crew,
    db::bell::{Bell, Topic},
    ids::{RoomId, TenantId, WidgetId},
    intake::accept::Intake,
    live::Live,
    media::Media,
    people::{Callers, passwords::Passwords, throttle::Throttle},
    queues::{Dispatch, board::Boards},
    replies::{self, Outgoing, profiles, together::Replies, typing::Typing},
    rooms::events::shown,
    seal::SealKey,
    widgets::connect::Token,
};

/// Largest body of an ordinary door; webhooks have their own limit.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// The same where nobody has said who they are: a login is short.
const MAX_PUBLIC_BODY_BYTES: usize = 16 * 1024;

/// A resource with links to its files.
pub type Shown = axum::Json<Value>;

/// What every door works with. Cheap to clone: every request does so more than once.
#[derive(Clone)]
pub struct App(Arc<Parts>);

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The parts of an [`App`].
pub struct Parts {
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
    /// Takes what agents reply.
    pub replies: Replies,
    /// Knows who calls.
    pub callers: Callers,
    /// Takes webhooks in.
    pub intake: Intake,
    /// Hands out event streams.
    pub live: Live,
    /// Keeps files and shows them.
    pub media: Media,
    /// Where somebody types.
    pub typing: Typing,
    /// Who has one open.
    pub streams: streams::Streams,
    /// Hands out live views.
    pub boards: Boards,
    /// Hashes and checks passwords.
    pub passwords: Passwords,
    /// Slows down who guesses them.
    pub logins: Arc<Throttle>,
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
        replies: Replies,
        intake: Intake,
        live: Live,
        media: Media,
        typing: Typing,
    ) -> Self {
        let (streams, passwords, logins) = (streams::Streams::default(), Passwords::default(), Arc::default());
        let callers = Callers::new(db.clone(), &bell);
        let boards = Boards::new(db.clone(), bell.clone(), clock.clone(), crew.clone());
        Self(Arc::new(Parts {
            db,
            clock,
            seal,
            settings,
            bell,
            crew,
            dispatch,
            outgoing,
            replies,
            callers,
            intake,
            live,
            media,
            typing,
            streams,
            boards,
            passwords,
            logins,
        }))
    }

    /// A resource, or a list of them, as its tenant's callers see it: with links to its files.
    pub fn show(&self, tenant: TenantId, resource: &impl Serialize) -> Shown {
        let (mut resource, now) = (shown(resource), self.clock.now());
        match resource.get_mut("items").and_then(Value::as_array_mut) {
            Some(items) => items.iter_mut().for_each(|it| self.media.links.show(tenant, it, now)),
            None => self.media.links.show(tenant, &mut resource, now),
        }
        axum::Json(resource)
    }

    /// After a commit: the tenant's log has grown.
    pub fn ring_events(&self, tenant: TenantId) {
        self.bell.ring(Topic::Events(tenant));
    }

    /// What processes keep in memory has changed: settings, or who may come in. After the commit, before the answer.
    pub fn settings_changed(&self) {
        self.bell.ring(Topic::Config);
    }

    /// What decides who is next has changed: members, seats, hours, priorities.
    pub fn queues_changed(&self, tenant: TenantId) {
        self.bell.ring(Topic::Queues(tenant));
    }

    /// Replies that waited for a Page's token may go out now.
    pub async fn replies_may_go(&self, tenant: TenantId, widget: WidgetId, token: Token) {
        let now = self.clock.now();
        if let Err(error) = replies::store::send::release_page(&self.db, tenant, widget, token, now).await {
            tracing::warn!(widget.id = %widget, error = %error, "the replies of widget {widget} go out a minute later");
        }
        self.bell.ring(Topic::Outbox);
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
        // Whether it runs, and what it can do.
        door(Access::Public, routes!(health::alive)),
        door(Access::Public, routes!(health::ready)),
        door(Access::Public, routes!(docs::openapi)),
        door(Access::Public, routes!(docs::page)),
        door(Access::Public, routes!(docs::script)),
        door(Access::Public, routes!(docs::problem)),
        // Coming in.
        door(Access::Public, routes!(sessions::create)),
        door(Access::STAFF, routes!(sessions::remove)),
        door(Access::STAFF, routes!(sessions::me)),
        // The operator's.
        door(Access::Operator, routes!(tenants::create, tenants::list)),
        door(Access::Operator, routes!(tenants::show, tenants::change, tenants::remove)),
        door(Access::Operator, routes!(meta_apps::create, meta_apps::list)),
        door(Access::Operator, routes!(meta_apps::remove)),
        // Setting up: people.
        door(Access::ADMIN, routes!(users::create, users::list)),
        door(Access::ADMIN, routes!(users::show, users::change, users::remove)),
        door(Access::ADMIN, routes!(api_keys::create, api_keys::list)),
        door(Access::ADMIN, routes!(api_keys::remove)),
        door(Access::ADMIN, routes!(audit::list)),
        // Setting up: where, when and to whom.
        door(Access::WATCH, routes!(widgets::list)),
        door(Access::ADMIN, routes!(widgets::create)),
        door(Access::WATCH, routes!(widgets::show)),
        door(Access::ADMIN, routes!(widgets::change, widgets::remove)),
        door(Access::ADMIN, routes!(widgets::callback)),
        door(Access::ADMIN, routes!(widgets::rotate)),
        door(Access::ADMIN, routes!(widgets::check)),
        door(Access::ADMIN, routes!(widgets::subscribe)),
        door(Access::WATCH, routes!(hours::list)),
        door(Access::ADMIN, routes!(hours::create)),
        door(Access::WATCH, routes!(hours::show)),
        door(Access::ADMIN, routes!(hours::change, hours::remove)),
        door(Access::WATCH, routes!(hours::status)),
        door(Access::WATCH, routes!(queues::list)),
        door(Access::ADMIN, routes!(queues::create)),
        door(Access::WATCH, routes!(queues::show)),
        door(Access::ADMIN, routes!(queues::change, queues::remove)),
        door(Access::WATCH, routes!(queues::members)),
        door(Access::WATCH, routes!(queues::put_member, queues::remove_member)),
        door(Access::WATCH, routes!(incoming_chats::list)),
        door(Access::ADMIN, routes!(incoming_chats::create)),
        door(Access::WATCH, routes!(incoming_chats::show)),
        door(Access::ADMIN, routes!(incoming_chats::change, incoming_chats::remove)),
        door(Access::STAFF, routes!(canned_answers::list)),
        door(Access::ADMIN, routes!(canned_answers::create)),
        door(Access::STAFF, routes!(canned_answers::show)),
        door(Access::ADMIN, routes!(canned_answers::change, canned_answers::remove)),
        // Meta's door.
        door(Access::Public, routes!(webhooks::verify, webhooks::receive)),
        // Files: whoever has the link may look.
        door(Access::Public, routes!(media::show)),
        door(Access::ADMIN, routes!(ledger::list)),
        door(Access::ADMIN, routes!(ledger::show)),
        door(Access::ADMIN, routes!(ledger::replay)),
        // Answering.
        door(Access::AGENT, routes!(agents::show_mine, agents::set_mine)),
        door(Access::AGENT, routes!(rooms::mine)),
        door(Access::WATCH, routes!(agents::set)),
        door(Access::ROOMS, routes!(rooms::list)),
        door(Access::ROOMS, routes!(rooms::show)),
        door(Access::STAFF, routes!(routing::show)),
        door(Access::ROOMS, routes!(messages::list, messages::write)),
        door(Access::ROOMS, routes!(messages::resend)),
        door(Access::ROOMS, routes!(messages::note)),
        door(Access::ROOMS, routes!(uploads::create)),
        door(Access::ROOMS, routes!(reactions::set, reactions::remove)),
        door(Access::AGENT, routes!(rooms::accept)),
        door(Access::AGENT, routes!(rooms::decline)),
        door(Access::ROOMS, routes!(rooms::typing)),
        door(Access::ROOMS, routes!(rooms::seen)),
        door(Access::ROOMS, routes!(rooms::tags)),
        door(Access::ROOMS, routes!(rooms::transfer)),
        door(Access::ROOMS, routes!(rooms::close)),
        door(Access::ROOMS, routes!(rooms::take_thread)),
        door(Access::SUPERVISOR, routes!(rooms::take)),
        door(Access::STAFF, routes!(directory::show)),
        door(Access::STAFF, routes!(contacts::show, contacts::change)),
        door(Access::STAFF, routes!(contacts::rooms)),
        // What happens.
        door(Access::WATCH, routes!(live::show)),
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
            facts.extend(methods.into_iter().filter(|it| it.1).map(|(method, _)| DoorFacts {
                method,
                path: path.clone(),
                access,
            }));
        }
    }
    facts
}

/// The OpenAPI document, made from the doors.
#[must_use]
pub fn openapi() -> serde_json::Value {
    let mut router = OpenApiRouter::<App>::new();
    for Door { access, routes: (schemas, mut paths, methods) } in doors() {
        describe::door(&mut paths, access);
        router = router.routes((schemas, paths, methods));
    }
    describe::whole(router.into_openapi())
}

/// The doors, open. Cheap to clone.
#[derive(Clone)]
pub struct Doors {
    app: App,
    router: Router,
}

impl Doors {
    /// All of them.
    pub fn open(app: &App) -> Self {
        Self { app: app.clone(), router: build(app) }
    }

    /// Answers a request that came from `peer`.
    pub async fn answer(&self, mut request: Request<Paced>, peer: SocketAddr) -> Response {
        if let Some(key) = webhooks::posted_to(&request).map(str::to_owned) {
            return webhooks::receive_directly(&self.app, &key, request).await;
        }
        request.extensions_mut().insert(ConnectInfo(peer));
        let Ok(response) = self.router.clone().oneshot(request.map(Body::new)).await;
        response
    }
}

fn build(app: &App) -> Router {
    let mut router = OpenApiRouter::new();
    for Door { access, routes: (schemas, paths, methods) } in doors() {
        let layer = middleware::from_fn_with_state((app.clone(), access), access::layer);
        let limit = match paths.paths.keys().next() {
            // The form around the file.
            Some(path) if path.ends_with("/attachments") => app.media.fetch.most_bytes() + MAX_BODY_BYTES,
            _ if access == Access::Public => MAX_PUBLIC_BODY_BYTES,
            _ => MAX_BODY_BYTES,
        };
        let limit = DefaultBodyLimit::max(limit);
        // A public door has nobody to look at, and Meta's is the one that most people come through.
        let methods = if access == Access::Public { methods } else { methods.route_layer(layer) };
        router = router.routes((schemas, paths, methods.layer(limit)));
    }
    axum::Router::from(router)
        .route("/", get(desk::root))
        .route("/desk", get(desk::index))
        .route("/desk/{*below}", get(desk::below))
        .fallback(async || Problem::of(problem::NOT_FOUND))
        .method_not_allowed_fallback(async || Problem::of(problem::METHOD_NOT_ALLOWED))
        .layer(middleware::from_fn(request_id::layer))
        .with_state(app.clone())
}
