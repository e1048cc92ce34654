-- Sagas of the embedded engine. A row is moved by whoever holds its lease and knows its fence; see EmbeddedSagasRun.
create table embedded.sagas (
  tenant_id text not null default current_setting('agency.tenant'),
  id text not null,
  name text not null,
  -- As it was when the saga started.
  definition json not null,
  input json not null,
  status text not null default 'running' check (status in ('running', 'compensating', 'completed', 'compensated', 'cancelled')),
  -- Index of the current step; while compensating, of the step being taken back.
  step integer not null default 0,
  -- Attempts at the step that have begun.
  attempt integer not null default 0,
  -- When a worker is to look at it; null when only a signal or a cancellation moves it.
  due_at timestamptz,
  -- When the current timer or time-out ends.
  wait_until timestamptz,
  waiting_for text,
  -- The results so far, by step.
  data json not null default '{}',
  -- Why the last attempt at the step failed.
  error text,
  -- Why the saga turned back.
  reason text,
  cancel_requested boolean not null default false,
  -- What a compensating saga becomes.
  ends_as text check (ends_as in ('compensated', 'cancelled')),
  -- While set, one worker has it; once past, that worker is taken for dead.
  lease_until timestamptz,
  -- Plus one with each taking, so that a worker taken for dead cannot commit.
  fence bigint not null default 0,
  version bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  finished_at timestamptz,
  primary key (tenant_id, id)
);
create index sagas_due on embedded.sagas (name, due_at) where due_at is not null;

-- What a saga was told. The first of a name counts.
create table embedded.saga_signals (
  tenant_id text not null default current_setting('agency.tenant'),
  saga_id text not null,
  name text not null,
  data json,
  received_at timestamptz not null default now(),
  primary key (tenant_id, saga_id, name),
  foreign key (tenant_id, saga_id) references embedded.sagas (tenant_id, id) on delete cascade
);

create table embedded.saga_history (
  id bigint generated always as identity primary key,
  tenant_id text not null default current_setting('agency.tenant'),
  saga_id text not null,
  step text,
  kind text not null,
  at timestamptz not null default clock_timestamp(),
  attempt integer,
  error text,
  foreign key (tenant_id, saga_id) references embedded.sagas (tenant_id, id) on delete cascade
);
create index saga_history_by_saga on embedded.saga_history (tenant_id, saga_id, id);

select platform.secure_table('embedded.sagas');
select platform.secure_table('embedded.saga_signals');
select platform.secure_table('embedded.saga_history');
