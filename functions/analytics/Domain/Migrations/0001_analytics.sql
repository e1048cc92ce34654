-- What was tracked, once for each message id. The ids have a table of their own, so that the events can be partitioned by time and
-- dropped by age without their key in the way.
create table analytics.message_ids (
  tenant_id text not null default current_setting('agency.tenant'),
  message_id text not null,
  primary key (tenant_id, message_id)
);
create table analytics.events (
  tenant_id text not null default current_setting('agency.tenant'),
  message_id text not null,
  name text not null,
  user_id text,
  anonymous_id text,
  occurred_at timestamptz not null,
  received_at timestamptz not null default now(),
  properties jsonb not null
);

-- The rollups, kept by RollUpEvents. A resolution is hour, day or month, UTC; a row of a coarser one is the sum of its finer ones, so
-- that a long range is answered from few rows.
create table analytics.event_counts (
  tenant_id text not null default current_setting('agency.tenant'),
  resolution text not null,
  start timestamptz not null,
  name text not null,
  events bigint not null,
  primary key (tenant_id, resolution, start, name)
);

-- Dimension all: key '', every resolution. Dimensions country (key '' when unknown) and product: days and months, since nobody asks for
-- the countries of an hour and there would be as many rows as events. Refunds are kept as a positive number.
create table analytics.revenue (
  tenant_id text not null default current_setting('agency.tenant'),
  dimension text not null,
  resolution text not null,
  start timestamptz not null,
  currency text not null,
  key text not null,
  gross numeric not null,
  refunds numeric not null,
  orders bigint not null,
  lines bigint not null,
  cancelled_lines bigint not null,
  units bigint not null,
  primary key (tenant_id, dimension, resolution, start, currency, key)
);

-- Orders seen, each with the hour of its earliest line that is not cancelled, where revenue (dimension all) counts it.
create table analytics.orders (
  tenant_id text not null default current_setting('agency.tenant'),
  currency text not null,
  order_id text not null,
  hour timestamptz not null,
  primary key (tenant_id, currency, order_id)
);

-- Who was there. An event with a user id is the user's, else it is the anonymous id's.
create table analytics.visitors (
  tenant_id text not null default current_setting('agency.tenant'),
  anonymous boolean not null,
  visitor_id text not null,
  first_seen timestamptz not null,
  primary key (tenant_id, anonymous, visitor_id)
);
create index visitors_by_first_seen on analytics.visitors (tenant_id, first_seen);

-- On which days (UTC), and in which hours of them: bit 0 is the hour from midnight.
create table analytics.visitor_days (
  tenant_id text not null default current_setting('agency.tenant'),
  day date not null,
  anonymous boolean not null,
  visitor_id text not null,
  hours integer not null,
  primary key (tenant_id, day, anonymous, visitor_id)
);

select platform.secure_table('analytics.message_ids');
select platform.secure_table('analytics.events');
select platform.secure_table('analytics.event_counts');
select platform.secure_table('analytics.revenue');
select platform.secure_table('analytics.orders');
select platform.secure_table('analytics.visitors');
select platform.secure_table('analytics.visitor_days');
