//! `/widgets`: where contacts come in.

use axum::{Json, extract::State, http::StatusCode};

use super::{
    App,
    created::Created,
    extract::{Json as Body, Path, Query, RawJson, patched},
    page::{List, Page},
    problem::{self, Problem},
};
use crate::{
    audit,
    check::Invalid,
    ids::{TenantId, WidgetId},
    people::Staff,
    rooms::events::{self, NewEvent},
    widgets::{
        Widget, WidgetInput,
        apps::{self, Callback},
        connect::{self, Token},
        health,
        store::{self, StoredWidget},
    },
};

/// Connects a Page. Works from the next webhook on.
#[utoipa::path(
    post, path = "/api/v1/widgets", tag = "widgets", request_body = WidgetInput,
    responses(
        (status = 201, body = Widget),
        (status = 409, description = "The Page is connected already, or the app has another verify token", body = problem::ProblemBody),
        (status = 503, description = "The Page could not be looked up", body = problem::ProblemBody),
    )
)]
pub async fn create(
    State(app): State<App>,
    staff: Staff,
    Body(mut input): Body<WidgetInput>,
) -> Result<Created<Widget>, Problem> {
    input.check()?;
    let messenger = input.messenger.as_ref().ok_or_else(|| Invalid::at("/messenger", "is required"))?;
    let page = connect::find_page(&app.db, &app.seal, &app.outgoing.graph, staff.tenant, messenger).await?;
    let now = app.clock.now();
    let mut tx = crate::db::begin(&app.db).await?;
    let widget = connect::create(&mut tx, &app.seal, staff.tenant, input, page, now).await?;
    audit::note(&mut tx, staff.tenant, &staff.actor(), "widget.created", widget.id, now).await?;
    tx.commit().await?;
    app.settings_changed();
    Ok(Created(format!("/api/v1/widgets/{}", widget.id), widget))
}

/// All widgets of the tenant.
#[utoipa::path(get, path = "/api/v1/widgets", tag = "widgets", params(Page), responses((status = 200, body = List<Widget>)))]
pub async fn list(
    State(app): State<App>,
    staff: Staff,
    Query(page): Query<Page>,
) -> Result<Json<List<Widget>>, Problem> {
    let limit = page.limit()?;
    let found = store::list_widgets(&app.db, staff.tenant, page.after()?, limit + 1).await?;
    let views = found.iter().map(StoredWidget::view).collect();
    Ok(Json(List::of(views, limit, |it: &Widget| it.id.0)))
}

/// A widget.
#[utoipa::path(
    get, path = "/api/v1/widgets/{id}", tag = "widgets", params(("id" = WidgetId, Path)), responses((status = 200, body = Widget))
)]
pub async fn show(State(app): State<App>, staff: Staff, Path(id): Path<WidgetId>) -> Result<Json<Widget>, Problem> {
    Ok(Json(find(&app, staff.tenant, id).await?.view()))
}

/// Changes a widget: only the given fields. A new app secret keeps the old one valid for 24 hours.
#[utoipa::path(
    patch, path = "/api/v1/widgets/{id}", tag = "widgets", params(("id" = WidgetId, Path)), request_body = WidgetInput,
    responses(
        (status = 200, body = Widget),
        (status = 409, description = "The app has another verify token", body = problem::ProblemBody),
    )
)]
pub async fn change(
    State(app): State<App>,
    staff: Staff,
    Path(id): Path<WidgetId>,
    RawJson(patch): RawJson,
) -> Result<Json<Widget>, Problem> {
    let now = app.clock.now();
    let mut tx = crate::db::begin(&app.db).await?;
    let stored = store::lock_widget(&mut tx, staff.tenant, id).await?.ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    let mut input: WidgetInput = patched(serde_json::json!(stored.view().settings()), &patch)?;
    input.check()?;
    let (widget, token) = connect::change(&mut tx, &app.seal, staff.tenant, stored, input, now).await?;
    audit::note(&mut tx, staff.tenant, &staff.actor(), "widget.changed", id, now).await?;
    tx.commit().await?;
    app.settings_changed();
    if let Some(token) = token {
        app.replies_may_go(staff.tenant, id, token).await;
    }
    Ok(Json(widget))
}

/// Removes a widget that nobody ever wrote to, with its incoming chat.
#[utoipa::path(
    delete, path = "/api/v1/widgets/{id}", tag = "widgets", params(("id" = WidgetId, Path)),
    responses((status = 204, description = "Gone"), (status = 409, description = "It has or had rooms", body = problem::ProblemBody))
)]
pub async fn remove(State(app): State<App>, staff: Staff, Path(id): Path<WidgetId>) -> Result<StatusCode, Problem> {
    let mut tx = crate::db::begin(&app.db).await?;
    if !store::delete_widget(&mut tx, staff.tenant, id).await? {
        return Err(Problem::of(problem::NOT_FOUND));
    }
    audit::note(&mut tx, staff.tenant, &staff.actor(), "widget.deleted", id, app.clock.now()).await?;
    tx.commit().await?;
    app.settings_changed();
    Ok(StatusCode::NO_CONTENT)
}

/// What to enter at Meta: callback URL and verify token.
#[utoipa::path(
    get, path = "/api/v1/widgets/{id}/callback", tag = "widgets", params(("id" = WidgetId, Path)),
    responses((status = 200, body = Callback))
)]
pub async fn callback(
    State(app): State<App>,
    staff: Staff,
    Path(id): Path<WidgetId>,
) -> Result<Json<Callback>, Problem> {
    let widget = find(&app, staff.tenant, id).await?;
    Ok(Json(widget.app.callback(&app.settings.public_url())))
}

/// Makes a new verify token for the widget's app; the old one counts no more.
#[utoipa::path(
    post, path = "/api/v1/widgets/{id}/verify-token", tag = "widgets", params(("id" = WidgetId, Path)),
    responses((status = 200, body = Callback), (status = 403, description = "The app is the operator's", body = problem::ProblemBody))
)]
pub async fn rotate(State(app): State<App>, staff: Staff, Path(id): Path<WidgetId>) -> Result<Json<Callback>, Problem> {
    let now = app.clock.now();
    let mut tx = crate::db::begin(&app.db).await?;
    let widget = store::lock_widget(&mut tx, staff.tenant, id).await?;
    let mut meta = widget.ok_or_else(|| Problem::of(problem::NOT_FOUND))?.app;
    if meta.owner == TenantId::PLATFORM {
        return Err(Problem::of(problem::FORBIDDEN).detail("The app is the operator's and serves other tenants too."));
    }
    apps::rotate_verify_token(&mut tx, &mut meta, now).await?;
    meta.verified_at = None;
    audit::note(&mut tx, staff.tenant, &staff.actor(), "widget.verify_token_rotated", id, now).await?;
    tx.commit().await?;
    app.settings_changed();
    Ok(Json(meta.callback(&app.settings.public_url())))
}

/// Looks whether the widget works: token, subscription, webhooks.
#[utoipa::path(
    post, path = "/api/v1/widgets/{id}/check", tag = "widgets", params(("id" = WidgetId, Path)),
    responses((status = 200, body = Widget))
)]
pub async fn check(State(app): State<App>, staff: Staff, Path(id): Path<WidgetId>) -> Result<Json<Widget>, Problem> {
    look(&app, staff.tenant, id).await.map(Json)
}

/// Registers the callback with the app and the app with the Page, through the Graph API; then looks whether the widget works.
#[utoipa::path(
    post, path = "/api/v1/widgets/{id}/subscribe", tag = "widgets", params(("id" = WidgetId, Path)),
    responses(
        (status = 200, body = Widget),
        (status = 409, description = "Facebook refused, or there is no token", body = problem::ProblemBody),
        (status = 503, description = "Facebook does not answer", body = problem::ProblemBody),
    )
)]
pub async fn subscribe(
    State(app): State<App>,
    staff: Staff,
    Path(id): Path<WidgetId>,
) -> Result<Json<Widget>, Problem> {
    let widget = find(&app, staff.tenant, id).await?;
    let callback_url = widget.app.callback_url(&app.settings.public_url());
    connect::subscribe(&app.outgoing.graph, &app.seal, staff.tenant, &widget, &callback_url).await?;
    let mut tx = crate::db::begin(&app.db).await?;
    audit::note(&mut tx, staff.tenant, &staff.actor(), "widget.subscribed", id, app.clock.now()).await?;
    tx.commit().await?;
    look(&app, staff.tenant, id).await.map(Json)
}

async fn find(app: &App, tenant: TenantId, id: WidgetId) -> Result<StoredWidget, Problem> {
    store::find_widget(&app.db, tenant, id).await?.ok_or_else(|| Problem::of(problem::NOT_FOUND))
}

async fn look(app: &App, tenant: TenantId, id: WidgetId) -> Result<Widget, Problem> {
    let widget = find(app, tenant, id).await?;
    let (secret, token) = (widget.app.open_secret(&app.seal)?, widget.open_token(&app.seal, tenant)?);
    let found = health::look(&app.outgoing.graph, &widget, &secret, token.as_ref(), app.clock.now()).await;
    // The Graph API took its time: others may have changed the widget and its health meanwhile.
    let mut tx = crate::db::begin(&app.db).await?;
    let stored = store::lock_widget(&mut tx, tenant, id).await?.ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    let (before, was_dead) = (stored.health.state, stored.page_token_is_dead);
    let stored = health::note_found(&mut tx, tenant, stored, widget.page_token.as_deref(), found).await?;
    let view = stored.view();
    if view.health.state != before {
        events::append(&mut tx, app.clock.now(), &[NewEvent::widget_health(tenant, &view)]).await?;
    }
    tx.commit().await?;
    app.ring_events(tenant);
    if was_dead && !stored.page_token_is_dead {
        app.replies_may_go(tenant, id, Token::Again).await;
    }
    Ok(view)
}
