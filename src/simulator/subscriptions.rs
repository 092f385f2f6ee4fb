//! Who hears of what: the app's callback with its handshake, the Page's installed app, and what a token is worth.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::time::Duration;

use super::Simulator;
use super::graph::{Call, DEAD_TOKEN, GraphError};

/// The subscription fields of Pages, as the API spells them.
const FIELDS: &str = "messages message_echoes message_edits message_reactions message_reads message_deliveries \
    messaging_postbacks messaging_referrals messaging_optins messaging_optouts messaging_account_linking \
    messaging_handovers standby messaging_policy_enforcement messaging_feedback messaging_customer_information \
    messaging_in_thread_lead_form_submit message_context response_feedback send_cart messaging_game_plays \
    inbox_labels feed group_feed message_template_status_update messaging_integrity business_integrity \
    marketing_message_delivery_failed calls call_permission_reply call_settings_update";

/// How long the callback may take to answer the handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// Every field there is.
pub(super) fn all_fields() -> Vec<String> {
    FIELDS.split_whitespace().map(str::to_owned).collect()
}

/// `POST /{app-id}/subscriptions`: asks the callback whether it means it, then remembers it.
pub(super) async fn subscribe(simulator: &Simulator, call: &Call, app_id: &str) -> Result<Response, GraphError> {
    if call.text("object").as_deref() != Some("page") {
        return Err(GraphError::new(100, None, "(#100) Param object must be one of {page}"));
    }
    let fields = read_fields(simulator, call, "fields")?;
    let callback_url = call.text("callback_url").ok_or_else(|| missing("callback_url"))?;
    let verify_token = call.text("verify_token").ok_or_else(|| missing("verify_token"))?;
    shake_hands(simulator, &callback_url, &verify_token).await?;
    let mut world = simulator.core.world();
    let app = world.app_mut(app_id);
    app.callback_url = Some(callback_url);
    app.fields = fields;
    Ok(success())
}

/// `GET /{app-id}/subscriptions`.
pub(super) fn list_app(simulator: &Simulator, app_id: &str) -> Result<Response, GraphError> {
    let world = simulator.core.world();
    let mut list = Vec::new();
    if let Some((app, url)) = world.apps.get(app_id).and_then(|app| Some((app, app.callback_url.as_ref()?))) {
        let fields: Vec<Value> = app.fields.iter().map(|name| json!({"name": name, "version": "v26.0"})).collect();
        list.push(json!({"object": "page", "callback_url": url, "active": true, "fields": fields}));
    }
    Ok(Json(json!({"data": list})).into_response())
}

/// `POST /{page-id}/subscribed_apps`: sets the Page's fields anew.
pub(super) fn install(simulator: &Simulator, call: &Call, page_id: &str) -> Result<Response, GraphError> {
    let fields = read_fields(simulator, call, "subscribed_fields")?;
    simulator.core.world().page_mut(page_id).installed = Some(fields);
    Ok(success())
}

/// `GET /{page-id}/subscribed_apps`.
pub(super) fn list_page(simulator: &Simulator, page_id: &str) -> Result<Response, GraphError> {
    let world = simulator.core.world();
    let mut list = Vec::new();
    if let Some((page, fields)) = world.page(page_id).and_then(|page| Some((page, page.installed.as_ref()?))) {
        let name = format!("App {}", page.app_id);
        list.push(json!({"category": "Business", "name": name, "id": page.app_id, "subscribed_fields": fields}));
    }
    Ok(Json(json!({"data": list})).into_response())
}

/// `DELETE /{page-id}/subscribed_apps`.
pub(super) fn remove(simulator: &Simulator, page_id: &str) -> Result<Response, GraphError> {
    simulator.core.world().page_mut(page_id).installed = None;
    Ok(success())
}

/// `GET /debug_token`: 200 even for a dead one, with the error inside.
pub(super) fn debug_token(simulator: &Simulator, call: &Call) -> Result<Response, GraphError> {
    let token = call.text("input_token").ok_or_else(|| missing("input_token"))?;
    let world = simulator.core.world();
    let data = match world.pages.iter().find(|(_, page)| page.token == token) {
        Some((page_id, page)) => {
            let mut data = json!({
                "app_id": page.app_id, "type": "PAGE", "is_valid": !page.is_token_dead, "expires_at": 0,
                "data_access_expires_at": 0, "profile_id": page_id, "user_id": "100000000000001",
                "scopes": ["pages_show_list", "pages_messaging", "pages_manage_metadata"],
            });
            if page.is_token_dead {
                data["error"] = json!({"code": 190, "subcode": 460, "message": DEAD_TOKEN});
            }
            data
        }
        None => json!({
            "is_valid": false, "scopes": [],
            "error": {"code": 190, "message": "Invalid OAuth access token - Cannot parse access token"},
        }),
    };
    Ok(Json(json!({"data": data})).into_response())
}

async fn shake_hands(simulator: &Simulator, callback_url: &str, verify_token: &str) -> Result<(), GraphError> {
    let refuse = |reason: String| {
        GraphError::new(2200, None, format!("(#2200) Callback verification failed with the following errors: {reason}"))
    };
    let challenge = rand::random_range(100_000_000..2_000_000_000_u32).to_string();
    let asked = [("hub.mode", "subscribe"), ("hub.challenge", &challenge), ("hub.verify_token", verify_token)];
    let request = simulator.core.http.get(callback_url).query(&asked).timeout(HANDSHAKE_WITHIN);
    let answer = request.send().await.map_err(|_| refuse("the callback did not answer".to_owned()))?;
    let status = answer.status();
    if status != reqwest::StatusCode::OK {
        return Err(refuse(format!("HTTP Status Code = {}", status.as_u16())));
    }
    match answer.text().await {
        Ok(body) if body == challenge => Ok(()),
        _ => Err(refuse("the challenge did not come back".to_owned())),
    }
}

fn read_fields(simulator: &Simulator, call: &Call, name: &str) -> Result<Vec<String>, GraphError> {
    let list = call.text(name).filter(|it| !it.is_empty()).ok_or_else(|| missing(name))?;
    let fields: Vec<String> = list.split(',').map(|it| it.trim().to_owned()).collect();
    let known = all_fields();
    match fields.iter().position(|it| !known.contains(it)) {
        None if fields.iter().any(|it| simulator.core.world().withheld_fields.contains(it)) => {
            Err(GraphError::new(200, None, "(#200) To subscribe to a field, the app needs its permissions"))
        }
        None => Ok(fields),
        Some(at) => {
            let message = format!("(#100) Param {name}[{at}] must be one of {{{}}}", known.join(", "));
            Err(GraphError::new(100, None, message))
        }
    }
}

fn missing(name: &str) -> GraphError {
    GraphError::new(100, None, format!("(#100) The parameter {name} is required"))
}

fn success() -> Response {
    Json(json!({"success": true})).into_response()
}
