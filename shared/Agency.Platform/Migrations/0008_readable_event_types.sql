-- An organisation's webhook is checked by that organisation, against the event types of all domains.
select platform.readable_table('platform.event_types');
