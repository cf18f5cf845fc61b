-- Stands before the scripts that say how long something stays, after the prelude. ARGV[1]: retention ms, or a JSON object
-- of tenants whose retention is their own, with the ordinary one under ''.
local retention, by_tenant = ARGV[1], nil
if sub(retention, 1, 1) == '{' then
  by_tenant = cjson.decode(retention)
  retention = by_tenant['']
end

local function kept_ms(key)
  return by_tenant and by_tenant[call('HGET', key, 't')] or retention
end
