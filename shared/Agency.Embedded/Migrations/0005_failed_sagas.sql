-- A saga whose stored data cannot be read ends as failed, rather than being tried for ever.
alter table embedded.sagas drop constraint sagas_status_check;
alter table embedded.sagas add constraint sagas_status_check
  check (status in ('running', 'compensating', 'completed', 'compensated', 'cancelled', 'failed'));
