-- Every round of assigning asks which rooms are held for an opening: usually none, whatever the number of those that wait.
create index rooms_held on rooms (tenant_id, widget_id) where is_held;
