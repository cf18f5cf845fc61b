-- Extends leases. ARGV: lease ms, then id and attempt of each. Returns 1 or 0 for each.
local until_ms = string.format('%.0f', now + ARGV[1])
local kept, leases = {}, {}

for i = 2, #ARGV, 2 do
  local v = call('HGET', key_of .. ARGV[i], 'v')
  local held = '4,' .. ARGV[i + 1] .. ','
  if v and sub(v, 1, #held) == held then
    leases[#leases + 1] = until_ms
    leases[#leases + 1] = ARGV[i]
    kept[#kept + 1] = 1
  else
    kept[#kept + 1] = 0
  end
end

if #leases > 0 then
  spread(leases, 'ZADD', base .. 'leases')
end
return kept
