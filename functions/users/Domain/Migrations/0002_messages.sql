-- Messages to users that are to be sent. Whoever sends them does so once for each idempotency key. They go with their user.
create table users.messages (
  id uuid primary key,
  tenant_id text not null default current_setting('agency.tenant'),
  user_id uuid not null references users.users (id) on delete cascade,
  template text not null,
  recipient text not null,
  idempotency_key text not null,
  created_at timestamptz not null default now(),
  unique (tenant_id, idempotency_key)
);
create index messages_by_user on users.messages (user_id);
select platform.secure_table('users.messages');
