-- Forgets a word on a model unless another one was kept since. KEYS[1]: the hash of all. ARGV: model, number.
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if kept and string.match(kept, '^%d+') == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return 1
