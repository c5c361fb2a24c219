-- The API answered 429: blocks the account. Within one window, 429s of four fifths of the accounts that were answered,
-- of at least five, are the address's: that is blocked, too.
--
-- Keys (all on one hash tag):
--   KEYS[1] backmarket:limiter:{all}:blocked:<account>           exists while the account is blocked
--   KEYS[2] backmarket:limiter:{all}:egress-blocked:<egress>     exists while the address is blocked
--   KEYS[3] backmarket:limiter:{all}:egress-refusals:<egress>    sorted set: account -> us of its last 429
--   KEYS[4] backmarket:limiter:{all}:egress-answers:<egress>     sorted set: account -> us of its last answer
-- Arguments: ARGV[1] account   ARGV[2] window in ms   ARGV[3] the account's block in ms

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local window = tonumber(ARGV[2])

local function block(key, millis)
  if redis.call('PTTL', key) < millis then
    redis.call('SET', key, '429', 'PX', millis)
  end
end

-- Number of accounts in the window, this one included.
local function accounts(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now - window * 1000))
  redis.call('ZADD', key, now, ARGV[1])
  redis.call('PEXPIRE', key, window)
  return redis.call('ZCARD', key)
end

block(KEYS[1], tonumber(ARGV[3]))
local refused, answered = accounts(KEYS[3]), accounts(KEYS[4])
if answered >= 5 and refused >= 0.8 * answered then
  block(KEYS[2], window)
end
