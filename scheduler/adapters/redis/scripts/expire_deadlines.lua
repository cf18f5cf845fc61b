-- Makes tasks whose deadline has passed EXPIRED. ARGV: retention, limit. Returns their ids; those that were running are
-- told of as cancelled ones are.
local late = call('ZRANGEBYSCORE', base .. 'deadlines', '-inf', stamp, 'LIMIT', 0, ARGV[2])
local reasons = {
  ['1'] = 'WHILE_SCHEDULED',
  ['2'] = 'WHILE_BLOCKED',
  ['3'] = 'WHILE_QUEUED',
  ['4'] = 'WHILE_RUNNING',
  ['5'] = 'WHILE_RETRYING',
}
local ended, stopped = {}, {}

for _, id in ipairs(late) do
  local key = key_of .. id
  local v = call('HGET', key, 'v')
  local state = v and sub(v, 1, 1)
  if state and state < '6' then
    conclude(id, key, v, '9', reasons[state], nil, kept_ms(key))
    ended[#ended + 1] = id
    if state == '4' then
      stopped[#stopped + 1] = id
    end
  end
end

if #late > 0 then
  spread(late, 'ZREM', base .. 'deadlines')
end
if #stopped > 0 then
  call('PUBLISH', 'fb:cancelled', concat(stopped, ','))
end
write_lines()
announce()
return ended
