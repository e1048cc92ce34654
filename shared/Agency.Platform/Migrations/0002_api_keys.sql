-- Credentials of machines. The secret itself is kept nowhere; see ApiKey for why its hash is a plain one.
create table platform.api_keys (
  id uuid primary key,
  tenant_id text not null default current_setting('agency.tenant'),
  name text not null,
  prefix text not null unique,
  secret_hash bytea not null check (octet_length(secret_hash) = 32),
  scopes text[] not null,
  created_by text not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  last_used_at timestamptz
);
create index api_keys_by_tenant on platform.api_keys (tenant_id, id);
select platform.secure_table('platform.api_keys');
