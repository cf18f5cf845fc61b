-- Looks at a part of the index, and takes out what is gone or expired. ARGV: now ms, cursor, how many to look at.
-- Returns the next cursor, bytes and entries of the namespace, how many were looked at and taken out, then of each
-- that is left: digest and facts.
local now = tonumber(ARGV[1])
local part = call('HSCAN', index, ARGV[2], 'COUNT', ARGV[3])
local fields = part[2]
local over, gone, looked = {}, 0, 0
local reply = { part[1], 0, 0, 0, 0 }
for i = 1, #fields, 2 do
  local digest = fields[i]
  if digest ~= 'b' then
    local size, came, used, uses, ends = struct.unpack(NUMBERS, fields[i + 1])
    looked = looked + 1
    if ends <= now or call('EXISTS', base .. 'e:' .. digest) == 0 then
      call('UNLINK', base .. 'e:' .. digest)
      over[digest] = size
      gone = gone + 1
    else
      reply[#reply + 1] = digest
      reply[#reply + 1] = string.sub(fields[i + 1], LENGTH + 1)
    end
  end
end
local total = forget(held(), over)
local entries = call('HLEN', index)
if entries == 1 then
  -- Only the count of nothing is left.
  call('DEL', index)
  total = 0
end
reply[2], reply[3], reply[4], reply[5] = string.format('%.0f', total), math.max(0, entries - 1), looked, gone
return reply
