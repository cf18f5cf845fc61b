-- Shows a member's card. KEYS[1]: the role's hash. ARGV: member, card, ttl ms. A value is 14 digits of expiry, then the card.
local t = redis.call('TIME')
local until_ms = t[1] * 1000 + (t[2] - t[2] % 1000) / 1000 + ARGV[3]
redis.call('HSET', KEYS[1], ARGV[1], string.format('%014.0f', until_ms) .. ARGV[2])
return 1
