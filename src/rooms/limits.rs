//! Full queues: new rooms beyond what may wait go to the overflow, or are kept but closed at once. Pure; the caller holds whatever keeps
//! others from joining the same queue meanwhile.

use std::collections::HashMap;

use super::{CloseReason, Status, store::receive::NewRoom};
use crate::ids::{QueueId, RoomId, TenantId};

/// How many more rooms may join a queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// So many.
    pub left: i64,
    /// Where others go, and how many may join there, if that is limited, too.
    pub overflow: Option<(QueueId, Option<i64>)>,
    /// Said to whom is turned away; may be empty.
    pub text: String,
}

/// Finds places for new rooms whose queue is full; whom to tell that there was none.
pub(super) fn settle(opened: &mut [NewRoom], limits: &HashMap<QueueId, &Limit>) -> Vec<(TenantId, RoomId, String)> {
    let mut joined: HashMap<QueueId, i64> = HashMap::new();
    let mut turned_away = Vec::new();
    for room in opened {
        let Some(queue) = room.queue.map(QueueId) else { continue };
        let Some(limit) = limits.get(&queue) else {
            *joined.entry(queue).or_default() += 1;
            continue;
        };
        let mut joins = |queue: QueueId, left: Option<i64>| {
            let joined = joined.entry(queue).or_default();
            let fits = left.is_none_or(|left| *joined < left);
            *joined += i64::from(fits);
            fits
        };
        if joins(queue, Some(limit.left)) {
            continue;
        }
        match limit.overflow {
            Some((overflow, left)) if joins(overflow, left) => {
                (room.queue, room.is_overflow) = (Some(overflow.0), true)
            }
            _ => {
                (room.status, room.close_reason, room.is_held) = (Status::Closed, Some(CloseReason::Offline), false);
                turned_away.push((room.tenant, room.id, limit.text.clone()));
            }
        }
    }
    turned_away
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::{ContactId, WidgetId};

    const QUEUE: QueueId = QueueId(Uuid::from_u128(1));
    const OVERFLOW: QueueId = QueueId(Uuid::from_u128(2));

    fn room(id: u128) -> NewRoom {
        NewRoom {
            tenant: TenantId(Uuid::nil()),
            id: RoomId(Uuid::from_u128(id)),
            widget: WidgetId(Uuid::nil()),
            contact: ContactId(Uuid::nil()),
            status: Status::Waiting,
            queue: Some(QUEUE.0),
            is_held: false,
            is_overflow: false,
            close_reason: None,
            referral: None,
            received: 1,
            window_look_at: None,
        }
    }

    #[track_caller]
    fn check(left: i64, overflow: Option<(QueueId, Option<i64>)>, expected: &[(Status, QueueId)]) {
        let limit = Limit { left, overflow, text: "full".to_owned() };
        let mut opened: Vec<_> = (0..4).map(room).collect();
        let told = settle(&mut opened, &HashMap::from([(QUEUE, &limit)]));
        let went: Vec<_> = opened.iter().map(|it| (it.status, QueueId(it.queue.unwrap()))).collect();
        assert_eq!(went, expected);
        assert_eq!(told.len(), went.iter().filter(|it| it.0 == Status::Closed).count());
    }

    #[test]
    fn a_full_queue_overflows_and_then_turns_away() {
        let (here, there, away) = ((Status::Waiting, QUEUE), (Status::Waiting, OVERFLOW), (Status::Closed, QUEUE));
        check(9, None, &[here; 4]);
        check(1, None, &[here, away, away, away]);
        check(1, Some((OVERFLOW, None)), &[here, there, there, there]);
        check(1, Some((OVERFLOW, Some(2))), &[here, there, there, away]);
        check(-3, Some((OVERFLOW, Some(0))), &[away; 4]);
    }
}
