-- Keeps a new schedule. KEYS[1]: prefix of its partition. ARGV: tenant's index name, name, due ms, fields and values.
-- Returns the fields of the one that has the name already, or nothing.
local base, call = KEYS[1], redis.call
local member = ARGV[1] .. ':' .. ARGV[2]
local key = base .. 'sc:' .. member
local standing = call('HGETALL', key)
if #standing == 0 then
  call('HSET', key, unpack(ARGV, 4))
  call('ZADD', base .. 'si:' .. ARGV[1], 0, ARGV[2])
  if ARGV[3] ~= '0' then
    call('ZADD', base .. 'schedules', ARGV[3], member)
  end
end
return standing
