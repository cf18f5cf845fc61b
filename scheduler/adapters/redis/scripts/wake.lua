-- Makes tasks whose time has come QUEUED. ARGV: limit. Returns the ticket ('' for none) and what must be published.
local due = call('ZRANGEBYSCORE', base .. 'timers', '-inf', stamp, 'LIMIT', 0, ARGV[1])

for _, id in ipairs(due) do
  local key = key_of .. id
  local record = call('HMGET', key, 'v', 'e', 'g')
  local state, attempt, publication, others, queue =
    match(record[1] or '', '^([15]),(%d+),(%d+)(,%d+,%d+,%d+,%d+,([^;]+).*)$')
  if state then
    requeue(id, key, attempt, publication, others, state == '1' and 'DUE' or 'RETRY', record[2], record[3])
    rest(queue, -1)
  end
end

if #due > 0 then
  spread(due, 'ZREM', base .. 'timers')
end
local member = keep_ticket(stamp)
write_lines()
announce()
return { member, back }
