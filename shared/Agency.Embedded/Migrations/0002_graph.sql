-- Nodes and edges of every graph. A deleted node stays as its version only, so that a late event cannot bring it back.
create table embedded.graph_nodes (
  tenant_id text not null default current_setting('agency.tenant'),
  graph text not null,
  id text not null,
  version bigint not null,
  deleted boolean not null,
  name text not null,
  primary key (tenant_id, graph, id)
);

-- Kept with the node they lead from. A shared one leads to a key instead of a node.
create table embedded.graph_edges (
  tenant_id text not null default current_setting('agency.tenant'),
  graph text not null,
  source text not null,
  kind text not null,
  inverse text not null,
  target text not null,
  shared boolean not null,
  primary key (tenant_id, graph, source, kind, target)
);
create index graph_edges_by_target on embedded.graph_edges (tenant_id, graph, target, source);

select platform.secure_table('embedded.graph_nodes');
select platform.secure_table('embedded.graph_edges');

-- The first statement locks the node, so the second sees the edges that any change before this one has left. Planned each time, as
-- the plan of a table that was still empty would be a scan.
create function embedded.graph_put(
  in_graph text, in_id text, in_version bigint, in_deleted boolean, in_name text,
  kinds text[], inverses text[], targets text[], shareds boolean[])
returns boolean language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan as $$
begin
  insert into embedded.graph_nodes as n (graph, id, version, deleted, name)
  values (in_graph, in_id, in_version, in_deleted, in_name)
  on conflict (tenant_id, graph, id) do update
  set version = excluded.version, deleted = excluded.deleted, name = excluded.name
  where n.version < excluded.version;
  if not found then
    return false;
  end if;
  delete from embedded.graph_edges where graph = in_graph and source = in_id;
  insert into embedded.graph_edges (graph, source, kind, inverse, target, shared)
  select in_graph, in_id, e.* from unnest(kinds, inverses, targets, shareds) as e
  on conflict do nothing;
  return true;
end
$$;

-- Breadth first, a level at a time. A recursive query cannot remember where it has been across its branches, so it would walk a
-- ring or a company of colleagues along every path there is. Here each node is visited once, and as the walk ends with the level that
-- fills the limit, a level starts from fewer nodes than that, and needs at most so many and those known of each one's neighbours.
-- Every comparison is a leakproof one, so row-level security does not keep it from the indexes.
create function embedded.graph_related(in_graph text, in_id text, depth integer, at_most integer)
returns table (id text, name text, path text[]) language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  seen text[] := array[in_id];
  frontier text[] := array[in_id];
  -- The ways to the nodes of the frontier, each written as one text, since arrays of arrays have one length.
  ways text[] := array[''];
  names text[];
begin
  for step in 1 .. depth loop
    select array_agg(found.id order by found.id), array_agg(found.way order by found.id), array_agg(found.name order by found.id)
    into frontier, ways, names
    from (
      select distinct on (n.id) n.id, n.name, near.way
      from (
        select o.target as id, f.way || '/' || o.kind as way
        from unnest(frontier, ways) as f (id, way), lateral (
          select e.target, e.kind from embedded.graph_edges e
          where e.graph = in_graph and e.source = f.id and not e.shared) as o
        union all
        select i.source, f.way || '/' || i.inverse
        from unnest(frontier, ways) as f (id, way), lateral (
          select e.source, e.inverse from embedded.graph_edges e
          where e.graph = in_graph and e.target = f.id and not e.shared
          order by e.source limit at_most + cardinality(seen)) as i
        union all
        select m.source, k.way || '/' || k.kind
        from (
          select distinct on (e.kind, e.target) e.kind, e.target, f.way
          from unnest(frontier, ways) as f (id, way)
          join embedded.graph_edges e on e.graph = in_graph and e.source = f.id and e.shared
          order by e.kind, e.target, f.way) as k, lateral (
          select e.source from embedded.graph_edges e
          where e.graph = in_graph and e.target = k.target and e.kind = k.kind and e.shared
          order by e.source limit at_most + cardinality(seen)) as m
      ) as near
      join embedded.graph_nodes n on n.graph = in_graph and n.id = near.id and not n.deleted
      where near.id <> all (seen)
      order by n.id, near.way
    ) as found;
    if frontier is null then
      return;
    end if;
    return query
      select f.id, f.name, string_to_array(substr(f.way, 2), '/')
      from unnest(frontier, ways, names) as f (id, way, name)
      limit at_most - cardinality(seen) + 1;
    seen := seen || frontier;
    if cardinality(seen) > at_most then
      return;
    end if;
  end loop;
end
$$;
