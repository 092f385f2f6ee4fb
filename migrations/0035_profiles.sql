-- Profiles: when to ask (again), how often that failed in a row, and what was said last, so that a name that people have corrected is
-- told from one that has changed at the channel. picture_url held a link that has expired since; now it names a file of ours.
alter table contacts
    add column profile_due_at timestamptz,
    add column profile_failures integer not null default 0,
    add column profile_name text,
    add column profile_first_name text;
update contacts set picture_url = null where picture_url is not null;
create index contacts_profile_due on contacts (profile_due_at) where profile_due_at is not null;

-- Pages under the European privacy rules may show plain messages only: everything else goes out as text there.
alter table widgets add column plain_only boolean not null default false;
