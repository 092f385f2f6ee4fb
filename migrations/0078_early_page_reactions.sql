-- What the Page and what the contact put on a message that is not here yet are two things; the later one took the other's place.
alter table early_changes
    drop constraint early_changes_kind_known,
    add constraint early_changes_kind_known check (kind in ('edit', 'unsent', 'reaction', 'page_reaction', 'delivered', 'read'));
