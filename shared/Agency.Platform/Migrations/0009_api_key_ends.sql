-- What a key has made before keys were bound to their makers ends with its maker too: at once where that is gone already.
alter table platform.api_keys no force row level security;
update platform.api_keys
set expires_at = now()
where made_by is null and created_by like 'api-key:%' and (expires_at is null or expires_at > now());
with recursive bound as (
  select id, expires_at from platform.api_keys where made_by is null
  union all
  select made.id, least(made.expires_at, maker.expires_at) from platform.api_keys made join bound maker on made.made_by = maker.id
)
update platform.api_keys k
set expires_at = bound.expires_at
from bound
where k.id = bound.id and k.expires_at is distinct from bound.expires_at;
alter table platform.api_keys force row level security;
