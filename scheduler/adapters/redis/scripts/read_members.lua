-- Reads the members of a role that have not expired, and forgets the others. KEYS[1]: the role's hash.
local t = redis.call('TIME')
local now = t[1] * 1000 + (t[2] - t[2] % 1000) / 1000
local all, present = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  if tonumber(string.sub(all[i + 1], 1, 14)) > now then
    present[#present + 1] = all[i]
    present[#present + 1] = string.sub(all[i + 1], 15)
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return present
