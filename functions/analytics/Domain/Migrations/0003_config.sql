-- What an organisation wants of its analytics. One row at most; without one the defaults of AnalyticsConfig hold.
create table analytics.config (
  tenant_id text not null default current_setting('agency.tenant') primary key,
  -- Days that events are kept; null for ever.
  retention_days integer,
  filter_bots boolean not null,
  excluded_addresses text[] not null,
  -- Ids of persons: a purge of one has to look here too.
  excluded_users text[] not null,
  tracking_plan jsonb not null,
  version bigint not null,
  updated_at timestamptz not null default now()
);
select platform.secure_table('analytics.config');

-- Where events do not follow the tracking plan: the last 10,000 or somewhat more of each organisation.
create table analytics.violations (
  tenant_id text not null default current_setting('agency.tenant'),
  id bigint generated always as identity,
  event text not null,
  -- Empty when it is about the event as a whole.
  property text not null,
  rule text not null,
  message_id text not null,
  -- The event was rejected for it.
  refused boolean not null,
  at timestamptz not null default now(),
  primary key (tenant_id, id),
  -- A client may send again what was refused.
  unique (tenant_id, message_id, rule, property, refused)
);
create index violations_by_event on analytics.violations (tenant_id, event, id);
select platform.secure_table('analytics.violations');

-- How many there were of each day (UTC). Several rows for one count, so that not all writers wait for each other.
create table analytics.violation_counts (
  tenant_id text not null default current_setting('agency.tenant'),
  day date not null,
  event text not null,
  rule text not null,
  slot smallint not null,
  violations bigint not null,
  primary key (tenant_id, day, event, rule, slot)
);
select platform.secure_table('analytics.violation_counts');
