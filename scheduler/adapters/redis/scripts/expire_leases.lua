-- Ends leases that ran out. ARGV: retention, retention of dead letters in ms, limit, error for those without an attempt
-- left. Returns the ticket ('' for none), what must be published, and the ids that failed.
local dead_ms, limit, fault = ARGV[2], ARGV[3], ARGV[4]
local late = call('ZRANGEBYSCORE', base .. 'leases', '-inf', stamp, 'LIMIT', 0, limit)
local failed = {}

for i = 1, #late do
  local id = late[i]
  local key = key_of .. id
  local record = call('HMGET', key, 'v', 'e', 'g')
  local attempt, publication, rest, returned, most, queue =
    match(record[1] or '', '^4,(%d+),(%d+)(,(%d+),%d+,(%d+),%d+,([^;]+).*)$')
  if attempt and attempt - returned < tonumber(most) then
    requeue(id, key, attempt, publication, rest, 'LEASE_EXPIRED', record[2], record[3])
    run(queue, -1)
  elseif attempt then
    conclude(id, key, record[1], '7', 'RUNNER_LOST', fault, dead_ms)
    bury(id, key)
    failed[#failed + 1] = id
  end
end

if #late > 0 then
  spread(late, 'ZREM', base .. 'leases')
end
local member = keep_ticket(stamp)
write_lines()
announce()
return { member, back, failed }
