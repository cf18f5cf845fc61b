-- Keeps entries, and makes room for them in their own namespace.
-- ARGV: now ms, policy, bytes the namespace may have, then of each entry: digest, ms to live, facts, stored form. One
-- that has no time to live is not to be kept, and only takes away what is older.
-- An entry that was created later than what comes for its key stays, and nothing is counted: it came in between.
-- Returns bytes and entries of the namespace, how many were taken and refused, and how many went for them: evicted,
-- and found gone or expired.
local now, policy, room = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
-- As many are looked at for each that goes: an order of all would cost every look-up a write into it.
local SAMPLE = 32
local total = held()
local taken, refused, evicted, gone = 0, 0, 0, 0

local function refuses(reply)
  return type(reply) == 'table' and reply.err
end

-- What goes first has the smallest rank: the first number decides, then the second.
local function rank(came, used, uses, ends)
  if policy == 'lru' then return used, came end
  if policy == 'lfu' then return uses, used end
  if policy == 'ttl' then return ends, came end
  if policy == 'random' then return 0, 0 end -- the sample came by chance
  if policy == 'scan-resistant' then return (uses > 0) and 1 or 0, used end
  return came, 0
end

-- Makes one step of room: forgets what is gone or expired in a sample, else evicts the first of it by rank.
-- Returns false when there is nothing to go.
local function step(newcomer)
  local sample = call('HRANDFIELD', index, SAMPLE)
  local values = #sample > 0 and call('HMGET', index, unpack(sample)) or {}
  local over, first, first_size, low, low2 = {}, nil, nil, nil, nil
  for i, digest in ipairs(sample) do
    if digest ~= 'b' and digest ~= newcomer then
      local size, came, used, uses, ends = struct.unpack(NUMBERS, values[i])
      if ends <= now or call('EXISTS', base .. 'e:' .. digest) == 0 then
        over[digest] = size
        call('UNLINK', base .. 'e:' .. digest)
        gone = gone + 1
      else
        local a, b = rank(came, used, uses, ends)
        if not first or a < low or (a == low and b < low2) then
          first, first_size, low, low2 = digest, size, a, b
        end
      end
    end
  end
  if not next(over) then
    if not first then return false end
    call('UNLINK', base .. 'e:' .. first)
    over[first] = first_size
    evicted = evicted + 1
  end
  total = forget(total, over)
  return true
end

-- Whether the entry that is there was created later. Facts and stored forms begin with the same header, which has magic
-- and version in 5 bytes, and when the entry was created behind 12 (cache/entry.py).
local function later(key, facts)
  local standing = call('GETRANGE', key, 0, 19)
  return #standing == 20 and string.sub(standing, 1, 5) == string.sub(facts, 1, 5)
    and struct.unpack('<i8', standing, 13) > struct.unpack('<i8', facts, 13)
end

for i = 4, #ARGV, 4 do
  local digest, life, facts, stored = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3]
  local size = #stored + #facts + OVERHEAD
  local known = call('HGET', index, digest)
  local old, came, used, uses = 0, now, now, 0
  if known then
    old, came, used, uses = struct.unpack(NUMBERS, known)
    came = now
  end
  local key = base .. 'e:' .. digest
  if later(key, facts) then
    -- Nothing is to be done.
  elseif life <= 0 or size > room then
    call('UNLINK', key)
    if known then total = forget(total, { [digest] = old }) end
    refused = refused + 1
  else
    local stuck = false
    while total - old + size > room and not stuck do
      local before = total
      if not step(digest) then
        -- Nothing else is there: what the count says beyond that is of nothing.
        total = old
      else
        stuck = total >= before
      end
    end
    if stuck or refuses(try('SET', key, stored, 'PX', life)) then
      refused = refused + 1
    else
      total = total - old + size
      if refuses(try('HSET', index, digest, struct.pack(NUMBERS, size, came, used, uses, now + life) .. facts,
          'b', string.format('%.0f', total))) then
        total = total - size + old
        call('UNLINK', key)
        refused = refused + 1
      else
        call('PEXPIRE', index, math.max(1, life, call('PTTL', index)))
        taken = taken + 1
      end
    end
  end
end
return { string.format('%.0f', total), math.max(0, call('HLEN', index) - 1), taken, refused, evicted, gone }
