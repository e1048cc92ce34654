-- Of refused events it was not kept whose they were, so no purge of a person finds them.
alter table analytics.violations no force row level security;
delete from analytics.violations where refused and visitor is null;
alter table analytics.violations force row level security;
