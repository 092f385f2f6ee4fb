//! What goes out, in all its forms: files, answers to a message, reactions; what is refused at the door, and what a Page cannot show.

use std::sync::atomic::Ordering;

use chatgate::simulator::Fault;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::{
    media::{PNG, follow, kept},
    support::{
        api::Answer,
        story,
        world::{Agent, PAGE_ID, id},
    },
};

impl Agent<'_> {
    /// Uploads bytes for a room.
    pub async fn uploads(&self, room: &Value, name: &str, bytes: &[u8]) -> Answer {
        let file = Part::bytes(bytes.to_vec()).file_name(name.to_owned()).mime_str("application/x-lie").unwrap();
        let path = format!("/rooms/{}/attachments", id(room));
        let request = self.api.request(reqwest::Method::POST, &path).multipart(Form::new().part("file", file));
        self.api.send(request).await
    }

    async fn says(&self, room: &Value, content: Value) -> Answer {
        let answer = self.api.post(&format!("/rooms/{}/messages", id(room)), json!({ "content": content })).await;
        self.world.settle().await;
        answer
    }

    /// Sends what was uploaded.
    async fn sends(&self, room: &Value, upload: &Value) -> Answer {
        let content = json!({ "kind": "attachments", "attachments": [{ "type": upload["type"], "id": upload["id"] }] });
        self.says(room, content).await
    }
}

#[tokio::test]
async fn an_upload_is_sent_by_name_and_handed_over_once() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let (anna, emre) = (world.customer("Anna"), world.customer("Emre"));
        anna.says("hello").await;
        let room = ben.takes_next().await;
        emre.says("hello").await;
        let other = ben.takes_next().await;
        let upload = ben.uploads(&room, "../cat.png", PNG).await.expect(201);
        assert_eq!(
            (&upload["type"], &upload["state"], &upload["name"], &upload["mime"], &upload["size"]),
            (&json!("image"), &json!("stored"), &json!("cat.png"), &json!("image/png"), &json!(PNG.len()))
        );
        assert_eq!(follow(world, upload["url"].as_str().unwrap()).await.status, 200);
        assert_eq!(ben.sends(&other, &upload).await.pointers(), ["/content/attachments/0/id"], "it is for its room");
        let content = json!({ "kind": "attachments", "text": "A cat", "attachments": [{ "type": "image", "id": upload["id"] }, { "type": "image", "id": upload["id"] }] });
        assert_eq!(ben.says(&room, content).await.pointers(), ["/content/attachments/1/id"], "once");
        let content = json!({ "kind": "attachments", "attachments": [{ "type": "video", "id": upload["id"] }] });
        assert_eq!(ben.says(&room, content).await.pointers(), ["/content/attachments/0/type"]);
        let sent = ben.sends(&room, &upload).await.expect(201);
        assert!(sent["content"]["attachments"][0]["url"].as_str().unwrap().starts_with(&world.base));
        let seen = world.simulator.seen_by(PAGE_ID, &anna.psid).pop().unwrap().attachment.unwrap();
        let first = world.simulator.uploads(PAGE_ID);
        assert_eq!((first.len(), first[0].name.as_str(), first[0].content_type.as_str()), (1, "cat.png", "image/png"));
        assert_eq!(seen["type"], "image");
        assert_eq!(ben.reads(&room).await.pop().unwrap()["status"], "delivered");
        assert_eq!(ben.sends(&room, &upload).await.pointers(), ["/content/attachments/0/id"], "sent is sent");
        // The same file for somebody else: Facebook has it already.
        let upload = ben.uploads(&other, "cat.png", PNG).await.expect(201);
        ben.sends(&other, &upload).await.expect(201);
        assert_eq!(world.simulator.uploads(PAGE_ID).len(), 1);
        let again = world.simulator.seen_by(PAGE_ID, &emre.psid).pop().unwrap().attachment.unwrap();
        assert_eq!(again["payload"]["attachment_id"], seen["payload"]["attachment_id"]);
        // Given back as it was shown, or by its link alone, it is the same upload.
        for only_link in [false, true] {
            let mut upload = ben.uploads(&other, "cat.png", PNG).await.expect(201);
            if only_link {
                upload = json!({ "type": upload["type"], "url": upload["url"] });
            }
            let content = json!({ "kind": "attachments", "attachments": [upload] });
            let sent = ben.says(&other, content).await.expect(201);
            assert_eq!(sent["content"]["attachments"][0]["name"], "cat.png");
            let seen = world.simulator.seen_by(PAGE_ID, &emre.psid).pop().unwrap().attachment.unwrap();
            assert_eq!(seen["payload"]["attachment_id"], again["payload"]["attachment_id"]);
        }
        // Facebook has forgotten it: it is handed over again, and arrives once.
        world.simulator.forget_uploads(PAGE_ID);
        let upload = ben.uploads(&other, "cat.png", PNG).await.expect(201);
        ben.sends(&other, &upload).await.expect(201);
        world.pass(5).await;
        let seen: Vec<_> = world.simulator.seen_by(PAGE_ID, &emre.psid);
        assert_eq!(seen.iter().filter(|it| it.attachment.is_some()).count(), 4);
        assert_eq!(world.simulator.uploads(PAGE_ID).len(), 1);
    })
    .await;
}

#[tokio::test]
async fn facebook_gets_the_same_file_once_in_90_days() {
    story(async |world| {
        let mut ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        let mut handed_over = Vec::new();
        for days in [0, 88, 2] {
            world.pass(days * 24 * 3600).await;
            ben.api = world.log_in("acme", "ben@acme.test").await;
            anna.says("again, please").await;
            let upload = ben.uploads(&room, "cat.png", PNG).await.expect(201);
            ben.sends(&room, &upload).await.expect(201);
            assert_eq!(ben.reads(&room).await.pop().unwrap()["status"], "delivered");
            handed_over.push(world.simulator.uploads(PAGE_ID).len());
        }
        assert_eq!(handed_over, [1, 1, 2]);
    })
    .await;
}

#[tokio::test]
async fn nobody_sends_a_file_of_another_tenant() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        world.customer("Anna").says("hello").await;
        let room = ben.takes_next().await;
        let upload = ben.uploads(&room, "cat.png", PNG).await.expect(201);
        let (tenant, _) = world.new_tenant("rival").await;
        // As if it were the rival's.
        sqlx::query("alter table media drop constraint media_room_fk").execute(&world.db).await.unwrap();
        let rival: uuid::Uuid = id(&tenant).parse().unwrap();
        sqlx::query("update media set tenant_id = $1 where room_id is not null")
            .bind(rival)
            .execute(&world.db)
            .await
            .unwrap();
        for attachment in [json!({ "type": "image", "id": upload["id"] }), upload.clone()] {
            let content = json!({ "kind": "attachments", "attachments": [attachment] });
            assert_eq!(ben.says(&room, content).await.pointers(), ["/content/attachments/0/id"]);
        }
        assert_eq!(follow(world, upload["url"].as_str().unwrap()).await.problem(404), "not-found");
        assert_eq!(world.simulator.uploads(PAGE_ID).len(), 0);
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_facebook_refuses_fails_with_its_words_and_one_in_trouble_waits() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        let refused = Fault::Error {
            http_status: 400,
            code: 100,
            subcode: Some(2_018_047),
            message: "Upload attachment failure".to_owned(),
        };
        world.simulator.fail_next_uploads(PAGE_ID, vec![refused]);
        let upload = ben.uploads(&room, "cat.png", PNG).await.expect(201);
        let hello = ben.reads(&room).await[0]["id"].clone();
        let content = json!({ "kind": "attachments", "attachments": [upload] });
        let path = format!("/rooms/{}/messages", id(&room));
        ben.api.post(&path, json!({ "content": content, "reply_to": hello })).await.expect(201);
        world.settle().await;
        let failed = ben.reads(&room).await.pop().unwrap();
        assert_eq!((&failed["status"], &failed["error"]["meta_subcode"]), (&json!("failed"), &json!(2_018_047)));
        // Sent again, it is the same picture and the same answer, and the picture is the copy's.
        let copy = ben.api.post(&format!("/messages/{}/resend", id(&failed)), json!({})).await.expect(201);
        world.settle().await;
        assert_eq!(ben.reads(&room).await.pop().unwrap()["status"], "delivered");
        let seen = world.simulator.seen_by(PAGE_ID, &anna.psid).pop().unwrap();
        assert!(seen.attachment.is_some() && seen.reply_to.is_some());
        let owner: uuid::Uuid = sqlx::query_scalar("select message_id from media where message_id is not null")
            .fetch_one(&world.db)
            .await
            .unwrap();
        assert_eq!(owner.to_string(), id(&copy));
        world.simulator.fail_next_uploads(PAGE_ID, vec![Fault::Http502]);
        let upload = ben.uploads(&room, "dog.png", PNG).await.expect(201);
        ben.sends(&room, &upload).await.expect(201);
        ben.replies(&room, "That is the dog.").await;
        assert_eq!(anna.sees().len(), 2, "the opening text and the cat; the rest waits in order");
        for _ in 0..5 {
            world.pass(60).await;
        }
        let seen = world.simulator.seen_by(PAGE_ID, &anna.psid);
        assert!(seen[2].attachment.is_some());
        assert_eq!(seen[3].text.as_deref(), Some("That is the dog."));
        assert_eq!(seen.len(), 4);
        world.expects_trouble.store(true, Ordering::Relaxed);
    })
    .await;
}

#[tokio::test]
async fn uploads_are_looked_at_before_they_are_kept() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        assert_eq!(ben.uploads(&room, "x", b"").await.pointers(), ["/file"]);
        let program = [b"MZ".as_slice(), &[0; 58], &64_u32.to_le_bytes(), b"PE\0\0\x64\x86", &[0; 300]].concat();
        assert_eq!(ben.uploads(&room, "x.exe", &program).await.pointers(), ["/file"]);
        assert_eq!(ben.uploads(&room, "x", &vec![b'x'; (1 << 20) + 1]).await.problem(413), "too-large");
        assert_eq!(ben.uploads(&room, "x", &vec![b'x'; 4 << 20]).await.problem(413), "too-large");
        let path = format!("/rooms/{}/attachments", id(&room));
        assert_eq!(ben.api.post(&path, json!({})).await.problem(415), "media-type");
        let form = async |form: Form| ben.api.send(ben.api.request(reqwest::Method::POST, &path).multipart(form)).await;
        assert_eq!(form(Form::new().text("odd", "x")).await.pointers(), ["/odd"]);
        assert_eq!(form(Form::new().text("type", "image")).await.pointers(), ["/file"]);
        assert_eq!(form(Form::new().text("type", "sticker")).await.pointers(), ["/type"]);
        let text = || Part::bytes(b"hello".to_vec()).file_name("hello.txt");
        assert_eq!(
            form(Form::new().text("type", "image").part("file", text())).await.pointers(),
            ["/file"],
            "no picture"
        );
        let file = form(Form::new().part("file", text())).await.expect(201);
        assert_eq!((&file["type"], &file["mime"]), (&json!("file"), &json!("text/plain")));
        // Other agents have no business in the room, and nobody else has one either.
        let cleo = world.agent("Cleo").await.ready().await;
        assert_eq!(cleo.uploads(&room, "x", PNG).await.problem(403), "not-your-room");
        let (_, rival) = world.new_tenant("rival").await;
        let part = Form::new().part("file", text());
        assert_eq!(
            rival.send(rival.request(reqwest::Method::POST, &path).multipart(part)).await.problem(404),
            "not-found"
        );
        // What is not sent goes after a day.
        assert_eq!(kept(world).await, 1);
        world.pass(25 * 3600).await;
        world.pass(600).await;
        assert_eq!(kept(world).await, 0);
        assert_eq!(ben.sends(&room, &file).await.status, 409, "the window is closed by now");
    })
    .await;
}

#[tokio::test]
async fn a_reply_can_answer_a_message() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        let mid = anna.says("Is it red?").await;
        anna.says("Or blue?").await;
        let room = ben.takes_next().await;
        let first = ben.reads(&room).await[0].clone();
        let path = format!("/rooms/{}/messages", id(&room));
        let body = |to: &str| json!({ "content": { "kind": "text", "text": "It is." }, "reply_to": to });
        let sent = ben.api.post(&path, body(&id(&first))).await.expect(201);
        assert_eq!(sent["reply_to"], first["id"]);
        world.settle().await;
        let seen = world.simulator.seen_by(PAGE_ID, &anna.psid).pop().unwrap();
        assert_eq!((seen.text.as_deref(), seen.reply_to), (Some("It is."), Some(mid)));
        let note = ben.api.post(&format!("/rooms/{}/notes", id(&room)), json!({ "text": "hm" })).await.expect(201);
        for nothing in [id(&note), id(&room), "0190a000-0000-7000-8000-000000000000".to_owned()] {
            assert_eq!(ben.api.post(&path, body(&nothing)).await.pointers(), ["/reply_to"]);
        }
    })
    .await;
}

#[tokio::test]
async fn the_page_reacts_once_and_takes_it_back() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        let mid = anna.says("I love it!").await;
        let room = ben.takes_next().await;
        let message = ben.reads(&room).await[0].clone();
        let path = format!("/messages/{}/reaction", id(&message));
        let seen = || world.simulator.page_reaction(PAGE_ID, &anna.psid, &mid);
        for emoji in ["😀", "❤️"] {
            let shown = ben.api.put(&path, json!({ "emoji": emoji })).await.expect(200);
            assert_eq!(shown["reactions"], json!([{ "by": "page", "emoji": emoji }]));
            assert_eq!(seen().as_deref(), Some(emoji));
        }
        assert_eq!(ben.api.put(&path, json!({ "emoji": "ok" })).await.pointers(), ["/emoji"]);
        assert_eq!(ben.api.delete(&path).await.expect(200)["reactions"], json!([]));
        assert_eq!(seen(), None);
        // The log shows what no running transaction can still overtake.
        world.settle().await;
        let updates = world
            .events()
            .await
            .iter()
            .filter(|it| it["kind"] == "message.updated" && it["data"]["id"] == message["id"])
            .count();
        assert_eq!(updates, 3);
        let note = ben.api.post(&format!("/rooms/{}/notes", id(&room)), json!({ "text": "hm" })).await.expect(201);
        assert_eq!(
            ben.api.put(&format!("/messages/{}/reaction", id(&note)), json!({ "emoji": "😀" })).await.problem(409),
            "conflict"
        );
        let cleo = world.agent("Cleo").await.ready().await;
        assert_eq!(cleo.api.put(&path, json!({ "emoji": "😀" })).await.problem(403), "not-your-room");
        let (_, rival) = world.new_tenant("rival").await;
        assert_eq!(rival.put(&path, json!({ "emoji": "😀" })).await.problem(404), "not-found");
        world.simulator.fail_next_sends(PAGE_ID, vec![Fault::hiccup()]);
        let away = ben.api.put(&path, json!({ "emoji": "😀" })).await;
        assert_eq!((away.status, away.headers["retry-after"].to_str().unwrap()), (503, "5"));
        assert_eq!(ben.reads(&room).await[0]["reactions"], json!([]), "what Facebook has not taken is not shown");
        world.simulator.closed_window(PAGE_ID, &anna.psid, true);
        let refused = ben.api.put(&path, json!({ "emoji": "😀" })).await;
        assert_eq!(refused.body["allowed"], json!([]), "Facebook's word is final");
        assert_eq!(refused.problem(409), "window-closed");
        assert_eq!(ben.reads(&room).await[0]["reactions"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_refused_reaction_says_until_when_and_what_may_still_go_out() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("I love it!").await;
        let room = ben.takes_next().await;
        let path = format!("/messages/{}/reaction", id(&ben.reads(&room).await[0]));
        world.pass(25 * 3600).await;
        let refused = ben.api.put(&path, json!({ "emoji": "😀" })).await;
        assert_eq!((&refused.body["window"]["mode"], &refused.body["allowed"]), (&json!("closed"), &json!([])));
        assert_eq!(refused.body["window"], ben.room(&room).await["window"]);
        assert_eq!(refused.problem(409), "window-closed");
        // The tag for people is for what they write.
        let change = json!({ "messenger": { "human_agent": true } });
        world.admin.patch(&format!("/widgets/{}", id(&world.widget)), change).await.expect(200);
        let refused = ben.api.put(&path, json!({ "emoji": "😀" })).await;
        assert_eq!(refused.body["allowed"], json!(["human_agent"]));
        assert_eq!(refused.body["window"]["mode"], "human_agent");
        assert_eq!(refused.problem(409), "window-closed");
    })
    .await;
}

#[tokio::test]
async fn a_page_that_shows_plain_messages_only_gets_words() {
    story(async |world| {
        let plain = json!({ "messenger": { "plain_only": true } });
        let widget = world.admin.patch(&format!("/widgets/{}", id(&world.widget)), plain).await.expect(200);
        assert_eq!(widget["messenger"]["plain_only"], true);
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        let content = json!({ "kind": "buttons", "text": "So?", "buttons": [{ "type": "url", "title": "Shop", "url": "https://a.example/" }] });
        let sent = ben.says(&room, content).await.expect(201);
        assert_eq!(sent["content"], json!({ "kind": "text", "text": "So?\nShop: https://a.example/" }), "shown as it was sent");
        ben.replies(&room, "Email").await;
        let seen = world.simulator.seen_by(PAGE_ID, &anna.psid);
        assert!(seen.iter().all(|it| it.attachment.is_none() && it.quick_replies.is_empty()));
        assert_eq!(anna.sees()[1..], ["So?\nShop: https://a.example/", "May we have your e-mail?"]);
    })
    .await;
}

#[tokio::test]
async fn typing_is_shown_until_nobody_types() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let anna = world.customer("Anna");
        anna.says("hello").await;
        let room = ben.takes_next().await;
        let path = format!("/rooms/{}/typing", id(&room));
        let typed = || world.simulator.actions(PAGE_ID, &anna.psid).iter().filter(|it| *it == "typing_on").count();
        let types = async |on: bool| {
            ben.api.post(&path, json!({ "on": on })).await.expect(204);
            world.settle().await;
        };
        types(true).await;
        types(true).await;
        assert_eq!(typed(), 1, "Messenger's dots last a while");
        for shown in [2, 3, 4] {
            // 15, 30 and 45 s after the last word.
            world.pass(15).await;
            assert_eq!(typed(), shown);
        }
        world.pass(15).await;
        assert_eq!(typed(), 4, "nobody has said anything for a minute");
        types(true).await;
        ben.replies(&room, "Here I am.").await;
        world.pass(16).await;
        assert_eq!(typed(), 5, "who has written types no more");
        types(true).await;
        types(false).await;
        world.pass(16).await;
        assert_eq!((typed(), world.simulator.actions(PAGE_ID, &anna.psid).last().unwrap().as_str()), (6, "typing_off"));
        // Facebook's troubles are nobody's.
        world.simulator.kill_token(PAGE_ID);
        types(true).await;
        world.pass(16).await;
        world.expects_trouble.store(true, Ordering::Relaxed);
    })
    .await;
}
