-- Records new tasks. ARGV: key retention ms, number of runs, chunks kept, number of words about answers that are known
-- (for each: result, reason, number of chunks, chunks), these words, then for each run of tasks of one tenant: tenant, its index
-- name, its retention ms, number of tasks, 1 if they carry keys, 1 if any is not simply QUEUED, then for each task:
-- id, 'max_attempts,deadline_ms,queue', envelope, in runs with keys '' or '<64 hex digits of the key><fingerprint>', and
-- in the last kind of runs '' or '<state digit>,<publication>,<not before ms>;<parent>,<parent>…', with state 6 the place
-- of its answer among those words for a publication.
-- Returns stamp, ticket ('' for none), and, where an answer is not simply "created now", {position, verdict, id, v}.
local key_ms, runs = ARGV[1], ARGV[2]
local at, position = 5 + ARGV[4], 0
local tail = ';3' .. stamp
local fresh, others, odd, dated, made = {}, {}, {}, {}, 0

-- Drops listing entries of expired records, a few more than come in, so that an index cannot grow for ever. Where some
-- are met that are kept for longer, the next call goes on behind them.
local function prune(tenant, name, index, retention, limit)
  local known = call('HGET', base .. 'tenants', tenant)
  local cursor = known and match(known, ' (.*)$')
  local alphabet, ms, prefix = '0123456789abcdefghjkmnpqrstvwxyz', now - retention, ''
  for _ = 1, 10 do
    local digit = ms % 32
    prefix = sub(alphabet, digit + 1, digit + 1) .. prefix
    ms = (ms - digit) / 32
  end
  local old = call(
    'ZRANGEBYLEX', index, cursor and '(' .. cursor or '-', '(' .. sub(base, 5, 6) .. '-' .. prefix, 'LIMIT', 0, limit
  )
  local gone = {}
  for _, id in ipairs(old) do
    if call('EXISTS', key_of .. id) == 0 then
      gone[#gone + 1] = id
    end
  end
  if #gone > 0 then
    spread(gone, 'ZREM', index)
  end
  local entry = name
  if #old == limit and #gone < limit then
    entry = name .. ' ' .. old[limit]
  end
  if entry ~= known then
    call('HSET', base .. 'tenants', tenant, entry)
  end
end

-- Records a task that has ended: its answer is known.
local function conclude_at_once(id, tenant, meta, envelope, place, retention)
  local key, first, count = key_of .. id, 4 + place, tonumber(ARGV[6 + place])
  local v = '6,0,0,0,' .. count .. ',' .. meta .. ';6' .. stamp .. ARGV[first + 1]
  call('HSET', key, 'v', v, 't', tenant, 'e', envelope, 'o', ARGV[first])
  call('PEXPIRE', key, retention)
  if count > 0 then
    local stream = base .. 's:' .. id
    for number = 1, count do
      call('XADD', stream, 'MAXLEN', '~', ARGV[3], '0-' .. number, 'd', ARGV[first + 2 + number])
    end
    call('PEXPIRE', stream, retention)
  end
  note('60', id)
end

-- Records a task that is not simply QUEUED.
local function record(id, tenant, meta, envelope, birth, retention)
  local state, publication, not_before, parents = match(birth, '^(%d),(%d+),(%d+);(.*)$')
  if state == '6' then
    conclude_at_once(id, tenant, meta, envelope, tonumber(publication), retention)
    return
  end
  local deadline, queue = match(meta, '^%d+,(%d+),(.*)$')
  local v = state .. ',0,' .. publication .. ',0,0,' .. meta .. ';' .. state .. stamp
  call('HSET', key_of .. id, 'v', v, 't', tenant, 'e', envelope)
  if deadline ~= '0' then
    dated[#dated + 1] = deadline
    dated[#dated + 1] = id
  end
  if state == '3' then
    enter(queue, id, deadline)
    others[#others + 1] = publication .. ':' .. id
  else
    rest(queue, 1)
    others[#others + 1] = '0:' .. id
    if state == '1' then
      call('ZADD', base .. 'timers', not_before, id)
    else
      local waits = {}
      for parent in string.gmatch(parents, '[^,]+') do
        waits[#waits + 1] = parent
      end
      if #waits > 0 then
        spread(waits, 'SADD', base .. 'p:' .. id)
      end
      if not_before ~= '0' then
        call('HSET', key_of .. id, 'b', not_before)
      end
    end
  end
  note(state .. '0', id)
end

for _ = 1, runs do
  local tenant, name, retention, size = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local keyed, special = ARGV[at + 4] == '1', ARGV[at + 5] == '1'
  local stride = 3 + (keyed and 1 or 0) + (special and 1 or 0)
  local members, listing = {}, 0
  local here, deadline, queue, line
  at = at + 6
  for i = at, at + size * stride - 1, stride do
    local id, meta = ARGV[i], ARGV[i + 1]
    local key = key_of .. id
    local owner, print
    position = position + 1
    if call('EXISTS', key) == 1 then
      local v = call('HGET', key, 'v')
      local publication = match(v, '^3,%d+,(%d+),') or match(v, '^[12],') and '0'
      if publication then
        others[#others + 1] = publication .. ':' .. id
      end
      odd[#odd + 1] = { position, 1, id, v }
    else
      if keyed and ARGV[i + 3] ~= '' then
        owner = base .. 'k:' .. sub(ARGV[i + 3], 1, 64)
        print = sub(ARGV[i + 3], 65)
        local known = call('GET', owner)
        if known then
          local other, seen = match(known, '^(%S+) (.*)$')
          local v = call('HGET', key_of .. other, 'v')
          if v then
            odd[#odd + 1] = { position, seen == print and 2 or 3, other, v }
            id = nil
          end
        end
        if id then
          call('SET', owner, id .. ' ' .. print, 'PX', key_ms)
        end
      end
      if id then
        local birth = special and ARGV[i + stride - 1] or ''
        if birth ~= '' then
          record(id, tenant, meta, ARGV[i + 2], birth, retention)
        else
          call('HSET', key, 'v', '3,0,1,0,0,' .. meta .. tail, 't', tenant, 'e', ARGV[i + 2])
          made = made + 1
          fresh[made] = id
          -- Most of a run are of one queue, and need no look at its name.
          if meta ~= here then
            here, deadline, queue = meta, match(meta, '^%d+,(%d+),(.*)$')
            line = listed(entered, queue)
          end
          if deadline ~= '0' then
            dated[#dated + 1] = deadline
            dated[#dated + 1] = id
            urge(queue, id, deadline)
          end
          local last = #line
          line[last + 1] = stamp
          line[last + 2] = id
        end
        listing = listing + 2
        members[listing - 1] = 0
        members[listing] = id
      end
    end
  end
  at = at + size * stride
  if listing > 0 then
    local index = base .. 'ix:' .. name
    prune(tenant, name, index, retention, listing / 2 + 8)
    spread(members, 'ZADD', index)
  end
end

if #dated > 0 then
  spread(dated, 'ZADD', base .. 'deadlines')
end
local ticket = concat(others, ';')
if made > 0 then
  ticket = '1:' .. concat(fresh, ',') .. (ticket ~= '' and ';' .. ticket or '')
  if groups['30'] then
    for _, id in ipairs(fresh) do
      note('30', id)
    end
  else
    heads[#heads + 1] = '30'
    groups['30'] = fresh
  end
end
write_lines()
announce()
if ticket ~= '' then
  call('ZADD', base .. 'unpublished', 'NX', stamp, ticket)
end
return { now, ticket, odd }
