-- Ends leases that ran out. ARGV: retention ms, limit, error for those without an attempt left.
-- Returns the ticket ('' for none), id, publication, envelope of each to publish, flat, and the ids that failed.
local retention = ARGV[1]
local now = clock()
local stamp = string.format('%.0f', now)
local late = call('ZRANGEBYSCORE', base .. 'leases', '-inf', stamp, 'LIMIT', 0, ARGV[2])
local back, failed, ticket = {}, {}, {}

for i = 1, #late do
  local id = late[i]
  local key = key_of .. id
  local record = call('HMGET', key, 'v', 'e')
  local attempt, publication, rest, returned, sequence, most, queue =
    match(record[1] or '', '^4,(%d+),(%d+)(,(%d+),(%d+),(%d+),%d+,([^;]+).*)$')
  if attempt and attempt - returned < tonumber(most) then
    publication = publication + 1
    call('HSET', key, 'v', push('3,' .. attempt .. ',' .. publication .. rest, '3' .. stamp .. 'LEASE_EXPIRED'))
    count(queue, 1, -1)
    note('3' .. attempt, id)
    ticket[#ticket + 1] = publication .. ':' .. id
    back[#back + 1] = id
    back[#back + 1] = publication
    back[#back + 1] = record[2]
  elseif attempt then
    call('HSET', key, 'v', push('7' .. sub(record[1], 2), '7' .. stamp .. 'RUNNER_LOST'), 'x', ARGV[3])
    call('PEXPIRE', key, retention)
    if sequence ~= '0' then
      call('PEXPIRE', base .. 's:' .. id, retention)
    end
    count(queue, 0, -1)
    note('7' .. attempt, id)
    failed[#failed + 1] = id
  end
end

if #late > 0 then
  spread(late, 'ZREM', base .. 'leases')
end
local member = concat(ticket, ';')
if member ~= '' then
  call('ZADD', base .. 'unpublished', stamp, member)
end
write_counts()
announce()
return { member, back, failed }
