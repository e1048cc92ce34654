-- Documents and the keys they are found by. No extension is needed, so it runs on any server. A key is a hash of the organisation,
-- the index and one of
--   =word     the word itself
--   ^wor      each of its beginnings, up to 12 letters
--   ~wrd      the word, and what is left of it without one letter, or two where it is long enough; but a word with a digit in it is a
--             code, and with a typo another code
-- Two words are a typo or two apart when they have a ~ key in common (deletion neighbourhoods; Mor and Fraenkel, 1982), so a search
-- with typos is a few exact look-ups that find little more than what matches. Trigrams would find a tenth of all words first.
create table embedded.search_documents (
  tenant_id text not null default current_setting('agency.tenant'),
  index_name text not null,
  id text not null,
  version bigint not null,
  deleted boolean not null,
  title text[] not null,
  words text[] not null,
  keys bigint[] not null,
  content json not null,
  primary key (tenant_id, index_name, id)
);
-- A short pending list, as every search reads through it.
create index search_documents_by_key on embedded.search_documents using gin (keys) with (gin_pending_list_limit = 128);
select platform.secure_table('embedded.search_documents');
-- What search_find runs as; the owner is bound by row-level security too, and below it no operator of arrays would use the index.
create policy search on embedded.search_documents to current_user using (true);

-- These are in plpgsql because it keeps a plan for the session; a language sql function that is not inlined is planned for each row.

-- Accents off; words come in lower case. Letters that have no accent to take off are spelled out.
create function embedded.search_fold(words text[]) returns text[] language plpgsql immutable strict set search_path = pg_catalog, pg_temp as $$
begin
  return (
    select coalesce(array_agg(
      translate(replace(replace(replace(replace(regexp_replace(lower(normalize(left(w, 64), nfkd)), '[\u0300-\u036f]', '', 'g'),
        'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th'), 'øłđðıς', 'olddiσ') order by n), '{}')
    from unnest(words) with ordinality as u (w, n));
end
$$;

-- The keys of what is typed wrong: none for words of one letter or with a digit, one letter less from three letters, two from six.
create function embedded.search_typo_keys(scope text, words text[]) returns bigint[] language plpgsql immutable strict
set search_path = pg_catalog, pg_temp as $$
begin
  return (
    with given as (
      select distinct left(w, 24) as w from unnest(words) as w where length(w) >= 2 and w !~ '[0-9]'
    ), near as (
      select w from given
      union all
      select left(w, i - 1) || substr(w, i + 1) from given, generate_series(1, length(w)) as i where length(w) >= 3
      union all
      select left(w, i - 1) || substr(w, i + 1, j - i - 1) || substr(w, j + 1)
      from given, generate_series(1, length(w) - 1) as i, generate_series(i + 1, length(w)) as j where length(w) >= 6
    )
    select coalesce(array_agg(distinct hashtextextended(scope || '~' || w, 0)), '{}') from near);
end
$$;

-- The keys of a kind ('=' or '^') of these words or beginnings of words.
create function embedded.search_keys(scope text, kind text, parts text[]) returns bigint[] language plpgsql immutable strict
set search_path = pg_catalog, pg_temp as $$
begin
  return (select coalesce(array_agg(distinct hashtextextended(scope || kind || part, 0)), '{}') from unnest(parts) as part);
end
$$;

create function embedded.search_put(
  in_index text, in_id text, in_version bigint, in_deleted boolean, in_title text[], in_words text[], in_content json)
returns boolean language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  scope constant text := current_setting('agency.tenant') || chr(31) || in_index || chr(31);
  folded_title constant text[] := embedded.search_fold(in_title);
  folded_words constant text[] := embedded.search_fold(in_words);
  every constant text[] := folded_title || folded_words;
begin
  insert into embedded.search_documents as d (index_name, id, version, deleted, title, words, keys, content)
  values (
    in_index, in_id, in_version, in_deleted, folded_title, folded_words,
    embedded.search_keys(scope, '=', every)
      || embedded.search_keys(scope, '^', array(select left(w, n) from unnest(every) as w, generate_series(1, least(length(w), 12)) as n))
      || embedded.search_typo_keys(scope, every),
    in_content)
  on conflict (tenant_id, index_name, id) do update
  set version = excluded.version, deleted = excluded.deleted, title = excluded.title, words = excluded.words, keys = excluded.keys,
    content = excluded.content
  where d.version < excluded.version;
  return found;
end
$$;

-- Candidates for a query of folded words, the closest kind first: all words as they are, then all as beginnings, then with typos.
-- The next kind is looked for only while fewer than wanted are found, and at most 200 of each are handed out to be ranked. It sees
-- every row, so it names the organisation itself, in the keys and once more in the filter. The planner takes each key of a typo for a
-- common one, and would rather read the table until it has enough; of the other ways only a bitmap can use the keys.
create function embedded.search_find(in_index text, query text[], wanted integer)
returns table (id text, title text[], words text[], content json)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_indexscan = off as $$
declare
  tenant constant text := current_setting('agency.tenant', true);
  scope constant text := tenant || chr(31) || in_index || chr(31);
  conditions text[];
  condition text;
  known text[] := '{}';
begin
  if coalesce(tenant, '') = '' or cardinality(query) = 0 then
    return;
  end if;
  select array[
    format('d.keys @> %L::bigint[]', embedded.search_keys(scope, '=', query)),
    format('d.keys @> %L::bigint[]', embedded.search_keys(scope, '^', array(select left(w, 12) from unnest(query) as w))),
    string_agg(
      format('d.keys && %L::bigint[]', embedded.search_keys(scope, '^', array[left(w, 12)])
        || case when length(w) >= 3 then embedded.search_typo_keys(scope, array[w]) else '{}' end),
      ' and ')
  ] into conditions from unnest(query) as w;
  foreach condition in array conditions loop
    for id, title, words, content in execute format(
      'select d.id, d.title, d.words, d.content from embedded.search_documents d
       where %s and d.tenant_id = $1 and d.index_name = $2 and not d.deleted and d.id <> all ($3) limit 200', condition)
      using tenant, in_index, known
    loop
      known := array_append(known, id);
      return next;
    end loop;
    exit when cardinality(known) >= wanted;
  end loop;
end
$$;
