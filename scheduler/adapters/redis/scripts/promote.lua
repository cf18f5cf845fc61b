-- Puts tasks whose deadline comes near under a new publication for the express lane, each once. ARGV: slack ms, limit for
-- each model, then models and what they take in ms; others take nothing.
-- Returns the ticket ('' for none) and what must be published.
local slack, limit = ARGV[1], ARGV[2]
local needs = {}
for i = 3, #ARGV, 2 do
  needs[ARGV[i]] = ARGV[i + 1]
end

for _, model in ipairs(call('SMEMBERS', base .. 'urgent')) do
  local urgent = base .. 'u:' .. model
  local horizon = string.format('(%.0f', now + slack + (needs[model] or 0))
  local due = call('ZRANGEBYSCORE', urgent, '(' .. stamp, horizon, 'LIMIT', 0, limit)
  for _, id in ipairs(due) do
    local key = key_of .. id
    local record = call('HMGET', key, 'v', 'e', 'g')
    local attempt, publication, after = match(record[1] or '', '^3,(%d+),(%d+)(,.*)$')
    if attempt then
      republish(id, key, attempt, publication, after, 'PROMOTED', record[2], record[3], '1')
    end
  end
  if #due > 0 then
    spread(due, 'ZREM', urgent)
  end
  if call('EXISTS', urgent) == 0 then
    call('SREM', base .. 'urgent', model)
  end
end

local member = keep_ticket(stamp)
announce()
return { member, back }
