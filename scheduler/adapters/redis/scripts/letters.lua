-- Stands before the scripts that use up attempts, after the prelude.

-- Enters a task in its tenant's dead letters. Two of the oldest go if their records are gone, so that a list that nobody
-- reads cannot grow for ever.
local function bury(id, key)
  local index = call('HGET', base .. 'tenants', call('HGET', key, 't'))
  if index then
    local letters = base .. 'dead:' .. match(index, '^%x+')
    for _, oldest in ipairs(call('ZRANGE', letters, 0, 1)) do
      if call('EXISTS', key_of .. oldest) == 0 then
        call('ZREM', letters, oldest)
      end
    end
    call('ZADD', letters, 0, id)
  end
end
