//! The tables: what must hold for tenants to stay apart, and for the schema to be distributed by tenant.

use crate::support::story;

#[tokio::test]
async fn tenant_id_leads_every_key_of_tenant_data() {
    story(async |world| {
        // Tables of the platform itself, and the two look-ups by which a request finds its tenant in the first place.
        let exempt = ["tenants", "operator_tokens", "_sqlx_migrations"];
        let finders = ["meta_apps_url_key", "widgets_page_key"];
        let keys: Vec<(String, String, String)> = sqlx::query_as(
            "select t.relname::text, i.relname::text, (select a.attname::text from pg_attribute a where a.attrelid = t.oid and a.attnum = x.indkey[0])
            from pg_index x
            join pg_class i on i.oid = x.indexrelid
            join pg_class t on t.oid = x.indrelid
            join pg_namespace n on n.oid = t.relnamespace
            where n.nspname = 'public' and (x.indisunique or x.indisprimary)",
        )
        .fetch_all(&world.db)
        .await
        .unwrap();
        assert!(keys.len() > 25, "{keys:?}");
        for (table, index, first) in keys.iter().filter(|it| !exempt.contains(&&*it.0) && !finders.contains(&&*it.1)) {
            assert_eq!(first, "tenant_id", "{index} of {table}");
        }
        let foreign: Vec<(String, String, String)> = sqlx::query_as(
            "select t.relname::text, c.conname::text, (select a.attname::text from pg_attribute a where a.attrelid = t.oid and a.attnum = c.conkey[1])
            from pg_constraint c
            join pg_class t on t.oid = c.conrelid
            where c.contype = 'f'",
        )
        .fetch_all(&world.db)
        .await
        .unwrap();
        assert!(foreign.len() > 15, "{foreign:?}");
        for (table, key, first) in foreign.iter().filter(|it| it.1 != "widgets_app_fk") {
            assert_eq!(first, "tenant_id", "{key} of {table}");
        }
    })
    .await;
}

#[tokio::test]
async fn secrets_are_sealed_and_tokens_are_hashed() {
    story(async |world| {
        world.agent("Ben").await;
        let tables: Vec<String> = sqlx::query_scalar(
            "select relname::text from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace",
        )
        .fetch_all(&world.db)
        .await
        .unwrap();
        let mut rows = 0;
        for table in tables {
            let dump: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select t::text from {table} t")))
                .fetch_all(&world.db)
                .await
                .unwrap();
            for row in dump {
                rows += 1;
                // Bytes are shown in hex.
                for secret in crate::support::logs::SECRETS {
                    let hex: String = secret.bytes().map(|it| format!("{it:02x}")).collect();
                    assert!(!row.contains(secret) && !row.contains(&hex), "a secret stands in {table}");
                }
                let token = world.admin.token.as_deref().unwrap();
                assert!(!row.contains(token), "a token stands in {table}");
            }
        }
        assert!(rows > 10);
    })
    .await;
}
