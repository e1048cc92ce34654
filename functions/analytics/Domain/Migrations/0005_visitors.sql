-- The events of one visitor, wherever they are: who is identified brings them along, and those of one register of a sketch are few.
create index events_by_visitor on analytics.events (tenant_id, visitor);

-- False until the history of the visitor has been made that of the person.
alter table analytics.identities add moved boolean not null default true;

-- Anonymous ids whose first event it is. What was counted before is counted anew by MaintainAnalytics.
alter table analytics.visits add new_anonymous bigint not null default 0;
alter table analytics.visits no force row level security;
alter table analytics.rebuilds no force row level security;
insert into analytics.rebuilds (tenant_id) select distinct tenant_id from analytics.visits on conflict do nothing;
alter table analytics.rebuilds force row level security;
alter table analytics.visits force row level security;
