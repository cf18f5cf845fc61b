-- Puts QUEUED tasks on a shelf. ARGV: shelf, then id and publication of each. Returns 1 where the message is not needed
-- any more, 0 for what runs. A member is '<publication>:<id>', so that a task that moved on is not taken for shelved.
local shelf = base .. 'shelf:' .. ARGV[1]
local flags, added = {}, {}

for i = 2, #ARGV, 2 do
  local id, wanted = ARGV[i], ARGV[i + 1]
  local state, publication = match(call('HGET', key_of .. id, 'v') or '', '^(%d),%d+,(%d+),')
  local held = publication == wanted and state == '4'
  if publication == wanted and state == '3' then
    added[#added + 1] = stamp
    added[#added + 1] = wanted .. ':' .. id
  end
  flags[#flags + 1] = held and 0 or 1
end

if #added > 0 then
  -- What ended on the shelf goes from its front while tasks come in at its back, so that it cannot grow for ever.
  for _, member in ipairs(call('ZRANGE', shelf, 0, #added / 2)) do
    local publication, id = match(member, '^(%d+):(.*)$')
    if match(call('HGET', key_of .. id, 'v') or '', '^3,%d+,(%d+),') ~= publication then
      call('ZREM', shelf, member)
    end
  end
  spread(added, 'ZADD', shelf, 'NX')
  call('SADD', base .. 'shelves', ARGV[1])
end
return flags
