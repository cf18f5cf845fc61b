-- Stands before the scripts that end tasks which no runner ends, after lines.lua and keeping.lua.

-- Ends a task in any state, and takes away all that would bring it back. `fault` is its error, nil for none.
local function conclude(id, key, v, to, reason, fault, ms)
  local state, attempt, sequence, deadline, queue =
    match(v, '^(%d),(%d+),%d+,%d+,(%d+),%d+,(%d+),([^;]+)')
  call('HSET', key, 'v', push(to .. sub(v, 2), to .. stamp .. reason))
  if fault then
    call('HSET', key, 'x', fault)
  else
    call('HDEL', key, 'x')
  end
  call('PEXPIRE', key, ms)
  if sequence ~= '0' then
    call('PEXPIRE', base .. 's:' .. id, ms)
  end
  if deadline ~= '0' then
    call('ZREM', base .. 'deadlines', id)
  end
  if state == '3' then
    leave(queue, id, deadline)
  elseif state == '4' then
    call('ZREM', base .. 'leases', id)
    run(queue, -1)
  elseif state == '2' then
    call('DEL', base .. 'p:' .. id)
    rest(queue, -1)
  else
    call('ZREM', base .. 'timers', id)
    rest(queue, -1)
  end
  note(to .. attempt, id)
end
