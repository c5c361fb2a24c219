-- The API answered 429: blocks the account, and the address if two accounts got one within the window.
--
-- Keys (all on one hash tag):
--   KEYS[1] backmarket:limiter:{all}:blocked:<account>           exists while the account is blocked
--   KEYS[2] backmarket:limiter:{all}:egress-blocked:<egress>     exists while the address is blocked
--   KEYS[3] backmarket:limiter:{all}:egress-refusals:<egress>    sorted set: account -> ms of its last 429
-- Arguments: ARGV[1] account   ARGV[2] window in ms   ARGV[3] the account's block in ms

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local window = tonumber(ARGV[2])

local function block(key, millis)
  if redis.call('PTTL', key) < millis then
    redis.call('SET', key, '429', 'PX', millis)
  end
end

block(KEYS[1], tonumber(ARGV[3]))
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - window)
redis.call('ZADD', KEYS[3], now, ARGV[1])
redis.call('PEXPIRE', KEYS[3], window)
if redis.call('ZCARD', KEYS[3]) > 1 then
  block(KEYS[2], window)
end
