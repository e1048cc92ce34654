-- The analytics tables as they stay flat while history grows: events in partitions by month, everybody who was there in sketches
-- instead of rows, sessions, and persons who go by several ids. What is computed from events is dropped here and built anew from them:
-- MaintainAnalytics does so for the organisations in analytics.rebuilds.
create table analytics.rebuilds (
  tenant_id text not null default current_setting('agency.tenant') primary key
);
select platform.secure_table('analytics.rebuilds');

-- Whom an event counts for, as a number: the first eight bytes of the SHA-256 of the id, with a zero byte after it when it is anonymous, and
-- then the lowest bit 1, else 0. Visitor.Of does the same.
create function analytics.visitor_of(id text, anonymous boolean) returns bigint language sql immutable strict set search_path = pg_catalog, pg_temp as $$
  select ('x' || substr(encode(sha256(convert_to(id, 'UTF8') || case when anonymous then '\x00'::bytea else ''::bytea end), 'hex'), 1, 16))::bit(64)::bigint & -2 | anonymous::int
$$;

alter table analytics.events no force row level security;
alter table analytics.events rename to events_in_one;
create table analytics.events (
  tenant_id text not null default current_setting('agency.tenant'),
  message_id text not null,
  name text not null,
  user_id text,
  anonymous_id text,
  -- Whom it counts for, which changes when an anonymous id is found to be a user's. Null when it names nobody.
  visitor bigint,
  occurred_at timestamptz not null,
  received_at timestamptz not null default now(),
  -- The subject of the EventTrackedEvent that told of it.
  batch_id uuid not null,
  properties jsonb not null
) partition by range (occurred_at);
create index events_by_name on analytics.events (tenant_id, name, occurred_at) include (visitor);
select platform.secure_table('analytics.events');

-- One month, UTC, which may be there already. Attached, not created in place, so that nobody who reads or writes events waits for it. The
-- table itself is nobody's: with row-level security on and no policy, its rows are reached through analytics.events only.
create function analytics.add_partition(at timestamptz) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  month constant timestamp := date_trunc('month', at at time zone 'UTC');
  name constant text := 'events_' || to_char(month, 'YYYY_MM');
begin
  if month < '1970-01-01' or month > (now() at time zone 'UTC') + interval '3 months' then
    raise exception 'No event is of %.', at using errcode = 'invalid_parameter_value';
  end if;
  if to_regclass('analytics.' || name) is not null then
    return;
  end if;
  -- One at a time. A table's lock, unlike an advisory one, also brings the catalogue up to date.
  lock table analytics.events in share update exclusive mode;
  if to_regclass('analytics.' || name) is not null then
    return;
  end if;
  execute format('create table analytics.%I (like analytics.events including all)', name);
  execute format('alter table analytics.%I enable row level security', name);
  execute format('alter table analytics.events attach partition analytics.%I for values from (%L) to (%L)',
    name, month::text || 'Z', (month + interval '1 month')::text || 'Z');
end
$$;

-- Takes away the months before this one in which no event is left. Answers how many.
create function analytics.drop_empty_partitions() returns integer language plpgsql security definer set search_path = pg_catalog, pg_temp
set lock_timeout = '1s' as $$
declare
  partition regclass;
  used boolean;
  dropped integer := 0;
begin
  for partition in
    select inhrelid from pg_inherits i join pg_class c on c.oid = inhrelid
    where inhparent = 'analytics.events'::regclass and c.relname < 'events_' || to_char(now() at time zone 'UTC', 'YYYY_MM')
  loop
    execute format('select exists (select from %s)', partition) into used;
    continue when used;
    begin
      -- An event of long ago may be on its way into it: then it stays.
      execute format('lock table analytics.events in access exclusive mode');
      execute format('select exists (select from %s)', partition) into used;
      if not used then
        execute format('drop table %s', partition);
        dropped := dropped + 1;
      end if;
    exception when lock_not_available then
      return dropped;
    end;
  end loop;
  return dropped;
end
$$;
revoke execute on function analytics.drop_empty_partitions from public;
select platform.system_function('analytics.drop_empty_partitions()');

do $$
begin
  perform analytics.add_partition(month) from (
    select distinct date_trunc('month', occurred_at, 'UTC') as month from analytics.events_in_one
    union select date_trunc('month', now(), 'UTC') + make_interval(months => n) from generate_series(-1, 2) as n) as needed;
end
$$;
alter table analytics.events no force row level security;
insert into analytics.events
select tenant_id, message_id, name, user_id, anonymous_id,
  coalesce(analytics.visitor_of(user_id, false), analytics.visitor_of(anonymous_id, true)), occurred_at, received_at, '00000000-0000-0000-0000-000000000000', properties
from analytics.events_in_one;
alter table analytics.rebuilds no force row level security;
insert into analytics.rebuilds (tenant_id) select distinct tenant_id from analytics.events_in_one;
alter table analytics.rebuilds force row level security;
alter table analytics.events force row level security;
drop table analytics.events_in_one;

-- What POST /events has taken in and RollUpEvents has not yet counted; so it is known of each event whether it is counted. Whoever adds to
-- the tables below, or takes from them, holds the organisation's lock (Rollups.LockAsync).
create table analytics.pending_batches (
  tenant_id text not null default current_setting('agency.tenant'),
  batch_id uuid not null,
  first_at timestamptz not null,
  last_at timestamptz not null,
  -- Events have been taken out of it since: the log's copy of them does not count.
  purged boolean not null default false,
  primary key (tenant_id, batch_id)
);
select platform.secure_table('analytics.pending_batches');

-- Visitors that turned out to be another: an anonymous id is a user's, a former user id is a later one's. Kept flat, so that nobody is the
-- alias of an alias.
create table analytics.identities (
  tenant_id text not null default current_setting('agency.tenant'),
  visitor bigint not null,
  same_as bigint not null,
  primary key (tenant_id, visitor)
);
create index identities_by_same on analytics.identities (tenant_id, same_as);
select platform.secure_table('analytics.identities');

-- Half an hour of silence ends a session. The first one of a visitor starts with the first event there is of him.
drop table analytics.visitors;
drop table analytics.visitor_days;
create table analytics.sessions (
  tenant_id text not null default current_setting('agency.tenant'),
  visitor bigint not null,
  start timestamptz not null,
  last timestamptz not null,
  events bigint not null,
  primary key (tenant_id, visitor, start)
);
select platform.secure_table('analytics.sessions');

-- Events of whatever name; sessions and new users, each in the interval of their start.
create table analytics.visits (
  tenant_id text not null default current_setting('agency.tenant'),
  -- hour, day or month.
  resolution text not null,
  start timestamptz not null,
  events bigint not null,
  new_users bigint not null,
  sessions bigint not null,
  -- Sessions of one event.
  bounces bigint not null,
  -- From first to last event, in microseconds.
  duration bigint not null,
  primary key (tenant_id, resolution, start)
);
select platform.secure_table('analytics.visits');

-- Who was there, as sketches that can be united; see Sketch. Each has its number of members beside it, so that a series need not read it.
create table analytics.uniques (
  tenant_id text not null default current_setting('agency.tenant'),
  -- user, anonymous, or customer/ and a currency.
  kind text not null,
  -- hour, day, week, month or year.
  resolution text not null,
  start timestamptz not null,
  members bigint not null,
  sketch bytea not null,
  -- Another one whenever the sketch is, so that a copy of it can be told to be old.
  version bigint not null generated always as identity,
  primary key (tenant_id, kind, resolution, start)
);
-- Sketches do not compress.
alter table analytics.uniques alter column sketch set storage external;
select platform.secure_table('analytics.uniques');

-- One row for each hour in which an order has lines that are not cancelled; the order counts in the first of them.
drop table analytics.orders;
create table analytics.orders (
  tenant_id text not null default current_setting('agency.tenant'),
  currency text not null,
  order_id text not null,
  hour timestamptz not null,
  lines bigint not null,
  primary key (tenant_id, currency, order_id, hour)
);
select platform.secure_table('analytics.orders');

truncate analytics.event_counts, analytics.revenue;
