-- The outbox, which is also the embedded event log. A row is written in its command's transaction without a position; the sequencer
-- gives it one once the row is visible. See docs/decisions/0003-event-log.md.
create table platform.events (
  id bigint generated always as identity primary key,
  position bigint unique,
  event_id uuid not null unique,
  tenant_id text not null,
  topic text not null,
  type text not null,
  subject text not null,
  version bigint not null check (version >= 1),
  recorded_at timestamptz not null default clock_timestamp(),
  trace_parent text,
  data json not null,
  unique (tenant_id, topic, subject, version)
);
create index events_unsequenced on platform.events (id) where position is null;
create index events_by_topic on platform.events (topic, position);

-- The last position given. One row.
create table platform.log_head (
  only_row boolean primary key default true check (only_row),
  position bigint not null
);
insert into platform.log_head (position) values (0);

-- Which event each consumer group has handled, written in the transaction of the effect.
create table platform.inbox (
  tenant_id text not null,
  group_name text not null,
  event_id uuid not null,
  handled_at timestamptz not null default now(),
  primary key (group_name, event_id)
);
create index inbox_by_age on platform.inbox (handled_at);

-- Records that a group could not handle, and those of the same subject that came after. The oldest of a subject is tried again when
-- due; the others wait behind it. A dead one blocks its subject until it is redriven or discarded.
create table platform.parked (
  id bigint generated always as identity primary key,
  tenant_id text not null,
  group_name text not null,
  topic text not null,
  subject text not null,
  event_id uuid not null,
  type text not null,
  headers jsonb not null,
  data bytea not null,
  state text not null check (state in ('waiting', 'retrying', 'dead')),
  attempts integer not null,
  next_attempt_at timestamptz not null,
  error text,
  parked_at timestamptz not null default now(),
  unique (group_name, event_id)
);
create index parked_by_subject on platform.parked (group_name, tenant_id, topic, subject, id);
create index parked_due on platform.parked (group_name, next_attempt_at) where state <> 'dead';

create table platform.idempotency (
  tenant_id text not null,
  caller text not null,
  key text not null,
  fingerprint bytea not null,
  created_at timestamptz not null default now(),
  status integer,
  content_type text,
  location text,
  etag text,
  body bytea,
  primary key (tenant_id, caller, key)
);
create index idempotency_by_age on platform.idempotency (created_at);

select platform.secure_table('platform.events');
select platform.secure_table('platform.inbox');
select platform.secure_table('platform.parked');
select platform.secure_table('platform.idempotency');
select platform.system_table('platform.log_head');

-- Gives positions to what has become visible, oldest id first, and answers the topics that have something new.
-- Two events of one subject: the second is inserted after the first has committed, because its command waited for the aggregate's row.
-- So the first has the lower id and is visible whenever the second is: order by id is right for each subject, and a position, once
-- given, is never followed by a lower one. The lock is taken before the snapshot of the statements after it.
create function platform.sequence_events(at_most integer) returns table (topic text, last_position bigint)
language plpgsql as $$
begin
  if not pg_try_advisory_xact_lock(hashtextextended('agency sequencer', 0)) then
    return;
  end if;
  return query
    with head as (
      select position from platform.log_head
    ), fresh as (
      select id, row_number() over (order by id) as n
      from (select e.id from platform.events e where e.position is null order by e.id limit at_most) as unsequenced
    ), placed as (
      update platform.events e
      set position = head.position + fresh.n
      from fresh, head
      where e.id = fresh.id
      returning e.topic, e.position
    ), moved as (
      update platform.log_head h
      set position = h.position + (select count(*) from fresh)
      where exists (select from fresh)
    )
    select placed.topic, max(placed.position) from placed group by placed.topic;
end
$$;
revoke execute on function platform.sequence_events from public;
select platform.system_function('platform.sequence_events(integer)');
