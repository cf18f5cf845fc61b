-- Keeps messages that nobody could read as FAILED records. ARGV: retention of dead letters in ms, tenant, its index name,
-- history reason, then for each: id, payload, topic, error. Returns 1 for each, 0 for those that are kept already.
local dead_ms, tenant, index, reason = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local flags = {}

call('HSETNX', base .. 'tenants', tenant, index)
for i = 5, #ARGV, 4 do
  local id, payload, topic, fault = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local key = key_of .. id
  local new = call('EXISTS', key) == 0
  if new then
    local v = '7,0,0,0,0,1,0,.0;7' .. stamp .. reason
    call('HSET', key, 'v', v, 't', tenant, 'e', '', 'x', fault, 'raw', payload, 'topic', topic)
    call('PEXPIRE', key, dead_ms)
    bury(id, key)
  end
  flags[#flags + 1] = new and 1 or 0
end
return flags
