-- Pauses. KEYS[1]: the pauses. ARGV: selector, reason. Returns what stands now: '<ms>;<reason>'.
local standing = redis.call('HGET', KEYS[1], ARGV[1])
if not standing then
  local t = redis.call('TIME')
  standing = string.format('%.0f', t[1] * 1000 + (t[2] - t[2] % 1000) / 1000) .. ';' .. ARGV[2]
  redis.call('HSET', KEYS[1], ARGV[1], standing)
end
return standing
