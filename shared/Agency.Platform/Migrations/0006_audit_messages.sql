-- The id of the message by which another system, such as Clerk, brought the change.
alter table platform.audit add column message_id text;
