//! `/contacts`: who writes.

use axum::extract::State;

use super::{
    App, Shown,
    extract::{Path, Query, RawJson, patched},
    page::{List, Page},
    problem::{self, Problem},
    rooms::{list_page, only_agent},
};
use crate::{
    contacts::{ContactInput, ContactView, store},
    ids::ContactId,
    people::Staff,
    rooms::{
        RoomView,
        events::{self, Kind, NewEvent, shown},
        store::Filter,
    },
};

async fn visible(app: &App, staff: &Staff, contact: ContactId) -> Result<ContactView, Problem> {
    let mut db = app.db.acquire().await?;
    let found = store::find(&mut db, staff.tenant, contact).await?.ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    if let (true, Some(me)) = (only_agent(staff), staff.user())
        && !store::is_known_to(&mut db, staff.tenant, contact, me).await?
    {
        return Err(Problem::of(problem::FORBIDDEN).detail("you have no room of this contact"));
    }
    Ok(found)
}

/// One contact. Agents see contacts of their own rooms.
#[utoipa::path(get, path = "/api/v1/contacts/{id}", tag = "contacts", params(("id" = ContactId, Path)), responses((status = 200, body = ContactView), (status = 403), (status = 404)))]
pub async fn show(State(app): State<App>, staff: Staff, Path(contact): Path<ContactId>) -> Result<Shown, Problem> {
    Ok(app.show(staff.tenant, &visible(&app, &staff, contact).await?))
}

/// Corrects a contact's name, e-mail address, phone number or language.
#[utoipa::path(patch, path = "/api/v1/contacts/{id}", tag = "contacts", params(("id" = ContactId, Path)), request_body = ContactInput, responses((status = 200, body = ContactView), (status = 403), (status = 404), (status = 422)))]
pub async fn change(
    State(app): State<App>,
    staff: Staff,
    Path(contact): Path<ContactId>,
    RawJson(body): RawJson,
) -> Result<Shown, Problem> {
    let was = visible(&app, &staff, contact).await?;
    let stored = ContactInput {
        name: was.name.clone(),
        first_name: was.first_name.clone(),
        email: was.email.clone(),
        phone: was.phone.clone(),
        locale: was.locale.clone(),
    };
    let input: ContactInput = patched(shown(&stored), &body)?;
    Problem::unless_empty(input.check())?;
    let now = app.clock.now();
    let mut tx = crate::db::begin(&app.db).await?;
    store::update(&mut tx, staff.tenant, contact, &input, &was.origins(&input, &staff.name, now), now).await?;
    let view = store::find(&mut tx, staff.tenant, contact).await?.ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    let event = NewEvent {
        tenant: staff.tenant,
        kind: Kind::ContactUpdated,
        room: None,
        agent: staff.user(),
        former_agent: None,
        data: events::written(&view),
    };
    events::append(&mut tx, now, &[event]).await?;
    tx.commit().await?;
    app.ring_events(staff.tenant);
    Ok(app.show(staff.tenant, &view))
}

/// A contact's rooms, oldest first.
#[utoipa::path(get, path = "/api/v1/contacts/{id}/rooms", tag = "contacts", params(("id" = ContactId, Path), Page), responses((status = 200, body = List<RoomView>), (status = 403), (status = 404)))]
pub async fn rooms(
    State(app): State<App>,
    staff: Staff,
    Path(contact): Path<ContactId>,
    Query(page): Query<Page>,
) -> Result<Shown, Problem> {
    visible(&app, &staff, contact).await?;
    let agent = if only_agent(&staff) { staff.user().map(|it| it.0) } else { None };
    list_page(&app, &staff, &Filter { contact: Some(contact.0), agent, ..Filter::default() }, &page).await
}
