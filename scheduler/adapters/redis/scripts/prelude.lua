-- Stands before every record script. KEYS[1] is the prefix of the partition's keys, such as 'fb:{07}:'.
--
-- A record is the hash '<prefix>t:<id>' with the fields
--   v  state,attempt,publication,returned,sequence,max_attempts,deadline_ms,queue;history
--   t  tenant    e  envelope    w  runner    x  error    o  result
-- `v` is one string because one read, one prefix comparison and one write are all that a hot script needs. `queue`
-- is '<pool>.<level>'; each step of the history is '<state digit><ms><reason>', joined by ';', oldest first.
local base, call = KEYS[1], redis.call
local sub, match, concat = string.sub, string.match, table.concat
local key_of = base .. 't:'

local function clock()
  local t = call('TIME')
  return t[1] * 1000 + (t[2] - t[2] % 1000) / 1000
end

-- Appends a step to v; beyond 32 steps the second oldest goes, so that the creation stays.
local function push(v, step)
  if #v < 400 then
    return v .. ';' .. step
  end
  local _, steps = string.gsub(v, ';', ';')
  if steps >= 32 then
    v = string.gsub(v, '^([^;]*;[^;]*);[^;]*', '%1', 1)
  end
  return v .. ';' .. step
end

-- Changes to tell of: ids grouped under '<state digit><attempt>', with '+' behind for output.
local groups, heads = {}, {}
local function note(head, id)
  local group = groups[head]
  if not group then
    group = {}
    groups[head] = group
    heads[#heads + 1] = head
  end
  group[#group + 1] = id
end

-- Tells followers, once for the whole script call: '<partition>:<number>;<head>:<id>,<id>…;…'. The number counts the
-- calls of the partition, so that a follower sees when it missed one.
local function publish(body)
  call('PUBLISH', 'fb:events', sub(base, 5, 6) .. ':' .. call('INCR', base .. 'n') .. ';' .. body)
end

local function announce()
  if #heads > 0 then
    local parts = {}
    for i = 1, #heads do
      parts[i] = heads[i] .. ':' .. concat(groups[heads[i]], ',')
    end
    publish(concat(parts, ';'))
  end
end

-- Queue counters, summed up here and written once for each queue.
local queued, running = {}, {}
local function count(queue, waits, runs)
  queued[queue] = (queued[queue] or 0) + waits
  running[queue] = (running[queue] or 0) + runs
end

local function write_counts()
  for queue, waits in pairs(queued) do
    if waits ~= 0 then
      call('HINCRBY', base .. 'q', queue .. '.queued', waits)
    end
    if running[queue] ~= 0 then
      call('HINCRBY', base .. 'q', queue .. '.running', running[queue])
    end
  end
end

-- Calls a command that takes any number of members, in pieces that fit on Lua's stack.
local function spread(list, ...)
  local head = { ... }
  for first = 1, #list, 4000 do
    local args = {}
    for i = 1, #head do
      args[i] = head[i]
    end
    for i = first, math.min(first + 3999, #list) do
      args[#args + 1] = list[i]
    end
    call(unpack(args))
  end
end
