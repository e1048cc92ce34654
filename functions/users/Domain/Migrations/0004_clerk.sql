-- What Clerk has told of its users, of all organisations, in whatever order its messages came. Plumbing: a message does not say for which
-- organisation it is before it has been compared with these.
create table users.clerk_users (
  id text primary key,
  -- Counts what has been learned of the user; what is done in an organisation carries the number it was decided at.
  revision bigint not null default 0,
  -- Clerk's own time of the details, milliseconds since 1970.
  details_at bigint not null default -1,
  -- Null until they are known, and again when the user is deleted, which is final: Clerk gives an id once.
  email text,
  name text,
  deleted boolean not null default false
);
create table users.clerk_memberships (
  id text primary key,
  user_id text not null,
  organisation text not null,
  -- Final too: who joins again gets a new membership.
  ended boolean not null default false
);
create index clerk_memberships_by_user on users.clerk_memberships (user_id);
select platform.system_table('users.clerk_users');
select platform.system_table('users.clerk_memberships');

-- Adds what one message tells to what is known, whatever its age, and answers all that is known then. The same message again adds nothing.
create function users.learn_from_clerk(
  of_user text, at bigint, new_email text, new_name text, gone boolean, membership text, in_organisation text, membership_gone boolean)
returns table (revision bigint, email text, name text, deleted boolean, organisation text[], left_organisation text[])
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  known users.clerk_users;
  changed boolean := false;
begin
  insert into users.clerk_users (id) values (of_user) on conflict do nothing;
  -- Two messages of one user take turns, so that the later one decides with what both have told.
  select * into known from users.clerk_users c where c.id = of_user for update;
  if gone and not known.deleted then
    known.deleted := true;
    known.email := null;
    known.name := null;
    changed := true;
  elsif not gone and not known.deleted and new_email is not null and at > known.details_at then
    known.details_at := at;
    known.email := new_email;
    known.name := new_name;
    changed := true;
  end if;
  if membership is not null then
    insert into users.clerk_memberships as m (id, user_id, organisation, ended)
    values (membership, of_user, in_organisation, membership_gone)
    on conflict (id) do update set ended = true where excluded.ended and not m.ended;
    changed := changed or found;
  end if;
  if changed then
    update users.clerk_users c
    set revision = c.revision + 1, details_at = known.details_at, email = known.email, name = known.name, deleted = known.deleted
    where c.id = of_user
    returning c.revision into known.revision;
  end if;
  return query
    select known.revision, known.email, known.name, known.deleted,
      array(select distinct m.organisation from users.clerk_memberships m where m.user_id = of_user and not m.ended),
      array(select distinct m.organisation from users.clerk_memberships m where m.user_id = of_user and m.ended
            except select m.organisation from users.clerk_memberships m where m.user_id = of_user and not m.ended);
end
$$;
revoke execute on function users.learn_from_clerk from public;
select platform.system_function('users.learn_from_clerk(text, bigint, text, text, boolean, text, text, boolean)');

-- Up to which revision an organisation has followed a user, and which messages it has handled; both written with the effect.
create table users.clerk_followed (
  tenant_id text not null default current_setting('agency.tenant'),
  user_id text not null,
  revision bigint not null,
  primary key (tenant_id, user_id)
);
create table users.clerk_messages (
  tenant_id text not null default current_setting('agency.tenant'),
  message_id text not null,
  handled_at timestamptz not null default now(),
  primary key (tenant_id, message_id)
);
create index clerk_messages_by_age on users.clerk_messages (tenant_id, handled_at);
select platform.secure_table('users.clerk_followed');
select platform.secure_table('users.clerk_messages');

-- The caller's user with this address, whatever its case. Row-level security would keep the query itself from the index, as lower and
-- normalize are not leakproof; so this runs as the owner and names the organisation itself.
create function users.id_by_email(address text) returns uuid
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select id from users.users
  where tenant_id = current_setting('agency.tenant') and lower(normalize(email, nfkc)) = lower(normalize(address, nfkc))
$$;
