-- Replaces a schedule. KEYS[1]: prefix of its partition. ARGV: tenant's index name, name, creation and due time that it
-- must have, due ms from now on, fields and values. Returns 1, or 0 when it is another one.
local base, call = KEYS[1], redis.call
local member = ARGV[1] .. ':' .. ARGV[2]
local key = base .. 'sc:' .. member
local standing = call('HMGET', key, 'created', 'due')
if standing[1] ~= ARGV[3] or standing[2] ~= ARGV[4] then
  return 0
end
call('HSET', key, unpack(ARGV, 6))
if ARGV[5] ~= '0' then
  call('ZADD', base .. 'schedules', ARGV[5], member)
else
  call('ZREM', base .. 'schedules', member)
end
return 1
