-- A smallest aggregate, and what its consumers did. Effects have no unique key, so that a double shows.
create table test.counters (
  id text not null,
  tenant_id text not null,
  version bigint not null,
  primary key (tenant_id, id)
);
create table test.effects (
  seq bigint generated always as identity primary key,
  tenant_id text not null default current_setting('agency.tenant'),
  consumer text not null,
  subject text not null,
  version bigint not null
);
create table test.faults (
  tenant_id text not null default current_setting('agency.tenant'),
  subject text not null,
  version bigint not null
);
select platform.secure_table('test.counters');
select platform.secure_table('test.effects');
select platform.secure_table('test.faults');
