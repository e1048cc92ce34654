-- What activities did, in the saga's own transaction. Nothing here stops a double: the engine must.
create table sagatests.effects (
  id bigint generated always as identity primary key,
  tenant_id text not null default current_setting('agency.tenant'),
  saga_id text not null,
  activity text not null
);
select platform.secure_table('sagatests.effects');

-- Stands for a system outside: written on a connection of its own, once for each idempotency key, with a count of the calls.
create table sagatests.outside (
  key text primary key,
  calls integer not null default 1
);
select platform.system_table('sagatests.outside');

-- The crash points that a host has died at; each once.
create table sagatests.crashes (
  point text primary key
);
select platform.system_table('sagatests.crashes');
