-- The Page's last reaction has a time of its own: with one for both, a reaction of the Page hid what the contact had done before it and
-- what was told later.
alter table messages add column page_reacted_at timestamptz;
