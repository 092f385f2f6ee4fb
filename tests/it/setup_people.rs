//! Tenants, users, logins and keys.

use serde_json::{Value, json};

use crate::support::{Api, World, logs::PASSWORD, story, world::id};

async fn try_login(world: &World, tenant: &str, email: &str, password: &str) -> crate::support::api::Answer {
    let login = json!({ "tenant": tenant, "email": email, "password": password });
    Api::new(&world.base, None).post("/sessions", login).await
}

#[tokio::test]
async fn a_wrong_login_says_nothing_about_what_is_wrong() {
    story(async |world| {
        let mut told = Vec::new();
        for (tenant, email, password) in [
            ("acme", "admin@acme.test", "a wrong password"),
            ("acme", "nobody@acme.test", PASSWORD),
            ("nowhere", "admin@acme.test", PASSWORD),
            ("nowhere\0", "\0", "\0"),
        ] {
            let mut answer = try_login(world, tenant, email, password).await;
            answer.body["instance"] = Value::Null;
            told.push(answer.expect(401));
        }
        assert!(told.iter().all(|it| *it == told[0]), "{told:?}");
        assert_eq!(told[0]["type"], "/problems/bad-login");
        try_login(world, &id(&world.tenant), "ADMIN@Acme.test", PASSWORD).await.expect(201);
    })
    .await;
}

#[tokio::test]
async fn guessing_is_slowed_down_and_forgiven_in_time() {
    story(async |world| {
        for _ in 0..10 {
            assert_eq!(try_login(world, "acme", "admin@acme.test", "guess").await.problem(401), "bad-login");
        }
        let answer = try_login(world, "acme", "admin@acme.test", PASSWORD).await;
        assert_eq!(answer.headers["retry-after"], "300");
        assert_eq!(answer.problem(429), "too-many");
        world.agent("Ben").await;
        world.pass(301).await;
        try_login(world, "acme", "admin@acme.test", PASSWORD).await.expect(201);
    })
    .await;
}

#[tokio::test]
async fn a_session_comes_as_a_cookie_too_and_ends() {
    story(async |world| {
        let answer = try_login(world, "acme", "admin@acme.test", PASSWORD).await;
        let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
        for part in ["chatgate_session=cgs_", "HttpOnly", "SameSite=Strict", "Path=/"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        let nobody = Api::new(&world.base, None);
        let me = nobody.request(reqwest::Method::GET, "/me").header("cookie", cookie.split(';').next().unwrap());
        let me = nobody.send(me).await.expect(200);
        assert_eq!(me["tenant"]["slug"], "acme");
        let session = world.operator.with(answer.body["token"].as_str().unwrap());
        session.delete("/sessions/current").await.expect(204);
        session.get("/me").await.problem(401);
        let late = world.log_in("acme", "admin@acme.test").await;
        world.pass(2160 * 3600).await;
        late.get("/me").await.problem(401);
    })
    .await;
}

#[tokio::test]
async fn a_suspended_tenants_people_stay_outside() {
    story(async |world| {
        let (rival, admin) = world.new_tenant("rival").await;
        let key = admin.post("/api-keys", json!({ "name": "k", "scopes": ["read"] })).await.expect(201);
        let key = world.operator.with(key["key"].as_str().unwrap());
        let place = format!("/tenants/{}", id(&rival));
        world.operator.patch(&place, json!({ "status": "suspended" })).await.expect(200);
        assert_eq!(admin.get("/me").await.problem(403), "tenant-suspended");
        assert_eq!(key.get("/queues").await.problem(403), "tenant-suspended");
        assert_eq!(try_login(world, "rival", "admin@rival.test", PASSWORD).await.problem(403), "tenant-suspended");
        assert_eq!(try_login(world, "rival", "admin@rival.test", "wrong").await.problem(401), "bad-login");
        world.operator.patch(&place, json!({ "status": "active" })).await.expect(200);
        admin.get("/me").await.expect(200);
        world.operator.delete(&place).await.expect(204);
        admin.get("/me").await.problem(401);
        world.operator.get(&place).await.problem(404);
    })
    .await;
}

#[tokio::test]
async fn a_tenant_goes_with_everything_it_has() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        world.customer("Anna").says("Hello").await;
        let room = ben.takes_next().await;
        ben.replies(&room, "Hello").await;
        world.settle().await;
        world.operator.delete(&format!("/tenants/{}", id(&world.tenant))).await.expect(204);
        for table in [
            "users",
            "agents",
            "widgets",
            "meta_apps",
            "rooms",
            "messages",
            "events",
            "ledger",
            "contacts",
            "audit_log",
        ] {
            let sql = sqlx::AssertSqlSafe(format!("select count(*) from {table} where tenant_id = $1"));
            let tenant: uuid::Uuid = id(&world.tenant).parse().unwrap();
            let left: i64 = sqlx::query_scalar(sql).bind(tenant).fetch_one(&world.db).await.unwrap();
            assert_eq!(left, 0, "{table}");
        }
        world.expects_trouble.store(true, std::sync::atomic::Ordering::Relaxed);
    })
    .await;
}

#[tokio::test]
async fn the_last_admin_stays_admin() {
    story(async |world| {
        let me = world.admin.get("/me").await.expect(200);
        let place = format!("/users/{}", id(&me));
        for change in [json!({ "active": false }), json!({ "roles": ["agent"] })] {
            assert_eq!(world.admin.patch(&place, change).await.problem(409), "conflict");
        }
        assert_eq!(world.admin.delete(&place).await.problem(409), "conflict");
        let second = json!({ "email": "second@acme.test", "name": "Bo", "password": PASSWORD, "roles": ["admin"] });
        world.admin.post("/users", second).await.expect(201);
        let second = world.log_in("acme", "second@acme.test").await;
        let own = format!("/users/{}", id(&second.get("/me").await.expect(200)));
        let (one, other) = tokio::join!(
            world.admin.patch(&place, json!({ "roles": ["agent"] })),
            second.patch(&own, json!({ "roles": ["agent"] })),
        );
        assert!(one.status != 200 || other.status != 200, "nobody rules any more");
    })
    .await;
}

#[tokio::test]
async fn a_deactivated_user_is_out_and_rings_no_more() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        world.customer("Anna").says("Hello").await;
        world.settle().await;
        assert_eq!(ben.rooms().await.len(), 1);
        let place = format!("/users/{}", ben.id);
        let changed = world.admin.patch(&place, json!({ "active": false })).await.expect(200);
        assert_eq!((&changed["active"], &changed["status"]), (&json!(false), &json!("offline")));
        ben.api.get("/me").await.problem(401);
        try_login(world, "acme", ben_email(world, &place).await.as_str(), PASSWORD).await.problem(401);
        world.settle().await;
        let rooms = world.admin.get("/rooms").await.expect(200);
        assert_eq!(rooms["items"][0]["status"], "waiting", "{rooms}");
        assert!(world.kinds().await.contains(&"agent.status_changed".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn who_loses_a_role_or_logs_out_is_out_at_once() {
    story(async |world| {
        let ben = world.agent("Ben").await;
        ben.api.get("/me/rooms").await.expect(200);
        let place = format!("/users/{}", ben.id);
        world.admin.patch(&place, json!({ "roles": ["supervisor"] })).await.expect(200);
        ben.api.get("/me/rooms").await.problem(403);
        ben.api.get("/rooms").await.expect(200);
        world.admin.patch(&place, json!({ "name": "Benjamin" })).await.expect(200);
        assert_eq!(ben.api.get("/me").await.expect(200)["name"], "Benjamin");
        world.admin.patch(&place, json!({ "password": "another long password" })).await.expect(200);
        ben.api.get("/rooms").await.problem(401);
    })
    .await;
}

async fn ben_email(world: &World, place: &str) -> String {
    world.admin.get(place).await.expect(200)["email"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_user_with_rooms_can_only_be_deactivated() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        world.customer("Anna").says("Hello").await;
        let room = ben.takes_next().await;
        ben.closes(&room).await;
        assert_eq!(world.admin.delete(&format!("/users/{}", ben.id)).await.problem(409), "in-use");
        let user = json!({ "email": "BEN@acme.test", "name": "B", "password": PASSWORD, "roles": ["agent"] });
        assert_eq!(world.admin.post("/users", user).await.status, 409, "case does not matter");
    })
    .await;
}

#[tokio::test]
async fn wrong_fields_are_all_named() {
    story(async |world| {
        let user = json!({ "email": "x", "name": "a\u{0}b", "password": "short", "roles": [], "max_chats": 51 });
        let wrong = world.admin.post("/users", user).await.pointers();
        assert_eq!(wrong, ["/email", "/name", "/password", "/roles", "/max_chats"]);
        let unknown =
            json!({ "email": "a@b.c", "name": "A", "password": PASSWORD, "roles": ["agent"], "is_admin": true });
        assert_eq!(world.admin.post("/users", unknown).await.pointers(), ["/is_admin"]);
        let admin = json!({ "email": "x", "name": "", "password": "short" });
        let tenant = json!({ "slug": "Not A Slug", "name": "", "admin": admin });
        assert_eq!(
            world.operator.post("/tenants", tenant).await.pointers(),
            ["/slug", "/name", "/admin/email", "/admin/name", "/admin/password"]
        );
        assert_eq!(world.admin.get("/users?limit=201").await.pointers(), ["limit"]);
        assert_eq!(world.admin.get("/users?after=%00").await.pointers(), ["after"]);
    })
    .await;
}

#[tokio::test]
async fn an_api_key_is_shown_once_and_does_what_its_scopes_say() {
    story(async |world| {
        let made = world.admin.post("/api-keys", json!({ "name": "CRM", "scopes": ["read"] })).await.expect(201);
        let key = world.operator.with(made["key"].as_str().unwrap());
        key.get("/users").await.expect(200);
        key.post("/queues", json!({ "name": "x" })).await.problem(403);
        let listed = world.admin.get("/api-keys").await.expect(200);
        assert_eq!(listed["items"][0]["key"], Value::Null);
        assert!(listed["items"][0]["last_used_at"].is_string());
        world.admin.delete(&format!("/api-keys/{}", id(&made))).await.expect(204);
        key.get("/users").await.problem(401);
    })
    .await;
}

#[tokio::test]
async fn the_audit_log_knows_who_did_what() {
    story(async |world| {
        let log = world.admin.get("/audit-log?limit=200").await.expect(200);
        let entries = log["items"].as_array().unwrap();
        let actions: Vec<_> = entries.iter().rev().map(|it| it["action"].as_str().unwrap()).collect();
        assert_eq!(
            actions,
            [
                "tenant.created",
                "user.created",
                "user.changed",
                "queue.created",
                "widget.created",
                "incoming_chat.created",
                "widget.subscribed"
            ]
        );
        assert_eq!(entries.last().unwrap()["actor"]["kind"], "operator");
        assert_eq!(entries[0]["actor"]["name"], "Ada");
        assert_eq!(entries[0]["target_id"], world.widget["id"]);
    })
    .await;
}
