-- Makes attempts that were never executed QUEUED again, uncharged. ARGV: id and attempt of each.
-- Returns the ticket ('' for none) and id, publication, envelope of each that was still held, flat.
local now = clock()
local stamp = string.format('%.0f', now)
local back, ticket, freed = {}, {}, {}

for i = 1, #ARGV, 2 do
  local id, attempt = ARGV[i], ARGV[i + 1]
  local key = key_of .. id
  local record = call('HMGET', key, 'v', 'e')
  local held = '4,' .. attempt .. ','
  if record[1] and sub(record[1], 1, #held) == held then
    local publication, returned, rest, queue =
      match(record[1], '^%d,%d+,(%d+),(%d+)(,%d+,%d+,%d+,([^;]+).*)$')
    publication = publication + 1
    local v = '3,' .. attempt .. ',' .. publication .. ',' .. (returned + 1) .. rest
    call('HSET', key, 'v', push(v, '3' .. stamp .. 'RETURNED'))
    freed[#freed + 1] = id
    count(queue, 1, -1)
    note('3' .. attempt, id)
    ticket[#ticket + 1] = publication .. ':' .. id
    back[#back + 1] = id
    back[#back + 1] = publication
    back[#back + 1] = record[2]
  end
end

local member = concat(ticket, ';')
if member ~= '' then
  spread(freed, 'ZREM', base .. 'leases')
  call('ZADD', base .. 'unpublished', stamp, member)
end
write_counts()
announce()
return { member, back }
