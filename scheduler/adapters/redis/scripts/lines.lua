-- Stands before the scripts that make tasks QUEUED, or take them out of their queue, after the prelude.

-- Who enters and who leaves which line: gathered here, and written once for each queue. A task that does both has left
-- before it enters, so leaving is written first.
local entered, left = {}, {}

-- Those with a deadline, by their models.
local urged, eased = {}, {}

local function listed(lists, name)
  local list = lists[name]
  if not list then
    list = {}
    lists[name] = list
  end
  return list
end

local function model_of(queue)
  return match(queue, '^[^.]*%.%d+%.%x*%.(.*)$') or ''
end

-- Enters a task with a deadline that becomes QUEUED now.
local function urge(queue, id, deadline)
  local urgent = listed(urged, model_of(queue))
  urgent[#urgent + 1] = deadline
  urgent[#urgent + 1] = id
end

-- Enters a task that becomes QUEUED now.
local function enter(queue, id, deadline)
  local line = listed(entered, queue)
  line[#line + 1] = stamp
  line[#line + 1] = id
  if deadline ~= '0' then
    urge(queue, id, deadline)
  end
end

-- Takes out a task with a deadline that is QUEUED no more.
local function ease(queue, id)
  local urgent = listed(eased, model_of(queue))
  urgent[#urgent + 1] = id
end

-- Takes out a task that is QUEUED no more.
local function leave(queue, id, deadline)
  local line = listed(left, queue)
  line[#line + 1] = id
  if deadline ~= '0' then
    ease(queue, id)
  end
end

local function write_lines()
  local queued = {}
  for queue, ids in pairs(left) do
    spread(ids, 'ZREM', base .. 'w:' .. queue)
    queued[queue] = -#ids
  end
  for queue, line in pairs(entered) do
    spread(line, 'ZADD', base .. 'w:' .. queue)
    queued[queue] = (queued[queue] or 0) + #line / 2
  end
  for model, ids in pairs(eased) do
    spread(ids, 'ZREM', base .. 'u:' .. model)
  end
  for model, urgent in pairs(urged) do
    spread(urgent, 'ZADD', base .. 'u:' .. model)
    call('SADD', base .. 'urgent', model)
  end
  add_up(queued, '.queued')
  write_counts()
end
