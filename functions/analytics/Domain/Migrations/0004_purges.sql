-- What DELETE /analytics/data was asked for, and how far it is. Whom it is about is forgotten with its end.
create table analytics.purges (
  tenant_id text not null default current_setting('agency.tenant'),
  id uuid not null,
  -- Numbers of the person, as in analytics.events; null when it is about everybody, or has ended.
  visitors bigint[],
  of_person boolean not null,
  event text,
  from_time timestamptz,
  to_time timestamptz,
  events bigint not null default 0,
  requested_at timestamptz not null default now(),
  finished_at timestamptz,
  primary key (tenant_id, id)
);
select platform.secure_table('analytics.purges');
