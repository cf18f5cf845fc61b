-- Makes tasks CANCELLED. ARGV: retention ms, chunks kept, tenant, error, last output ('' for none), ids.
-- Returns for each: 1 cancelled, 2 terminal before, 3 not found. Ids that were running are told of on their own channel.
local retention, chunks, tenant, fault, closing = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local stamp = string.format('%.0f', clock())
local verdicts, freed = {}, {}

for i = 6, #ARGV do
  local id = ARGV[i]
  local key = key_of .. id
  local record = call('HMGET', key, 'v', 't')
  local v, verdict = record[1], 3
  if v and record[2] == tenant then
    local state, attempt, middle, sequence, rest, queue =
      match(v, '^(%d),(%d+)(,%d+,%d+,)(%d+)(,%d+,%d+,([^;]+).*)$')
    verdict = 2
    if state < '6' then
      if closing ~= '' then
        local stream = base .. 's:' .. id
        sequence = sequence + 1
        call('XADD', stream, 'MAXLEN', '~', chunks, '0-' .. sequence, 'd', closing)
        call('PEXPIRE', stream, retention)
      end
      call('HSET', key, 'v', push('8,' .. attempt .. middle .. sequence .. rest, '8' .. stamp), 'x', fault)
      call('PEXPIRE', key, retention)
      if state == '4' then
        freed[#freed + 1] = id
        count(queue, 0, -1)
      else
        count(queue, -1, 0)
      end
      verdict = 1
      note('8' .. attempt, id)
    end
  end
  verdicts[#verdicts + 1] = verdict
end

if #freed > 0 then
  spread(freed, 'ZREM', base .. 'leases')
  call('PUBLISH', 'fb:cancelled', concat(freed, ','))
end
write_counts()
announce()
return verdicts
