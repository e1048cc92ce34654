-- The key that made a key, which goes with it. What keys have made before is told by the subject that made it.
alter table platform.api_keys add column made_by uuid references platform.api_keys (id) on delete cascade;
create index api_keys_by_maker on platform.api_keys (made_by) where made_by is not null;
-- Without force, so that the owner sees all rows.
alter table platform.api_keys no force row level security;
update platform.api_keys made
set made_by = maker.id
from platform.api_keys maker
where made.created_by = 'api-key:' || maker.id and maker.tenant_id = made.tenant_id;
alter table platform.api_keys force row level security;
