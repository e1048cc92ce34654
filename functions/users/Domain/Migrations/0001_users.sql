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
-- UserProblems knows these two by name.
create unique index users_by_email on users.users (tenant_id, lower(normalize(email, nfkc)));
create unique index users_by_external_id on users.users (tenant_id, external_id) where external_id is not null;
create index users_by_tenant on users.users (tenant_id, id);
create index users_by_country on users.users (tenant_id, country, id);
select platform.secure_table('users.users');

-- The tags once more, so that a list by tag walks an index: an array's operators are not leakproof, so below row-level security no
-- index on the array itself would be used.
create table users.user_tags (
  tenant_id text not null,
  tag text not null,
  user_id uuid not null,
  primary key (tenant_id, tag, user_id)
);
select platform.secure_table('users.user_tags');

create function users.keep_tags() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op <> 'INSERT' then
    delete from users.user_tags where tenant_id = old.tenant_id and tag = any(old.tags) and user_id = old.id;
  end if;
  if tg_op <> 'DELETE' then
    insert into users.user_tags (tenant_id, tag, user_id) select new.tenant_id, tag, new.id from unnest(new.tags) as tag on conflict do nothing;
  end if;
  return null;
end
$$;
create trigger keep_tags after insert or delete or update of tags on users.users for each row execute function users.keep_tags();
