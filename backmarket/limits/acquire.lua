-- Grants as many of the wanted slots as fit, and returns when a retry for the others makes sense.
--
-- Keys (all on one hash tag, so that a cluster keeps them on one node):
--   KEYS[1] backmarket:limiter:{all}:sentinel                  hash: `since` (us), `run` (server's run_id), `by` (token
--                                                              of the call that wrote it); never expires
--   KEYS[2] backmarket:limiter:{all}:blocked:<account>         exists while a 429 blocks the account
--   KEYS[3] backmarket:limiter:{all}:egress-blocked:<egress>   exists while 429s block the address
--   KEYS[4] backmarket:limiter:{all}:slots:<account>           sorted set: slot -> us at which it comes free
--   KEYS[5] backmarket:limiter:{all}:sensitive:<account>       the same, sensitive endpoints only
--   KEYS[6] backmarket:limiter:{all}:egress-slots:<egress>     the same, all accounts of one address
--   KEYS[7] backmarket:limiter:{all}:urgent:<account>          sorted set: a slot that is reserved in KEYS[4] for an
--                                                              urgent waiter -> us at which that ends
--   KEYS[8] backmarket:limiter:{all}:urgent-sensitive:<account>   the same for KEYS[5]
--   KEYS[9] backmarket:limiter:{all}:urgent-egress:<egress>       the same for KEYS[6]
-- Arguments (times in us):
--   ARGV[1] token that the new slots' ids begin with   ARGV[2] slots wanted
--   ARGV[3] window   ARGV[4] hold: how long a slot without an answer is held
--   ARGV[5] recovery: how long nothing is granted after Redis lost its memory
--   ARGV[6..8] limits of KEYS[4..6]; 0: that window does not apply
--   ARGV[9] the urgent waiter's token; empty: not urgent
--   ARGV[10] how long a reservation outlives the time at which its waiter should retry
-- Returns {slots granted, us until one more may come free, 0: not blocked, 1: by a 429, 2: by a lost memory}.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local token, want = ARGV[1], tonumber(ARGV[2])
local window, hold, recovery = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local urgent, grace = ARGV[9], tonumber(ARGV[10])

local function recovering_for()
  local run = run_id()
  local sentinel = redis.call('HMGET', KEYS[1], 'since', 'run')
  local since = tonumber(sentinel[1] or nil)
  if not since or sentinel[2] ~= run or since > now then
    since = now
    redis.call('HSET', KEYS[1], 'since', string.format('%.0f', since), 'run', run, 'by', token)
  end
  return since + recovery - now
end

local function blocked_for()
  return math.max(redis.call('PTTL', KEYS[2]), redis.call('PTTL', KEYS[3])) * 1000
end

local function drop_free(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('(%.0f', now))
  return redis.call('ZCARD', key)
end

-- The key lives as long as its last member.
local function expire(key)
  local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]
  if last then redis.call('PEXPIREAT', key, math.ceil(last / 1000) + 1) end
end

local function add(key, slots)
  for i = 1, slots do
    redis.call('ZADD', key, now + hold, token .. ':' .. i)
  end
  expire(key)
end

-- Slots reserved for others, which the caller must leave; an urgent caller need not.
local function reserved(quota)
  if urgent ~= '' then return 0 end
  return redis.call('ZCOUNT', quota.urgent, string.format('%.0f', now), '+inf')
end

-- Reserves for the urgent waiter the slots that it still lacks. Never longer than a window, so that a waiter killed
-- during a long block does not hold them for long.
local function reserve(quota, slots, wait)
  drop_free(quota.urgent)
  for i = 1, want do
    local member = urgent .. ':' .. i
    if i > slots then
      redis.call('ZREM', quota.urgent, member)
    else
      redis.call('ZADD', quota.urgent, now + math.min(wait, window) + grace, member)
    end
  end
  expire(quota.urgent)
end

-- A slot in flight may be answered this instant, so it may come free one window from now. A reservation may end unused.
local function next_free(quota)
  local over = redis.call('ZCARD', quota.slots) + reserved(quota) - quota.limit
  if over < 0 then return 0 end
  local ends = redis.call('ZRANGE', quota.slots, 0, over, 'WITHSCORES')
  if urgent == '' then
    local from = string.format('%.0f', now)
    for _, value in ipairs(redis.call('ZRANGEBYSCORE', quota.urgent, from, '+inf', 'WITHSCORES', 'LIMIT', 0, over + 1)) do
      ends[#ends + 1] = value
    end
  end
  local moments = {}
  for i = 2, #ends, 2 do moments[i / 2] = tonumber(ends[i]) end
  table.sort(moments)
  return math.min(moments[over + 1] - now, window) + 1
end

local quotas = {}
for i = 4, 6 do
  local limit = tonumber(ARGV[i + 2])
  if limit > 0 then quotas[#quotas + 1] = {slots = KEYS[i], urgent = KEYS[i + 3], limit = limit} end
end

local fits, wait, recovering, blocked = want, 0, recovering_for(), blocked_for()
if recovering > 0 or blocked > 0 then
  fits, wait = 0, math.max(recovering, blocked)
else
  for _, quota in ipairs(quotas) do
    fits = math.min(fits, math.max(quota.limit - drop_free(quota.slots) - reserved(quota), 0))
  end
  for _, quota in ipairs(quotas) do
    if fits > 0 then add(quota.slots, fits) end
    if fits < want then wait = math.max(wait, next_free(quota)) end
  end
end
if urgent ~= '' then
  for _, quota in ipairs(quotas) do reserve(quota, want - fits, wait) end
end
return {fits, wait, recovering > 0 and 2 or blocked > 0 and 1 or 0}
