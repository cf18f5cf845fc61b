-- Makes tasks CANCELLED. ARGV: retention, chunks kept, tenant, error, last output ('' for none), ids.
-- Returns for each: 1 cancelled, 2 terminal before, 3 not found. Ids that were running are told of on their own channel.
local chunks, tenant, fault, closing = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local verdicts, stopped = {}, {}

for i = 6, #ARGV do
  local id = ARGV[i]
  local key = key_of .. id
  local record = call('HMGET', key, 'v', 't')
  local v, verdict = record[1], 3
  if v and record[2] == tenant then
    local state = sub(v, 1, 1)
    verdict = 2
    if state < '6' then
      if closing ~= '' then
        local before, sequence, after = match(v, '^(%d,%d+,%d+,%d+,)(%d+)(,.*)$')
        sequence = sequence + 1
        v = before .. sequence .. after
        call('XADD', base .. 's:' .. id, 'MAXLEN', '~', chunks, '0-' .. sequence, 'd', closing)
      end
      conclude(id, key, v, '8', '', fault, kept_ms(key))
      if state == '4' then
        stopped[#stopped + 1] = id
      end
      verdict = 1
    end
  end
  verdicts[#verdicts + 1] = verdict
end

if #stopped > 0 then
  call('PUBLISH', 'fb:cancelled', concat(stopped, ','))
end
write_lines()
announce()
return verdicts
