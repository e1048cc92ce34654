-- What a purge of a person needs to find everything.

-- The number of an event's anonymous id where the event counts for a user who is not known to be the same person; else null. A purge of who
-- has the id takes it out of the event.
alter table analytics.events add column device bigint;
create index events_by_device on analytics.events (tenant_id, device) where device is not null;

-- Whom the event would have counted for: an event that was refused has no row that could tell.
alter table analytics.violations add column visitor bigint;

-- The subject of the VisitorsJoinedEvent that told of it.
alter table analytics.identities add column told_in uuid;

-- Where a batch's events are is told by the log's copy of it.
alter table analytics.pending_batches drop column first_at, drop column last_at;

alter table analytics.events no force row level security;
alter table analytics.identities no force row level security;
alter table platform.events no force row level security;
update analytics.events e set device = analytics.visitor_of(e.anonymous_id, true)
where e.user_id is not null and e.anonymous_id is not null
  and e.visitor <> coalesce(
    (select same_as from analytics.identities i where i.tenant_id = e.tenant_id and i.visitor = analytics.visitor_of(e.anonymous_id, true)),
    analytics.visitor_of(e.anonymous_id, true));
update analytics.identities i set told_in = e.subject::uuid
from platform.events e
where e.type = 'agency.analytics.visitors-joined.v1' and e.tenant_id = i.tenant_id and (e.data ->> 'visitor')::bigint = i.visitor;
alter table platform.events force row level security;
alter table analytics.identities force row level security;
alter table analytics.events force row level security;
