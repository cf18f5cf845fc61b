-- Forgets a schedule. KEYS[1]: prefix of its partition. ARGV: tenant's index name, name. Returns 1, or 0 without one.
local base, call = KEYS[1], redis.call
local member = ARGV[1] .. ':' .. ARGV[2]
call('ZREM', base .. 'schedules', member)
call('ZREM', base .. 'si:' .. ARGV[1], ARGV[2])
return call('DEL', base .. 'sc:' .. member)
