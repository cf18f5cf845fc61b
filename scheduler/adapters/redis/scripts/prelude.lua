-- Stands before every record script. KEYS[1] is the prefix of the partition's keys, such as 'fb:{07}:'.
--
-- A record is the hash '<prefix>t:<id>' with the fields
--   v  state,attempt,publication,returned,sequence,max_attempts,deadline_ms,queue;history
--   t  tenant    e  envelope    w  runner    x  error    o  result    g  isolation group    b  earliest start of a
--   BLOCKED one    a  first chunk of a later attempt    raw, topic  a message that nobody could read
-- `v` is one string because one read, one prefix comparison and one write are all that a hot script needs. `queue`
-- is '<pool>.<level>.<index of the tenant>.<model>', of which only the model may have dots; records of before there were
-- lines have '<pool>.<level>', and are counted under that until they end. Each step of the history is
-- '<state digit><ms><reason>', joined by ';', oldest first.
--
-- Beside the records a partition has the sorted sets by time: leases, timers (SCHEDULED and RETRYING), deadlines (of
-- what has not ended), unpublished (tickets), schedules, shelf:<name>, w:<queue> (who is QUEUED there, by the time since
-- when), and u:<model> (who is QUEUED and was not promoted, by its deadline; `urgent` is the set of those models); by
-- number: after (follow-ups); by id: ix:<index> and dead:<index>. kids and c:<parent> name those that depend on a task,
-- p:<child> what it waits for. tenants maps a tenant to its index, and behind a space to where the pruning of that index
-- goes on. q counts by queue: '<queue>.queued', '.running', and '.waiting' for those that wait on no lane.
local base, call = KEYS[1], redis.call
local sub, match, concat = string.sub, string.match, table.concat
local key_of = base .. 't:'

local clock = call('TIME')
local now = clock[1] * 1000 + (clock[2] - clock[2] % 1000) / 1000
local stamp = string.format('%.0f', now)

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
local function noted(head)
  local group = groups[head]
  if not group then
    group = {}
    groups[head] = group
    heads[#heads + 1] = head
  end
  return group
end

local function note(head, id)
  local group = noted(head)
  group[#group + 1] = id
end

-- Tells followers, once for the whole script call: '<partition>:<number>;<head>:<id>,<id>…;…'. The number counts the
-- calls of the partition, so that a follower sees when it missed one. What ended is handed to the follow-ups in the same
-- words, and those who deal with children are woken if there are any.
local function announce()
  if #heads == 0 then
    return
  end
  local parts, ends = {}, {}
  for i = 1, #heads do
    local head = heads[i]
    parts[i] = head .. ':' .. concat(groups[head], ',')
    if head >= '6' then
      ends[#ends + 1] = parts[i]
    end
  end
  local partition, number = sub(base, 5, 6), call('INCR', base .. 'n')
  call('PUBLISH', 'fb:events', partition .. ':' .. number .. ';' .. concat(parts, ';'))
  if #ends > 0 then
    call('ZADD', base .. 'after', number, number .. ':' .. concat(ends, ';'))
    if call('EXISTS', base .. 'kids') == 1 then
      for _, head in ipairs(heads) do
        for _, id in ipairs(head >= '6' and groups[head] or {}) do
          if call('HEXISTS', base .. 'kids', id) == 1 then
            call('PUBLISH', 'fb:wakes', partition)
            return
          end
        end
      end
    end
  end
end

-- Calls a command that takes any number of members, in pieces that fit on Lua's stack and hold whole pairs.
local function spread(list, command, key, option)
  for first = 1, #list, 4000 do
    local last = math.min(first + 3999, #list)
    if option then
      call(command, key, option, unpack(list, first, last))
    else
      call(command, key, unpack(list, first, last))
    end
  end
end

-- How many begin and end to run, and to wait on no lane: summed up here and written once for each queue.
local running, resting = {}, {}
local function run(queue, number)
  running[queue] = (running[queue] or 0) + number
end

local function rest(queue, number)
  resting[queue] = (resting[queue] or 0) + number
end

local function add_up(numbers, kind)
  for queue, number in pairs(numbers) do
    if number ~= 0 and call('HINCRBY', base .. 'q', queue .. kind, number) == 0 then
      call('HDEL', base .. 'q', queue .. kind)
    end
  end
end

local function write_counts()
  add_up(running, '.running')
  add_up(resting, '.waiting')
end
