-- Every event type that a domain of this platform has; kept by the migrator, so that every process knows them all.
create table platform.event_types (
  name text primary key
);
select platform.system_table('platform.event_types');

-- Who wants to be told of what. See docs/decisions/0007-webhooks.md.
create table platform.webhooks (
  tenant_id text not null default current_setting('agency.tenant'),
  id uuid not null,
  url text not null,
  -- Names of event types; one that ends with * stands for all that begin so.
  event_types text[] not null,
  secret text not null,
  -- Signs beside the secret until then, so that a receiver can change over.
  previous_secret text,
  previous_until timestamptz,
  enabled boolean not null,
  -- Why the platform has disabled it; null when it has not.
  disabled_reason text,
  version bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, id)
);

-- One event for one webhook. While lease_until is ahead, a process is sending it.
create table platform.webhook_deliveries (
  id bigint generated always as identity primary key,
  tenant_id text not null default current_setting('agency.tenant'),
  webhook_id uuid not null,
  event_id uuid not null,
  type text not null,
  occurred_at timestamptz not null,
  data json not null,
  status text not null default 'pending' check (status in ('pending', 'delivered', 'failed')),
  -- Attempts ever begun; also the fence by which only the latest may say how it ended.
  attempts integer not null default 0,
  -- Attempts since it was queued or redriven: the place in the schedule of retries.
  tries integer not null default 0,
  next_attempt_at timestamptz not null default now(),
  lease_until timestamptz,
  last_attempt_at timestamptz,
  last_status integer,
  last_error text,
  created_at timestamptz not null default now(),
  unique (tenant_id, webhook_id, event_id),
  foreign key (tenant_id, webhook_id) references platform.webhooks (tenant_id, id) on delete cascade
);
create index webhook_deliveries_listed on platform.webhook_deliveries (tenant_id, webhook_id, id);
create index webhook_deliveries_due on platform.webhook_deliveries (tenant_id, webhook_id, next_attempt_at) where status = 'pending';
create index webhook_deliveries_leased on platform.webhook_deliveries (tenant_id, webhook_id) where lease_until is not null;
create index webhook_deliveries_by_age on platform.webhook_deliveries (created_at);

select platform.secure_table('platform.webhooks');
select platform.secure_table('platform.webhook_deliveries');
