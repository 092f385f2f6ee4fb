//! What the OpenAPI document says of every door alike: credentials, the refusals that any of them may give, and that a `PATCH` takes
//! any of the fields of the `POST`.

use axum::http::Method;
use serde_json::{Map, Value, json};
use utoipa::openapi::{
    Info, License, OpenApi, Ref, RefOr, Response,
    content::ContentBuilder,
    path::{Operation, Parameter, PathItem, Paths},
    response::ResponseBuilder,
    security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

use super::access::Access;

const ABOUT: &str = "A self-hosted, multi-tenant contact-center chat gateway. \
    Lists take `limit` and `after`; refusals are problem+json (RFC 9457) whose `type` is a page that explains it.";

/// Adds what follows from a door's access level and methods.
pub fn door(paths: &mut Paths, access: Access) {
    for (path, item) in &mut paths.paths {
        for (method, operation) in operations(item) {
            if access != Access::Public {
                operation.security = Some(vec![SecurityRequirement::new("bearer", Vec::<String>::new())]);
                refusal(operation, "401", "No or bad credentials");
                refusal(operation, "403", "These credentials may not do this");
                refusal(operation, "503", "Try again after Retry-After seconds");
            }
            if path.contains("{id}") && access != Access::Public {
                refusal(operation, "404", "Unknown, or another tenant's");
            }
            if operation.request_body.is_some() && path.starts_with("/api/") {
                refusal(operation, "400", "Unreadable JSON");
                refusal(operation, "413", "The body is too large");
                refusal(operation, "415", "Not application/json");
                refusal(operation, "422", "Invalid; one entry in `errors` for each field");
            }
            if operation.parameters.as_ref().is_some_and(|it| it.iter().any(is_limit)) {
                refusal(operation, "422", "Invalid; one entry in `errors` for each field");
            }
            // Operations of one name in several modules would clash; the path tells them apart.
            let place = path.trim_start_matches("/api/v1").replace(['{', '}'], "").replace(['/', '-', '.'], "_");
            operation.operation_id = Some(format!("{}{place}", method.as_str().to_ascii_lowercase()));
        }
    }
}

/// Adds what concerns the document as a whole.
///
/// # Panics
/// Never: a document made of plain values is JSON.
pub fn whole(mut openapi: OpenApi) -> Value {
    // The router fills these in with its own crate's.
    openapi.info = Info::new("Chatgate", env!("CARGO_PKG_VERSION"));
    openapi.info.description = Some(ABOUT.to_owned());
    openapi.info.license = Some(License::new(env!("CARGO_PKG_LICENSE")));
    let about = "A session token (`cgs_…`), an API key (`cgk_…`) or an operator token (`cgo_…`). \
        A session's cookie `chatgate_session` does as well.";
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(about)).build();
    let components = openapi.components.get_or_insert_default();
    components.security_schemes.insert("bearer".to_owned(), SecurityScheme::Http(bearer).into());
    let mut document = serde_json::to_value(&openapi).expect("a document made of plain values is JSON");
    let mut patches = Patches { schemas: document["components"]["schemas"].as_object().cloned().unwrap_or_default() };
    if let Some(paths) = document["paths"].as_object_mut() {
        for operation in paths.values_mut().filter_map(|item| item.get_mut("patch")) {
            patches.relax(&mut operation["requestBody"]["content"]["application/json"]["schema"]);
        }
    }
    document["components"]["schemas"] = Value::Object(patches.schemas);
    describe_inline(&mut document);
    document
}

/// utoipa describes an inlined schema by `allOf` with `{"type": "object", "description": …}`, which nothing but an object can meet.
/// The description belongs to the schema itself.
fn describe_inline(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some([Value::Object(schema), about]) =
                members.get("allOf").and_then(Value::as_array).map(Vec::as_slice)
                && about["type"] == "object"
                && about.as_object().is_some_and(|it| it.keys().all(|key| key == "type" || key == "description"))
            {
                let mut schema = schema.clone();
                schema.insert("description".to_owned(), about["description"].clone());
                *members = schema;
            }
            members.values_mut().for_each(describe_inline);
        }
        Value::Array(items) => items.iter_mut().for_each(describe_inline),
        _ => {}
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let all = [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PUT, &mut item.put),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn is_limit(parameter: &RefOr<Parameter>) -> bool {
    matches!(parameter, RefOr::T(it) if it.name == "limit")
}

/// Adds a refusal unless the door describes it itself; gives its description the problem's form.
fn refusal(operation: &mut Operation, status: &str, description: &str) {
    let responses = &mut operation.responses.responses;
    let problem = || ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemBody"))).build();
    match responses.get_mut(status) {
        Some(RefOr::T(Response { description: own, content, .. })) => {
            content.clear();
            content.insert("application/problem+json".to_owned(), problem().into());
            if own.is_empty() {
                own.push_str(description);
            }
        }
        Some(RefOr::Ref(_)) => {}
        None => {
            let made = ResponseBuilder::new().description(description);
            responses.insert(status.to_owned(), made.content("application/problem+json", problem()).build().into());
        }
    }
}

/// Makes, for each schema that a `PATCH` takes, one of which nothing is required.
struct Patches {
    schemas: Map<String, Value>,
}

impl Patches {
    /// Points `schema` at the relaxed form of what it points at.
    fn relax(&mut self, schema: &mut Value) {
        const PREFIX: &str = "#/components/schemas/";
        if let Some(parts) = schema.get_mut("oneOf").and_then(Value::as_array_mut) {
            // A field that may be null.
            parts.iter_mut().for_each(|it| self.relax(it));
            return;
        }
        let Some(name) = schema["$ref"].as_str().and_then(|it| it.strip_prefix(PREFIX)).map(str::to_owned) else {
            return;
        };
        let Some(found) = self.schemas.get(&name).filter(|it| it["type"] == "object").cloned() else { return };
        let patch_name = format!("{name}Patch");
        schema["$ref"] = json!(format!("{PREFIX}{patch_name}"));
        if self.schemas.contains_key(&patch_name) {
            return;
        }
        let mut relaxed = found;
        if let Some(members) = relaxed.as_object_mut() {
            members.remove("required");
            members.insert("description".to_owned(), json!("Only the given fields are changed."));
        }
        if let Some(properties) = relaxed["properties"].as_object_mut() {
            for property in properties.values_mut() {
                self.relax(property);
                if let Some(members) = property.as_object_mut() {
                    members.remove("default");
                }
            }
        }
        self.schemas.insert(patch_name, relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_requires_nothing_and_names_are_there() {
        let document = crate::http::openapi();
        let schemas = &document["components"]["schemas"];
        let taken = &document["paths"]["/api/v1/widgets/{id}"]["patch"]["requestBody"]["content"]["application/json"];
        assert_eq!(taken["schema"]["$ref"], "#/components/schemas/WidgetInputPatch");
        assert_eq!(schemas["WidgetInputPatch"]["required"], Value::Null);
        assert!(schemas["MessengerInputPatch"]["properties"]["app_id"].is_object());
        assert_eq!(schemas["MessengerInputPatch"]["required"], Value::Null);
        let text = document.to_string();
        for name in text.split("\"#/components/schemas/").skip(1).filter_map(|it| it.split('"').next()) {
            assert!(schemas[name].is_object(), "{name} is named and not there");
        }
    }

    #[test]
    fn what_goes_in_and_never_comes_out_stands_in_the_document() {
        let schemas = &crate::http::openapi()["components"]["schemas"];
        for (schema, field) in [
            ("UserInput", "password"),
            ("UserInputPatch", "password"),
            ("MessengerInput", "app_secret"),
            ("MessengerInput", "page_access_token"),
            ("MessengerInputPatch", "verify_token"),
        ] {
            let field = &schemas[schema]["properties"][field];
            assert_eq!(field["writeOnly"], true, "{schema}: {field}");
            assert!(field["type"].as_array().is_some_and(|it| it.contains(&json!("null"))), "{schema}: {field}");
        }
    }

    #[test]
    fn no_schema_asks_for_a_word_that_is_an_object() {
        let schemas = &crate::http::openapi()["components"]["schemas"];
        let state = &schemas["WidgetHealth"]["properties"]["state"];
        assert_eq!((&state["type"], &state["description"]), (&json!("string"), &json!("The worst of the checks.")));
    }

    #[test]
    fn no_two_schemas_have_one_name() {
        let mut known = std::collections::HashMap::new();
        for (name, schema) in crate::http::doors().into_iter().flat_map(|it| it.routes.0) {
            let schema = serde_json::to_value(schema).unwrap();
            let before = known.entry(name.clone()).or_insert_with(|| schema.clone());
            assert_eq!(without_words(before.clone()), without_words(schema), "{name} is two things");
        }
    }

    fn without_words(mut schema: Value) -> Value {
        schema.as_object_mut().unwrap().remove("description");
        schema
    }
}
