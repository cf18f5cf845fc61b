-- Takes back a pause. KEYS[1]: the pauses. ARGV: selector. Returns what stood, or nil.
local standing = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
return standing
