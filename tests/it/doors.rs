//! Every door: who may enter, who may not, and what another tenant sees.

use std::collections::BTreeSet;

use chatgate::{
    http::{self, access::Access},
    people::Roles,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Api, World,
    logs::PASSWORD,
    story,
    world::{PAGE_ID, id},
};

/// A body that is valid wherever the door needs one.
fn body(method: &str, path: &str) -> Option<Value> {
    let some_id = "0190a000-0000-7000-8000-000000000000";
    let body = match (method, path.rsplit('/').next().unwrap()) {
        ("POST", "tenants") => {
            json!({ "slug": "x", "name": "x", "admin": { "email": "a@x.test", "name": "A", "password": PASSWORD } })
        }
        ("POST", "transfer") => json!({ "queue_id": some_id }),
        ("POST", "take" | "close") => json!({}),
        ("POST", "typing") => json!({ "on": true }),
        ("POST", "notes") => json!({ "text": "x" }),
        ("POST", "messages") => json!({ "content": { "kind": "text", "text": "x" } }),
        ("PUT", "reaction") => json!({ "emoji": "👍" }),
        ("PUT", "tags") => json!({ "tags": [] }),
        ("PUT", "status") => json!({ "status": "away" }),
        ("PUT", "{user_id}") => json!({ "priority": 1 }),
        ("PATCH", _) => json!({}),
        _ => return None,
    };
    Some(body)
}

async fn call(api: &Api, method: &str, path: &str, body: Option<Value>) -> crate::support::api::Answer {
    let mut request = api.request(Method::from_bytes(method.as_bytes()).unwrap(), path);
    if let Some(body) = body {
        request = request.json(&body);
    }
    api.send(request).await
}

#[tokio::test]
async fn every_door_asks_who_is_there() {
    story(async |world| {
        let nobody = Api::new(&world.base, None);
        let forged = nobody.with("cgs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        let mut asked = 0;
        for door in http::list_doors().into_iter().filter(|it| it.access != Access::Public) {
            let path = door.path.replace("{id}", &id(&world.tenant)).replace("{user_id}", &id(&world.tenant));
            for api in [&nobody, &forged] {
                let answer = call(api, door.method, &path, None).await;
                assert_eq!(
                    answer.headers.get("www-authenticate").map(|it| it.to_str().unwrap()),
                    Some("Bearer"),
                    "{door:?}"
                );
                assert_eq!(answer.problem(401), "unauthorized", "{door:?}");
            }
            asked += 1;
        }
        assert!(asked > 40, "only {asked} doors");
    })
    .await;
}

#[tokio::test]
async fn too_weak_a_role_is_turned_away() {
    story(async |world| {
        let mut callers = vec![("operator", world.operator.clone(), None)];
        for (name, roles) in [("admin", Roles::ADMIN), ("supervisor", Roles::SUPERVISOR), ("agent", Roles::AGENT)] {
            let email = format!("only-{name}@acme.test");
            let user = json!({ "email": email, "name": name, "password": PASSWORD, "roles": [name] });
            world.admin.post("/users", user).await.expect(201);
            callers.push((name, world.log_in("acme", &email).await, Some(roles)));
        }
        let mut refused = 0;
        for door in http::list_doors() {
            let path = door.path.replace("{id}", &id(&world.tenant)).replace("{user_id}", &id(&world.tenant));
            for (name, api, roles) in &callers {
                let may = match (door.access, roles) {
                    (Access::Public, _) | (Access::Operator, None) => true,
                    (Access::Any(needed), Some(roles)) => needed.meets(*roles),
                    _ => false,
                };
                if !may {
                    assert_eq!(
                        call(api, door.method, &path, None).await.problem(403),
                        "forbidden",
                        "{name} at {door:?}"
                    );
                    refused += 1;
                }
            }
        }
        assert!(refused > 60, "only {refused}");
    })
    .await;
}

/// One of everything a tenant has.
async fn things(world: &World) -> Vec<(&'static str, String)> {
    let ben = world.agent("Ben").await.ready().await;
    let anna = world.customer("Anna");
    anna.says("Hello").await;
    let room = ben.takes_next().await;
    let hours = json!({ "name": "Office", "time_zone": "Europe/Istanbul", "intervals": [{ "day": "mon", "from": "09:00", "to": "18:00" }] });
    let hours = world.admin.post("/working-hours", hours).await.expect(201);
    let key = world.admin.post("/api-keys", json!({ "name": "k", "scopes": ["read"] })).await.expect(201);
    let chats = world.admin.get("/incoming-chats").await.expect(200);
    let ledger = world.admin.get("/ledger").await.expect(200);
    let messages = ben.reads(&room).await;
    let answer = world.admin.post("/canned-answers", json!({ "shortcut": "hi", "text": "Hello" })).await.expect(201);
    vec![
        ("rooms", id(&room)),
        ("contacts", id(&room["contact"])),
        ("widgets", id(&world.widget)),
        ("queues", id(&world.queue)),
        ("working-hours", id(&hours)),
        ("incoming-chats", id(&chats["items"][0])),
        ("users", ben.id.clone()),
        ("agents", ben.id.clone()),
        ("api-keys", id(&key)),
        ("ledger", id(&ledger["items"][0])),
        ("messages", id(&messages[0])),
        ("canned-answers", id(&answer)),
    ]
}

#[tokio::test]
async fn another_tenants_things_are_not_found() {
    story(async |world| {
        let things = things(world).await;
        let (_, admin) = world.new_tenant("rival").await;
        let me = admin.get("/me").await.expect(200);
        admin
            .patch(&format!("/users/{}", id(&me)), json!({ "roles": ["admin", "supervisor", "agent"] }))
            .await
            .expect(200);
        let mut looked = BTreeSet::new();
        for door in http::list_doors() {
            let Access::Any(_) = door.access else { continue };
            let Some(rest) = door.path.strip_prefix("/api/v1/").filter(|it| it.contains("{id}")) else { continue };
            let collection = rest.split('/').next().unwrap();
            let Some((_, thing)) = things.iter().find(|it| it.0 == collection) else { panic!("no thing for {door:?}") };
            let path = door.path.replace("{id}", thing).replace("{user_id}", &id(&me));
            let answer = call(&admin, door.method, &path, body(door.method, &door.path)).await;
            assert_eq!(answer.problem(404), "not-found", "{door:?}");
            looked.insert(collection.to_owned());
        }
        assert_eq!(looked.len(), things.len(), "{looked:?}");
    })
    .await;
}

#[tokio::test]
async fn the_openapi_document_and_the_router_agree() {
    story(async |world| {
        let nobody = Api::new(&world.base, None);
        let document = nobody.get("/openapi.json").await.expect(200);
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item
                .as_object()
                .unwrap()
                .keys()
                .filter(|it| ["get", "post", "put", "patch", "delete"].contains(&it.as_str()))
            {
                described.insert((method.to_uppercase(), path.clone()));
            }
        }
        for (method, path) in &described {
            let path = path
                .replace("{id}", "0190a000-0000-7000-8000-000000000000")
                .replace("{user_id}", "x")
                .replace("{key}", "x")
                .replace("{slug}", "unauthorized");
            let answer = call(&nobody, method, &path, None).await;
            assert_ne!(answer.status, 405, "{method} {path} is described but is no door");
        }
        let doors: BTreeSet<_> = http::list_doors().into_iter().map(|it| (it.method.to_owned(), it.path)).collect();
        assert_eq!(described, doors);
        // References that lead nowhere make generated clients fail.
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1).map(|it| it.split('"').next().unwrap())
        {
            assert!(document["components"]["schemas"][reference].is_object(), "{reference} is not described");
        }
    })
    .await;
}

#[tokio::test]
async fn every_problem_has_its_page() {
    story(async |world| {
        let nobody = Api::new(&world.base, None);
        for kind in http::problem::ALL {
            let page = nobody.get(&kind.path()).await;
            assert_eq!(page.status, 200, "{kind:?}");
            assert!(page.text.contains(kind.title), "{kind:?}");
        }
        assert_eq!(nobody.get("/problems/none-of-ours").await.problem(404), "not-found");
        assert_eq!(nobody.get("/api/v1/nowhere").await.problem(404), "not-found");
        assert_eq!(world.admin.delete("/me").await.problem(405), "method-not-allowed");
    })
    .await;
}

#[tokio::test]
async fn bad_input_names_the_field() {
    story(async |world| {
        let admin = &world.admin;
        assert_eq!(admin.post("/queues", json!({ "name": "A", "colour": 1 })).await.pointers(), ["/colour"]);
        assert_eq!(admin.post("/queues", json!({ "name": "" })).await.pointers(), ["/name"]);
        let request = admin.request(Method::POST, "/queues").header("content-type", "application/json").body("{");
        assert_eq!(admin.send(request).await.problem(400), "unreadable");
        let request = admin.request(Method::POST, "/queues").header("content-type", "text/plain").body("{}");
        assert_eq!(admin.send(request).await.problem(415), "media-type");
        let request = admin
            .request(Method::POST, "/queues")
            .header("content-type", "application/json")
            .body(vec![b' '; 2_000_000]);
        assert_eq!(admin.send(request).await.problem(413), "too-large");
        assert_eq!(admin.get("/queues?limit=201").await.pointers(), ["limit"]);
        assert_eq!(admin.get("/rooms?status=odd").await.pointers(), ["status"]);
        assert_eq!(admin.get("/rooms/not-an-id").await.problem(404), "not-found");
        let long = "x".repeat(300);
        let request = admin.request(Method::GET, "/me").header("x-request-id", &long);
        assert_ne!(admin.send(request).await.headers["x-request-id"], long.as_str());
        let request = admin.request(Method::GET, "/me").header("x-request-id", "mine-1");
        assert_eq!(admin.send(request).await.headers["x-request-id"], "mine-1");
        assert_eq!(world.simulator.seen_by(PAGE_ID, "nobody").len(), 0);
    })
    .await;
}

#[tokio::test]
async fn metas_door_keeps_to_what_all_doors_do() {
    story(async |world| {
        let nobody = Api::new(&world.base, None);
        // As we make keys, and with signs that only the router takes apart.
        for key in ["unknown", "un%6bnown", "a%2fb", "a.b"] {
            let path = format!("/webhooks/messenger/{key}");
            let request = nobody.request(Method::POST, &path).header("x-request-id", "mine-1").body("{}");
            let answer = nobody.send(request).await;
            assert_eq!(answer.headers["x-request-id"], "mine-1");
            assert_eq!(answer.body["instance"], "mine-1");
            assert_eq!(answer.problem(404), "not-found", "{key}");
        }
        for path in ["/webhooks/messenger", "/webhooks/messenger/", "/webhooks/messenger/a/b"] {
            let answer = nobody.send(nobody.request(Method::POST, path).body("{}")).await;
            assert!(answer.headers.contains_key("x-request-id"));
            assert_eq!(answer.problem(404), "not-found", "{path}");
        }
        let request = nobody.request(Method::PUT, "/webhooks/messenger/unknown").body("{}");
        assert_eq!(nobody.send(request).await.problem(405), "method-not-allowed");
    })
    .await;
}
