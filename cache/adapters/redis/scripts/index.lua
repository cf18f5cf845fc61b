-- The index of one namespace. KEYS[1]: prefix of its keys.
--
-- One hash holds everything that is counted, so that it is there or gone as a whole whatever the server evicts:
--   b         bytes of all entries
--   <digest>  size, came, used, uses, until (five doubles), then the entry's facts; no facts where they are not known
-- An entry that the server evicted stays in the index until it is asked for, chosen to go, or swept; then its bytes go.
local base, index = KEYS[1], KEYS[1] .. 'i'
local call, try = redis.call, redis.pcall
local NUMBERS = '<ddddd'
local LENGTH = 40
-- What keys and index take of the server's memory for one entry beside its parts.
local OVERHEAD = 300

local function held()
  return tonumber(call('HGET', index, 'b') or 0)
end

-- Takes entries out of the index. The count goes first: a server that refuses it at maxmemory keeps both.
local function forget(total, sizes)
  local fields, freed = {}, 0
  for digest, size in pairs(sizes) do
    fields[#fields + 1] = digest
    freed = freed + size
  end
  if #fields == 0 then return total end
  total = math.max(0, total - freed)
  local done = try('HSET', index, 'b', string.format('%.0f', total))
  if type(done) == 'table' and done.err then return total + freed end
  for i = 1, #fields, 1000 do
    call('HDEL', index, unpack(fields, i, math.min(i + 999, #fields)))
  end
  return total
end
