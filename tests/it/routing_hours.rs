//! Hours and rooms that wait: held until the opening, told when it comes, in the contact's language and on the clock of the hours.

use chrono::{Datelike, Days, NaiveDate, TimeDelta};
use serde_json::{Value, json};

use crate::support::{
    World, story,
    world::{APP_ID, PAGE_ID, id},
};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const TURKISH_MONTHS: [&str; 12] = ["Oca", "Şub", "Mar", "Nis", "May", "Haz", "Tem", "Ağu", "Eyl", "Eki", "Kas", "Ara"];
const TURKISH_DAYS: [&str; 7] = ["Pzt", "Sal", "Çar", "Per", "Cum", "Cmt", "Paz"];

fn every_day(from: &str, to: &str) -> Value {
    json!(DAYS.map(|day| json!({ "day": day, "from": from, "to": to })))
}

/// Makes the page follow these hours, holding what comes outside of them.
async fn follow(world: &World, hours: Value) -> String {
    let hours = world.admin.post("/working-hours", hours).await.expect(201);
    let chats = world.admin.get("/incoming-chats").await.expect(200);
    let change = json!({
        "working_hours_id": id(&hours), "after_hours": "hold", "offline_message": "Closed until {next_open}.",
    });
    world.admin.patch(&format!("/incoming-chats/{}", id(&chats["items"][0])), change).await.expect(200);
    format!("/working-hours/{}", id(&hours))
}

async fn waiting(world: &World) -> Vec<(String, i64)> {
    let rooms = world.admin.get("/rooms?status=waiting").await.expect(200);
    let of = |it: &Value| (it["contact"]["first_name"].as_str().unwrap().to_owned(), it["position"].as_i64().unwrap());
    rooms["items"].as_array().unwrap().iter().map(of).collect()
}

#[tokio::test]
async fn the_next_opening_is_told_across_holidays_in_the_contacts_language_and_the_hours_zone() {
    story(async |world| {
        let ben = world.agent("Ben").await.ready().await;
        let bea = world.customer("Bea");
        bea.says("hello").await;
        let room = ben.takes_next().await;
        ben.closes(&room).await;
        let heard = bea.sees().len();
        // Closed today (whatever day it is in Istanbul) and on two more; on the next one open in the afternoon only.
        let here = world.clock.now() + TimeDelta::hours(3);
        let date = |ahead: u64| here.date_naive().checked_add_days(Days::new(ahead)).unwrap();
        let mut exceptions: Vec<_> = (0..3).map(|it| json!({ "date": date(it).to_string(), "intervals": [] })).collect();
        exceptions.push(json!({ "date": date(3).to_string(), "intervals": [{ "from": "13:00", "to": "18:00" }] }));
        let hours = json!({
            "name": "Office", "time_zone": "Europe/Istanbul", "intervals": every_day("09:00", "18:00"), "exceptions": exceptions,
            "locale": "tr",
        });
        follow(world, hours).await;
        let year = |date: NaiveDate| if date.year() == here.year() { String::new() } else { format!(" {}", date.year()) };
        let (month, weekday) = (date(3).month0() as usize, date(3).weekday().num_days_from_monday() as usize);
        // Anna is new: her language is not known when she first writes, so the hours' is spoken.
        let anna = world.customer("Anna");
        anna.says("merhaba").await;
        let turkish = format!(
            "Closed until {} {}{} {} 13:00.",
            date(3).day(),
            TURKISH_MONTHS[month],
            year(date(3)),
            TURKISH_DAYS[weekday]
        );
        assert_eq!(anna.sees(), [turkish.as_str()]);
        anna.says("kimse yok mu?").await;
        assert_eq!(anna.sees().len(), 1, "once");
        // Bea's language came with her profile.
        bea.says("hello again").await;
        let comma = if year(date(3)).is_empty() { "" } else { "," };
        let english = format!("Closed until {}{comma} {} {}{}, 13:00.", date(3).format("%a"), date(3).day(), date(3).format("%b"), year(date(3)));
        assert_eq!(bea.sees()[heard..], [english]);
        // A person can correct it; the next closed period is told in the new one.
        let contact = format!("/contacts/{}", id(&room["contact"]));
        assert_eq!(world.admin.patch(&contact, json!({ "locale": "not a language" })).await.pointers(), ["/locale"]);
        world.admin.patch(&contact, json!({ "locale": "tr_TR" })).await.expect(200);
        assert_eq!(waiting(world).await, [("Anna".to_owned(), 1), ("Bea".to_owned(), 2)]);
        assert!(ben.rooms().await.is_empty());
        // To just before the opening, and over it.
        let opening = date(3).and_hms_opt(10, 0, 0).unwrap().and_utc();
        world.pass((opening - world.clock.now()).num_seconds() - 1).await;
        assert!(ben.rooms().await.is_empty());
        world.pass(2).await;
        let first = ben.takes_next().await;
        assert_eq!(first["contact"]["first_name"], "Anna", "each in their old place");
        let told = world.admin.get(&format!("/rooms/{}/routing", id(&first))).await.expect(200);
        let words: Vec<_> = told["items"].as_array().unwrap().iter().map(|it| it["decision"].as_str().unwrap()).collect();
        assert_eq!(words, ["held", "released", "offered", "accepted"]);
        assert!(told["items"][3]["waited_s"].as_i64().unwrap() < 5, "the wait counts from the opening");
    })
    .await;
}

#[tokio::test]
async fn every_text_can_say_when_it_opens() {
    story(async |world| {
        // Open on no day but in two, from nine to ten.
        let day = world.clock.now().date_naive().checked_add_days(Days::new(2)).unwrap();
        let opening = json!([{ "date": day.to_string(), "intervals": [{ "from": "09:00", "to": "10:00" }] }]);
        let hours =
            json!({ "name": "Office", "time_zone": "UTC", "intervals": [], "exceptions": opening, "locale": "tr" });
        let hours = follow(world, hours).await;
        let chats = world.admin.get("/incoming-chats").await.expect(200);
        let silent = json!({ "offline_message": "" });
        world.admin.patch(&format!("/incoming-chats/{}", id(&chats["items"][0])), silent).await.expect(200);
        let texts =
            json!({ "texts": { "closing": "Bye until {next_open}.", "error": "Unreadable. Back {next_open}." } });
        world.admin.patch(&format!("/widgets/{}", id(&world.widget)), texts).await.expect(200);
        let full = json!({ "max_waiting": 1, "max_waiting_text": "Full until {next_open}." });
        world.admin.patch(&format!("/queues/{}", id(&world.queue)), full).await.expect(200);
        let year = if day.year() == world.clock.now().year() { String::new() } else { format!(" {}", day.year()) };
        let (month, weekday) = (day.month0() as usize, day.weekday().num_days_from_monday() as usize);
        let when = format!("{} {}{year} {} 09:00", day.day(), TURKISH_MONTHS[month], TURKISH_DAYS[weekday]);

        let (anna, bea) = (world.customer("Anna"), world.customer("Bea"));
        anna.says("hello").await;
        let unreadable = json!({ "sender": { "id": anna.psid }, "recipient": { "id": PAGE_ID },
            "timestamp": world.clock.now().timestamp_millis(), "message": { "mid": "m_x", "is_unsupported": true } });
        world.simulator.deliver_item(PAGE_ID, "messages", unreadable).await;
        world.settle().await;
        bea.says("hello").await;
        // Anna's language came with her profile; Bea is new.
        let comma = if year.is_empty() { "" } else { "," };
        let english = format!("{}{comma} {} {}{year}, 09:00", day.format("%a"), day.day(), day.format("%b"));
        assert_eq!(anna.sees(), [format!("Unreadable. Back {english}.")]);
        assert_eq!(bea.sees(), [format!("Full until {when}.")]);
        let room = world.admin.get("/rooms?status=waiting").await.expect(200)["items"][0].clone();
        world.admin.post(&format!("/rooms/{}/close", id(&room)), json!({})).await.expect(200);
        world.settle().await;
        assert_eq!(anna.sees()[1..], [format!("Bye until {english}.")]);
        // Once it is open there is nothing to say.
        world
            .admin
            .patch(&hours, json!({ "exceptions": [], "intervals": every_day("00:00", "24:00") }))
            .await
            .expect(200);
        anna.says("again").await;
        bea.says("again").await;
        assert_eq!(bea.sees()[1..], ["Full until."]);
    })
    .await;
}

/// A second Page whose rooms wait in the same queue at all hours; a customer of it.
async fn second_page(world: &World) -> String {
    world.simulator.add_page(APP_ID, "2002", "Second", "second-token");
    let messenger = json!({ "app_id": APP_ID, "page_access_token": "second-token" });
    let widget = json!({ "name": "Second", "channel": "messenger", "messenger": messenger });
    let widget = world.admin.post("/widgets", widget).await.expect(201);
    let chat = json!({ "name": "Second to Sales", "widget_id": widget["id"], "queue_id": world.queue["id"] });
    world.admin.post("/incoming-chats", chat).await.expect(201);
    let psid = "7200000000000001".to_owned();
    world.simulator.add_person("2002", &psid, "Cem", "Example", None, None);
    psid
}

#[tokio::test]
async fn rooms_held_for_their_opening_are_not_in_line_before_those_that_may_be_answered() {
    story(async |world| {
        follow(world, json!({ "name": "Office", "time_zone": "UTC", "intervals": [] })).await;
        let text = json!({ "waiting_text": "You are number {position}." });
        world.admin.patch(&format!("/queues/{}", id(&world.queue)), text).await.expect(200);
        let cem = second_page(world).await;
        world.customer("Anna").says("hello").await;
        world.customer("Bea").says("hello").await;
        world.simulator.say("2002", &cem, "hello").await;
        world.settle().await;
        world.pass(5).await;
        let named = |name: &str, position| (name.to_owned(), position);
        assert_eq!(waiting(world).await, [named("Anna", 1), named("Bea", 2), named("Cem", 1)]);
        let told: Vec<_> = world.simulator.seen_by("2002", &cem).into_iter().filter_map(|it| it.text).collect();
        assert_eq!(told, ["You are number 1."]);
    })
    .await;
}

#[tokio::test]
async fn changed_hours_count_at_once_for_rooms_that_wait() {
    story(async |world| {
        let always = every_day("00:00", "24:00");
        let hours = follow(world, json!({ "name": "Office", "time_zone": "Europe/Berlin", "intervals": always })).await;
        let (anna, bea) = (world.customer("Anna"), world.customer("Bea"));
        anna.says("hello").await;
        bea.says("hello").await;
        let count = async |kind: &str| world.kinds().await.iter().filter(|it| *it == kind).count();
        assert_eq!((count("room.updated").await, count("room.queued").await), (0, 2));
        world.admin.patch(&hours, json!({ "intervals": [] })).await.expect(200);
        world.settle().await;
        assert_eq!((count("room.updated").await, count("room.queued").await), (2, 2), "whoever shows them hears of it");
        let ben = world.agent("Ben").await.ready().await;
        assert!(ben.rooms().await.is_empty(), "closed from this moment on");
        assert_eq!(anna.sees(), ["Closed until."]);
        assert_eq!(waiting(world).await, [("Anna".to_owned(), 1), ("Bea".to_owned(), 2)]);
        world.admin.patch(&hours, json!({ "intervals": always })).await.expect(200);
        world.settle().await;
        assert_eq!(ben.rooms().await.len(), 2, "open from this moment on");
        assert_eq!((count("room.updated").await, count("room.queued").await), (2, 4));
        assert_eq!(ben.takes_next().await["contact"]["first_name"], "Anna");
        assert!(bea.sees().iter().filter(|it| it.starts_with("Closed")).count() == 1);
    })
    .await;
}

#[tokio::test]
async fn who_came_in_time_is_served_after_the_end_of_the_day() {
    story(async |world| {
        let now = (world.clock.now() + TimeDelta::minutes(10)).format("%H:%M").to_string();
        let from = (world.clock.now() - TimeDelta::minutes(10)).format("%H:%M").to_string();
        follow(world, json!({ "name": "Office", "time_zone": "UTC", "intervals": every_day(&from, &now) })).await;
        world.customer("Anna").says("in time").await;
        world.pass(1200).await;
        let late = world.customer("Bea");
        late.says("late").await;
        assert_eq!(late.sees().len(), 1);
        let ben = world.agent("Ben").await.ready().await;
        let names: Vec<_> = ben.rooms().await.iter().map(|it| it["contact"]["first_name"].clone()).collect();
        assert_eq!(names, [json!("Anna")]);
    })
    .await;
}
