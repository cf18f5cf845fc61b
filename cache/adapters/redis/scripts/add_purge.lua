-- Keeps a purge marker. KEYS[1]: the markers.
-- ARGV: selector, before ms, keep until ms, channel, the selector of the marker for all of its namespace, how many
-- markers a namespace may have, how many there may be in all, how many a namespace may have when there are that many.
-- A marker is '<before ms>;<keep until ms>'. Of two with one selector the later stays. A namespace's markers begin with
-- what the one for all of it ends with; their number is the field '#' and that. More than may be become one for all of
-- the namespace: more is dead than must be, and nothing is less. Returns 1 if this one is new.
local key, selector, wide = KEYS[1], ARGV[1], ARGV[5]
local before, keep = tonumber(ARGV[2]), tonumber(ARGV[3])
local tag = string.sub(wide, 2)

local function read(marker)
  local at, to = string.match(marker, '^(%d+);(%d+)$')
  return tonumber(at), tonumber(to)
end

-- Whether a field is a marker of this namespace: the lowest bit of its first byte says that it has one.
local function ours(field)
  local flags = string.byte(field)
  if not flags or flags > 15 or flags % 2 ~= #tag / 16 then
    return false
  end
  return string.sub(field, 2, 1 + #tag) == tag
end

for _, each in ipairs({selector, wide}) do
  local standing = redis.call('HGET', key, each)
  if standing and read(standing) >= before then
    return 0
  end
end
local count = tonumber(redis.call('HGET', key, '#' .. tag) or '0')
count = count + 1 - redis.call('HEXISTS', key, selector)
local most = tonumber(ARGV[6])
if redis.call('HLEN', key) >= tonumber(ARGV[7]) then
  most = tonumber(ARGV[8])
end
local others = count - 1
if count > most or selector == wide and others > 0 then
  selector = wide
  count = 1
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    if ours(fields[i]) then
      local at, to = read(fields[i + 1])
      if ARGV[1] ~= wide then
        before, keep = math.max(before, at), math.max(keep, to)
      end
      if ARGV[1] ~= wide or at <= before then
        redis.call('HDEL', key, fields[i])
      else
        count = count + 1
      end
    end
  end
end
redis.call('HSET', key, selector, string.format('%d;%d', before, keep), '#' .. tag, count)
-- The time of the last change, and not a count: after a loss of data a count could be what it was before.
local t = redis.call('TIME')
redis.call('HSET', key, '', t[1] .. '.' .. t[2])
redis.call('PUBLISH', ARGV[4], key)
return 1
