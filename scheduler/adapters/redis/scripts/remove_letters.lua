-- Takes letters off a list. KEYS[1]: prefix of the partition. ARGV: index name, retention ms, ids. Returns 1 for each,
-- 0 for those that are not on it.
local base, call = KEYS[1], redis.call
local flags = {}
for i = 3, #ARGV do
  local gone = call('ZREM', base .. 'dead:' .. ARGV[1], ARGV[i])
  if gone == 1 then
    call('PEXPIRE', base .. 't:' .. ARGV[i], ARGV[2])
    call('PEXPIRE', base .. 's:' .. ARGV[i], ARGV[2])
  end
  flags[#flags + 1] = gone
end
return flags
