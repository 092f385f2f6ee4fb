-- Who has never written (an opt-in, a broadcast of another tool) is not asked for a profile, and was walked over by every look for those
-- who are. They count as asked long ago now, so that their first message makes their profile due. (An index over last_inbound_at would be
-- written anew with every message.)
update contacts
set profile_at = 'epoch'
where profile_at is null and last_inbound_at is null;
