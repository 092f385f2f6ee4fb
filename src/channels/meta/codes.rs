//! Meta's error codes and what each asks for, as data: the decision table of its documentation and of experience.

use self::Action::{
    Alert, BackOff, Config, Content, Fail, MaybeSent, Owner, Reauth, Recipient, Retry, RetryOnce, Window,
};
use self::Sub::{Any, Is};
use super::verdict::{Bucket, GraphError};

/// What a code asks us to do.
#[derive(Clone, Copy)]
pub(super) enum Action {
    Retry,
    RetryOnce,
    BackOff(Bucket),
    MaybeSent,
    Reauth,
    Window,
    Recipient,
    Content,
    Config,
    Alert(Bucket),
    Owner,
    Fail,
}

/// Which subcodes a row is about.
enum Sub {
    Any,
    None,
    Is(i64),
}

/// Codes and what to do; the first row that fits counts.
const CODES: &[(i64, Sub, Action)] = &[
    (-1, Any, RetryOnce),
    (1, Sub::None, RetryOnce),
    (1, Is(99), RetryOnce),
    (1, Is(1_357_046), MaybeSent), // "Received invalid JSON reply": the message itself may have gone out
    (1, Is(2_018_382), Content),
    (2, Is(2_018_344), Config),
    (2, Any, Retry), // also when the person has blocked the page, so not for ever
    (3, Any, Config),
    (4, Is(2_018_354), Fail), // marketing message too soon
    (4, Is(2_018_022), BackOff(Bucket::Page)),
    (4, Any, BackOff(Bucket::App)),
    (9, Is(2_018_352), BackOff(Bucket::Person)),
    (10, Is(2_018_065), Window),
    (10, Is(2_018_278), Window),
    (10, Is(2_534_022), Window),
    (10, Is(2_018_108), Recipient),
    (10, Is(2_018_336), Recipient),
    (10, Is(1_893_015), Recipient),
    (10, Is(1_893_063), Alert(Bucket::Page)),
    (10, Is(1_404_170), Alert(Bucket::Page)),
    (17, Any, BackOff(Bucket::Page)),
    (32, Any, BackOff(Bucket::Page)),
    (100, Is(2_018_001), Recipient),
    (100, Is(2_534_014), Recipient),
    (100, Is(2_534_029), Alert(Bucket::Page)),
    (100, Is(2_018_164), Config),
    (100, Is(2_534_013), Config),
    (100, Is(33), Fail),
    (100, Is(2_018_014), Fail), // message and sender action together: our mistake
    (100, Is(2_018_034), Fail), // empty message: our mistake
    (100, Is(36_007), Fail),
    (100, Is(36_008), Fail),
    (100, Is(36_009), Fail),
    (102, Any, Reauth),
    (190, Any, Reauth),
    (200, Is(1_545_041), Recipient),
    (200, Is(2_018_027), Fail),
    (200, Is(2_018_021), Fail),
    (230, Any, Config),
    (283, Any, Config),
    (341, Any, BackOff(Bucket::App)),
    (368, Any, Alert(Bucket::Page)),
    (551, Any, Recipient),
    (613, Is(2_018_338), Alert(Bucket::Person)), // tags misused towards this person
    (613, Is(1_893_016), Fail),
    (613, Any, BackOff(Bucket::Page)),
    (803, Any, Fail),
    (1200, Any, Retry),
    (2022, Any, Alert(Bucket::Page)),
    (10_303, Any, Fail),
    (10_903, Any, Fail),
    (36_000, Any, Content),
    (80_001, Any, BackOff(Bucket::Page)),
    (80_002, Any, BackOff(Bucket::Page)),
    (80_006, Any, BackOff(Bucket::Page)),
    (80_008, Any, BackOff(Bucket::Page)),
    (9_000_001, Any, Fail),
];

/// Subcodes that mean the same under every code; Meta prints some of them bare, as if they were codes.
const SUBCODES: &[(i64, Action)] = &[
    (2_018_028, Config),
    (2_018_171, Config),
    (2_018_218, Fail),
    (2_018_234, Config),
    (2_018_247, Fail),
    (2_018_300, Owner),
    (2_018_321, Retry), // an automated flow of Meta's has the chat
    (2_534_037, Owner),
    (2_534_041, Config),
    (2_534_077, Config),
];

/// What a code means whose subcode is not known.
const REST: &[(i64, Action)] = &[(10, Config), (100, Content), (200, Config)];

/// What it was, where repeating has not helped; of all others nothing more is known.
const REPEATED: &[(i64, Sub, Action)] = &[
    (1, Sub::None, Config), // mostly a missing permission
    (1, Is(99), Config),
    (2, Any, Recipient), // a person who has blocked the page, if it is not Meta that has a bad hour
];

/// What an error asks for that has come back as often as it may be repeated.
pub(super) fn action_after_repeating(error: &GraphError) -> Action {
    error.code.and_then(|code| look_in(REPEATED, code, subcode_of(error))).unwrap_or(Fail)
}

/// What an error asks for, if its code or subcode is known.
pub(super) fn action_for(error: &GraphError) -> Option<Action> {
    let code = error.code?;
    // Older answers have no subcode for this; the text is all there is.
    if code == 100 && error.subcode.is_none() && error.message.contains("No matching user") {
        return Some(Recipient);
    }
    let subcode = subcode_of(error);
    let by_subcode = || find(SUBCODES, subcode.unwrap_or(code));
    look_in(CODES, code, subcode).or_else(by_subcode).or_else(|| find(REST, code))
}

fn subcode_of(error: &GraphError) -> Option<i64> {
    error.subcode.filter(|subcode| *subcode != 0)
}

fn look_in(table: &[(i64, Sub, Action)], code: i64, subcode: Option<i64>) -> Option<Action> {
    let fits = |sub: &Sub| match sub {
        Any => true,
        Sub::None => subcode.is_none(),
        Is(wanted) => subcode == Some(*wanted),
    };
    table.iter().find(|(row, sub, _)| *row == code && fits(sub)).map(|(_, _, action)| *action)
}

fn find(table: &[(i64, Action)], number: i64) -> Option<Action> {
    table.iter().find(|(row, _)| *row == number).map(|(_, action)| *action)
}
