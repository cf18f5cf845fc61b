-- Makes attempts that were never executed QUEUED again, uncharged. ARGV: id and attempt of each.
-- Returns the ticket ('' for none) and what must be published of those that were still held.
local freed = {}

for i = 1, #ARGV, 2 do
  local id, attempt = ARGV[i], ARGV[i + 1]
  local key = key_of .. id
  local record = call('HMGET', key, 'v', 'e', 'g')
  local held = '4,' .. attempt .. ','
  if record[1] and sub(record[1], 1, #held) == held then
    local publication, returned, rest, queue =
      match(record[1], '^%d,%d+,(%d+),(%d+)(,%d+,%d+,%d+,([^;]+).*)$')
    requeue(id, key, attempt, publication, ',' .. (returned + 1) .. rest, 'RETURNED', record[2], record[3])
    run(queue, -1)
    freed[#freed + 1] = id
  end
end

local member = keep_ticket(stamp)
if #freed > 0 then
  spread(freed, 'ZREM', base .. 'leases')
end
write_lines()
announce()
return { member, back }
