-- Takes members off a shelf, QUEUED under a new publication. ARGV: shelf, members.
-- Returns the ticket ('' for none) and what must be published.
local shelf = base .. 'shelf:' .. ARGV[1]

for i = 2, #ARGV do
  local wanted, id = match(ARGV[i], '^(%d+):(.*)$')
  local key = key_of .. id
  if call('ZREM', shelf, ARGV[i]) == 1 then
    local record = call('HMGET', key, 'v', 'e', 'g')
    local attempt, publication, after, deadline, queue =
      match(record[1] or '', '^3,(%d+),(%d+)(,%d+,%d+,%d+,(%d+),([^;]+).*)$')
    if publication == wanted then
      leave(queue, id, deadline)
      requeue(id, key, attempt, publication, after, 'UNSHELVED', record[2], record[3])
    end
  end
end

if call('EXISTS', shelf) == 0 then
  call('SREM', base .. 'shelves', ARGV[1])
end
local member = keep_ticket(stamp)
write_lines()
announce()
return { member, back }
