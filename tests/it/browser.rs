//! The desk and the simulator's page in a real browser. What is done there is told by the scripts in `tests/desk`; here is what they need.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::json;

use super::{
    commands::{chatgate, free_port, home, start},
    events_in::{PAGE_INBOX, passed, tell},
};
use crate::support::{
    logs::PASSWORD,
    story,
    world::{PAGE_ID, World, id},
};

fn has(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|it| it.success())
}

/// Where the scripts are; `None`, said once, where they cannot run.
fn scripts() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scripts = root.join("tests/desk");
    let has_desk = root.join("web/dist/index.html").is_file();
    if has_desk && scripts.join("node_modules").is_dir() && has("node") && has("chromium") {
        return Some(scripts);
    }
    eprintln!("no desk, browser or node modules: script/test sees to them; nothing was tried in a browser");
    assert!(std::env::var_os("CI").is_none(), "script/test must have installed the browser");
    None
}

/// One browser at a time: several of them make each other wait for longer than a step may take.
static BROWSER: Mutex<()> = Mutex::new(());

/// Runs one script to its end. Pictures go below `SHOTS`, if that is set.
fn runs(scripts: &Path, script: &str, home: &Path, variables: &[(&str, &str)]) {
    let shots = std::env::var("SHOTS").map_or_else(|_| home.join("shots"), PathBuf::from);
    let walked = Command::new("node")
        .arg(format!("{script}.mjs"))
        .current_dir(scripts)
        .envs(variables.iter().copied())
        .env("SHOTS", shots.join(script))
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&walked.stdout), String::from_utf8_lossy(&walked.stderr));
    assert!(walked.status.success(), "{out}\n{err}");
    println!("{out}");
}

/// Runs one script against a demo of its own.
fn walks_the_demo(script: &str) {
    let Some(scripts) = scripts() else { return };
    let _alone = BROWSER.lock().unwrap_or_else(PoisonError::into_inner);
    let home = home(script);
    let mut demo = chatgate(&home);
    demo.arg("demo").env("CHATGATE__HTTP__LISTEN", format!("127.0.0.1:{}", free_port()));
    let (_demo, lines) = start(&mut demo, "Ctrl-C");
    let address = |part: &str| {
        lines.iter().find_map(|it| it.split_whitespace().find(|word| word.contains(part))).unwrap().to_owned()
    };
    let (chat, desk) = (address("/chat/"), address("/desk"));
    let origin = |url: &str| url.split('/').take(3).collect::<Vec<_>>().join("/");
    let variables = [
        ("CHATGATE_URL", origin(&desk)),
        ("SIM_URL", origin(&chat)),
        ("CUSTOMER_CHAT_URL", chat.clone()),
        ("TENANT", chatgate::app::demo::TENANT.to_owned()),
        ("PASSWORD", chatgate::app::demo::PASSWORD.to_owned()),
    ];
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    runs(&scripts, script, &home, &variables);
    drop(std::fs::remove_dir_all(home));
}

#[test]
fn the_demo_carries_a_conversation_in_a_browser() {
    walks_the_demo("walk");
}

#[test]
fn an_admin_sets_everything_up_in_a_browser() {
    walks_the_demo("setup");
}

#[test]
fn customers_write_as_in_messenger_and_faults_are_switched() {
    walks_the_demo("customer");
}

#[test]
fn an_agent_needs_no_mouse_in_a_browser() {
    walks_the_demo("keys");
}

#[test]
fn a_working_day_in_a_browser() {
    walks_the_demo("work");
}

#[test]
fn arabic_and_hebrew_are_read_from_right_to_left_in_a_browser() {
    walks_the_demo("rtl");
}

/// How often work is done while a script runs.
const WORK_EVERY: Duration = Duration::from_millis(50);

/// Runs one script against a story's gateway; its password is everybody's. Time stands still, work goes on.
async fn walks(world: &World, scripts: PathBuf, script: &'static str, chat: String) {
    let (base, facebook) = (world.base.clone(), world.facebook.clone());
    let home = world.data_dir.clone();
    let walk = move || {
        let _alone = BROWSER.lock().unwrap_or_else(PoisonError::into_inner);
        let variables = [
            ("CHATGATE_URL", base.as_str()),
            ("SIM_URL", facebook.as_str()),
            ("CUSTOMER_CHAT_URL", chat.as_str()),
            ("TENANT", "acme"),
            ("PASSWORD", PASSWORD),
        ];
        runs(&scripts, script, &home, &variables);
    };
    let mut walk = tokio::task::spawn_blocking(walk);
    loop {
        world.settle().await;
        if let Ok(walked) = tokio::time::timeout(WORK_EVERY, &mut walk).await {
            return walked.unwrap();
        }
    }
}

#[tokio::test]
async fn a_silent_agent_a_lost_thread_and_two_agents_in_one_chat_in_a_browser() {
    let Some(scripts) = scripts() else { return };
    story(async |world| {
        world
            .admin
            .patch(&format!("/queues/{}", id(&world.queue)), json!({ "agent_silent_minutes": 3 }))
            .await
            .expect(200);
        world.agent("Cleo").await;
        let ben = world.agent("Ben").await.ready().await;
        let (anna, emre) = (world.customer("Anna"), world.customer("Emre"));
        for customer in [&anna, &emre] {
            customer.says("Is anybody there?").await;
            ben.takes_next().await;
        }
        let rooms = ben.rooms().await;
        ben.replies(rooms.iter().find(|it| it["contact"]["first_name"] == "Emre").unwrap(), "I am.").await;
        tell(world, &emre.psid, passed(PAGE_INBOX)).await;
        world.pass(200).await;
        walks(world, scripts, "floor", format!("/chat/{PAGE_ID}/{}", anna.psid)).await;
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_messages_and_a_thousand_rooms_are_read_to_the_oldest() {
    let Some(scripts) = scripts() else { return };
    story(async |world| {
        let ben = world.agent_with("Ben", 1).await.ready().await;
        let anna = world.customer("Anna");
        anna.says("Message 1").await;
        ben.takes_next().await;
        world.settle().await;
        // Copies of what came through the doors: 10,000 messages, and 999 more customers who wait.
        let messages = "insert into messages (tenant_id, id, room_id, widget_id, seq, direction, author_kind, author_id, author_name, content, status, created_at)
            select m.tenant_id, gen_random_uuid(), m.room_id, m.widget_id, n, m.direction, m.author_kind, m.author_id, m.author_name,
                jsonb_build_object('kind', 'text', 'text', 'Message ' || n || repeat(' and more', (n % 20)::int)), m.status, m.created_at + n * interval '1 minute'
            from messages m, rooms r, generate_series(r.last_seq + 1, 10000) n
            where r.id = m.room_id and m.direction = 'inbound'";
        let times = "update messages set created_at = created_at - interval '7 days'";
        let seen = "update rooms set last_seq = 10000";
        let contacts = "insert into contacts (tenant_id, id, widget_id, sender_id, name, first_name, profile_at, last_inbound_at, created_at, updated_at)
            select tenant_id, gen_random_uuid(), widget_id, '72' || n, 'Customer ' || to_char(n, 'FM0000'), 'Customer', created_at, created_at, created_at, updated_at
            from contacts, generate_series(2, 1000) n";
        let rooms = "insert into rooms (tenant_id, id, widget_id, contact_id, status, queue_id, place_at, opened_at, queued_at)
            select r.tenant_id, gen_random_uuid(), r.widget_id, c.id, 'waiting', r.queue_id, at, at, at
            from rooms r, contacts c, lateral (select r.opened_at - (2000 - substr(c.sender_id, 3)::int) * interval '1 second' as at) made
            where c.sender_id like '72%' and r.contact_id <> c.id";
        for sql in [messages, times, seen, contacts, rooms] {
            sqlx::raw_sql(sql).execute(&world.db).await.unwrap();
        }
        walks(world, scripts, "long", "/".to_owned()).await;
    })
    .await;
}
