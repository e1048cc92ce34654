create table users.users (
  id uuid primary key,
  tenant_id text not null default current_setting('agency.tenant'),
  email text not null,
  name text not null,
  country text,
  tags text[] not null default '{}',
  external_id text,
  referred_by uuid,
  version bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create unique index users_by_email on users.users (tenant_id, lower(email));
create unique index users_by_external_id on users.users (tenant_id, external_id) where external_id is not null;
create index users_by_tenant on users.users (tenant_id, id);
select platform.secure_table('users.users');
