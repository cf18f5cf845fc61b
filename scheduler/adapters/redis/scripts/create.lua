-- Records new tasks as QUEUED. ARGV: retention ms, key retention ms, number of runs, then for each run of
-- tasks of one tenant: tenant, its index name, number of tasks, 1 if they carry keys, then for each task:
-- id, 'max_attempts,deadline_ms,queue', envelope and, in runs with keys, '' or '<64 hex digits of the key><fingerprint>'.
-- Returns stamp, ticket ('' for none), and, where an answer is not simply "created now", {position, verdict, id, v}.
local retention, key_ms, runs = ARGV[1], ARGV[2], ARGV[3]
local now = clock()
local stamp = string.format('%.0f', now)
local at, position = 4, 0
local tail = ';3' .. stamp
local fresh, again, odd = {}, {}, {}

local function index_name(name)
  return base .. 'ix:' .. name
end

-- Drops listing entries of expired records, a few more than come in, so that an index cannot grow for ever.
local function prune(index, limit)
  local alphabet, ms, prefix = '0123456789abcdefghjkmnpqrstvwxyz', now - retention, ''
  for _ = 1, 10 do
    local digit = ms % 32
    prefix = sub(alphabet, digit + 1, digit + 1) .. prefix
    ms = (ms - digit) / 32
  end
  local gone = {}
  for _, id in ipairs(call('ZRANGEBYLEX', index, '-', '(' .. match(base, '{(.-)}') .. '-' .. prefix, 'LIMIT', 0, limit)) do
    if call('EXISTS', key_of .. id) == 0 then
      gone[#gone + 1] = id
    end
  end
  if #gone > 0 then
    spread(gone, 'ZREM', index)
  end
end

for _ = 1, runs do
  local tenant, index, size, keyed = ARGV[at], index_name(ARGV[at + 1]), tonumber(ARGV[at + 2]), ARGV[at + 3] == '1'
  local stride = keyed and 4 or 3
  local members = {}
  at = at + 4
  for i = at, at + size * stride - 1, stride do
    local id, meta = ARGV[i], ARGV[i + 1]
    local key = key_of .. id
    local owner, print
    position = position + 1
    if call('EXISTS', key) == 1 then
      local v = call('HGET', key, 'v')
      local publication = match(v, '^3,%d+,(%d+),')
      if publication then
        again[#again + 1] = publication .. ':' .. id
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
        call('HSET', key, 'v', '3,0,1,0,0,' .. meta .. tail, 't', tenant, 'e', ARGV[i + 2])
        fresh[#fresh + 1] = id
        members[#members + 1] = 0
        members[#members + 1] = id
        count(match(meta, ',([^,]*)$'), 1, 0)
      end
    end
  end
  at = at + size * stride
  if #members > 0 then
    prune(index, #members / 2 + 8)
    spread(members, 'ZADD', index)
  end
end

local ticket = concat(again, ';')
if #fresh > 0 then
  local joined = concat(fresh, ',')
  ticket = '1:' .. joined .. (ticket ~= '' and ';' .. ticket or '')
  publish('30:' .. joined)
  write_counts()
end
if ticket ~= '' then
  call('ZADD', base .. 'unpublished', 'NX', stamp, ticket)
end
return { now, ticket, odd }
