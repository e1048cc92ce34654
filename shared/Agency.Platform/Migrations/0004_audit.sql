-- Who did what, when and from where: one row for each command that was done, written in its transaction. Rows are added and read,
-- never changed, by anybody; see docs/decisions/0008-audit.md.
create table platform.audit (
  id bigint generated always as identity,
  tenant_id text not null,
  -- The user or machine that called.
  subject text not null,
  -- The function's name.
  action text not null,
  method text not null,
  path text not null,
  -- The aggregates that it changed, as far as its events or its answer name them.
  subjects text[] not null,
  event_types text[] not null,
  remote_address inet,
  trace_id text,
  status integer not null,
  at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, id)
);
create index audit_by_subject on platform.audit (tenant_id, subject, id);
create index audit_by_time on platform.audit using brin (at);
select platform.append_only_table('platform.audit');
