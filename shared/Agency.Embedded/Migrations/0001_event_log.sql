-- How far each consumer group has read. Plumbing of the whole database, so only the system role sees it.
create table embedded.consumer_offsets (
  group_name text not null,
  topic text not null,
  position bigint not null,
  updated_at timestamptz not null default now(),
  primary key (group_name, topic)
);
select platform.system_table('embedded.consumer_offsets');
