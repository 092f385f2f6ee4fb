-- Texts that agents have at hand, for the whole tenant or for one queue.
create table canned_answers (
    tenant_id uuid not null,
    id uuid not null,
    -- Null: for every queue.
    queue_id uuid,
    -- What is typed behind the slash; always small letters.
    shortcut text not null,
    text text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint canned_answers_pk primary key (tenant_id, id),
    constraint canned_answers_tenant_fk foreign key (tenant_id) references tenants (id) on delete cascade,
    constraint canned_answers_queue_fk foreign key (tenant_id, queue_id) references queues (tenant_id, id) on delete cascade
);
-- One meaning of a shortcut in each queue, and one for all the others.
create unique index canned_answers_shortcut_key
    on canned_answers (tenant_id, coalesce(queue_id, '00000000-0000-0000-0000-000000000000'), shortcut);
