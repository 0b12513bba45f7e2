#!/usr/bin/env ruby
# redis_rb.rb - redis-rb 4 as an application uses it; run by run.py, which explains the protocol.
#
# SPDX-License-Identifier: GPL-3.0-or-later
require 'redis'
require 'timeout'

$stdout.sync = true
PORT = ENV['CKV_PORT'].to_i
PASSWORD = ENV['CKV_PASSWORD'].empty? ? nil : ENV['CKV_PASSWORD']
CHECK_S_MAX = 30
BINARY = (0..255).to_a.pack('C*')
BIG = 'big value ' * 104_858
WRONGTYPE = 'WRONGTYPE Operation against a key holding the wrong kind of value'
REFUSED = ' (not supported by CKV Master/Slave)'
$count = 0

def tell(line)
  puts line.tr("\n", ' ')
  exit 3 unless $stdin.gets
end

def equal(expected, actual)
  $count += 1
  raise "#{actual.inspect[0, 500]} is not #{expected.inspect[0, 500]}" unless actual == expected
end

# The block must raise an error of that kind whose text begins so.
def raises(kind, text)
  $count += 1
  reply = yield
rescue kind => e
  raise "the error is #{e.message}, not #{text}" unless e.message.start_with?(text)
else
  raise "no error but #{reply.inspect}"
end

def wait_until
  sleep 0.005 until yield
end

def check(name, &body)
  $count = 0
  begin
    Timeout.timeout(CHECK_S_MAX, &body)
    tell "ok #{$count} #{name}"
  rescue StandardError => e
    tell "not ok #{$count} #{name}: #{e.class}: #{e.message} (#{e.backtrace[0, 3].map { |l| File.basename(l) }.join(', ')})"
  end
end

def connect(**options)
  Redis.new(host: '127.0.0.1', port: PORT, password: PASSWORD, reconnect_attempts: 0, **options)
end

def emptied(r)
  [9, 0].each do |database|
    r.select(database)
    names = r.keys('*')
    r.del(*names) unless names.empty?
  end
end

$checks = {}
def checks(name, &body)
  $checks[name] = body
end

checks 'handshake, AUTH and SELECT' do
  r = connect(db: 3)
  equal 'PONG', r.ping
  equal 'OK', r.set('where', 'db3')
  equal nil, connect.get('where')
  equal 1, connect(db: 3).del('where')
  equal '3.2.13', r.info['redis_version']
  raises(Redis::CommandError, "ERR unknown command 'client'#{REFUSED}") { connect(id: 'app').ping }
end

checks 'wrong and missing passwords' do
  if PASSWORD
    raises(Redis::BaseError, 'ERR invalid password') { connect(password: 'crs-clients:wrong').ping }
    raises(Redis::BaseError, 'NOAUTH Authentication required.') { connect(password: nil).ping }
  else
    raises(Redis::BaseError, 'ERR Client sent AUTH, but no password is set') { connect(password: 'crs-x:any').ping }
  end
end

checks 'strings' do |r|
  equal 'OK', r.set('s', 'hello')
  equal 'hello', r.get('s')
  equal nil, r.get('none')
  equal false, r.set('s', 'x', nx: true)
  equal true, r.set('s', 'hello', ex: 100, xx: true)
  equal 11, r.append('s', ' world')
  equal 11, r.strlen('s')
  equal 'hello', r.getrange('s', 0, 4)
  equal 11, r.setrange('s', 6, 'there')
  equal 'hello there', r.getset('s', 'new')
  equal false, r.setnx('s', 'x')
  equal 'OK', r.setex('sx', 100, 'v')
  equal 'OK', r.psetex('px', 100_000, 'v')
  equal 'OK', r.mset('m1', 'a', 'm2', 'b')
  equal ['a', nil, 'b'], r.mget('m1', 'none', 'm2')
  equal false, r.msetnx('m2', 'x', 'm3', 'c')
  equal [1, 42, 41, -9], [r.incr('n'), r.incrby('n', 41), r.decr('n'), r.decrby('n', 50)]
  equal(-8.5, r.incrbyfloat('n', 0.5))
  raises(Redis::CommandError, 'ERR value is not an integer or out of range') { r.incr('s') }
end

checks 'bits' do |r|
  equal [0, 1, 1, 7], [r.setbit('b', 7, 1), r.getbit('b', 7), r.bitcount('b'), r.bitpos('b', 1)]
  r.set('other', 'a')
  equal 1, r.bitop('OR', 'b2', 'b', 'other')
  equal 'a', r.get('b2')
end

checks 'keys' do |r|
  r.set('k', 'v')
  equal 2, r.exists('k', 'k', 'none')
  equal [true, 100, 100_000], [r.expire('k', 100), r.ttl('k'), r.pttl('k')]
  equal [true, -1, -2], [r.persist('k'), r.ttl('k'), r.ttl('none')]
  equal [true, 50], [r.pexpire('k', 50_000), r.ttl('k')]
  equal [true, true], [r.expireat('k', 4_000_000_000), r.pexpireat('k', 4_000_000_000_000)]
  equal ['string', 'OK', true], [r.type('k'), r.rename('k', 'k2'), r.renamenx('k2', 'k3')]
  raises(Redis::CommandError, 'ERR no such key') { r.rename('none', 'x') }
  equal [['k3'], 'k3', 1, true], [r.keys('k*'), r.randomkey, r.dbsize, r.move('k3', 9)]
  r.rpush('tosort', %w[3 1 2])
  equal %w[3 2], r.sort('tosort', order: 'DESC', limit: [0, 2])
  equal 3, r.sort('tosort', store: 'sorted')
  equal 2, r.del('tosort', 'sorted', 'none')
end

checks 'hashes' do |r|
  equal [1, 0], [r.hset('h', 'f', '1'), r.hset('h', 'f', '2')]
  equal [false, '2', nil], [r.hsetnx('h', 'f', '3'), r.hget('h', 'f'), r.hget('h', 'none')]
  equal 'OK', r.hmset('h', 'a', 'x', 'b', 'yy')
  equal ['x', nil, 'yy'], r.hmget('h', 'a', 'none', 'b')
  equal({ 'a' => 'x' }, r.mapped_hmget('h', 'a'))
  equal [3, true, 2], [r.hlen('h'), r.hexists('h', 'a'), r.call('hstrlen', 'h', 'b')]
  equal [42, 42.5], [r.hincrby('h', 'f', 40), r.hincrbyfloat('h', 'f', 0.5)]
  equal [%w[f a b], %w[42.5 x yy]], [r.hkeys('h'), r.hvals('h')]
  equal({ 'f' => '42.5', 'a' => 'x', 'b' => 'yy' }, r.hgetall('h'))
  equal 2, r.hdel('h', 'a', 'b', 'none')
end

checks 'lists' do |r|
  equal [2, 3, 4, 0], [r.rpush('l', %w[b c]), r.lpush('l', 'a'), r.rpushx('l', 'd'), r.lpushx('none', 'd')]
  equal [%w[a b c d], 4, 'd'], [r.lrange('l', 0, -1), r.llen('l'), r.lindex('l', -1)]
  equal [5, 'OK'], [r.linsert('l', :before, 'c', 'x'), r.lset('l', 0, 'A')]
  raises(Redis::CommandError, 'ERR index out of range') { r.lset('l', 9, 'A') }
  equal [1, 'OK'], [r.lrem('l', 0, 'x'), r.ltrim('l', 0, 2)]
  equal ['A', 'c', nil], [r.lpop('l'), r.rpop('l'), r.rpop('none')]
  equal ['b', ['b']], [r.rpoplpush('l', 'l2'), r.lrange('l2', 0, -1)]
end

checks 'sets' do |r|
  equal [3, 3], [r.sadd('a', %w[1 2 3]), r.sadd('b', %w[2 3 4])]
  equal [3, true, %w[1 2 3]], [r.scard('a'), r.sismember('a', '2'), r.smembers('a').sort]
  equal [%w[2 3], %w[1 2 3 4], %w[1]], [r.sinter('a', 'b').sort, r.sunion('a', 'b').sort, r.sdiff('a', 'b')]
  equal [2, 4, 1], [r.sinterstore('d', 'a', 'b'), r.sunionstore('d', 'a', 'b'), r.sdiffstore('d', 'a', 'b')]
  equal [true, 1], [r.smove('a', 'd', '2'), r.srem('a', %w[3 none])]
  equal ['1', %w[1 1], '1', %w[2 3 4]], [r.srandmember('a'), r.srandmember('a', -2), r.spop('a'), r.spop('b', 3).sort]
end

checks 'sorted sets' do |r|
  equal 3, r.zadd('z', [[1, 'a'], [2, 'b'], [3, 'c']])
  equal 1, r.zadd('z', [[2.5, 'b'], [9, 'new']], xx: true, ch: true)
  equal [3, 2.5, nil, 3.0], [r.zcard('z'), r.zscore('z', 'b'), r.zscore('z', 'none'), r.zincrby('z', 2, 'a')]
  equal [%w[b a c], [['b', 2.5]]], [r.zrange('z', 0, -1), r.zrange('z', 0, 0, with_scores: true)]
  equal [%w[c], %w[a]], [r.zrevrange('z', 0, 0), r.zrangebyscore('z', '(2.5', '+inf', limit: [0, 1])]
  equal [%w[c a], 1, 2, 0], [r.zrevrangebyscore('z', '+inf', 3), r.zcount('z', '-inf', '(3'), r.zrank('z', 'c'),
                             r.zrevrank('z', 'c')]
  equal 3, r.zadd('lex', [[0, 'a'], [0, 'b'], [0, 'c']])
  equal [%w[a b], %w[c b a], 3], [r.zrangebylex('lex', '[a', '(c'), r.zrevrangebylex('lex', '+', '-'),
                                  r.zlexcount('lex', '-', '+')]
  equal 1, r.call('zremrangebylex', 'lex', '[a', '[a')
  equal [3, 5.0], [r.zunionstore('u', %w[z lex], weights: [2, 1], aggregate: 'sum'), r.zscore('u', 'b')]
  equal [2, 1, 2, 1], [r.zinterstore('i', %w[z lex]), r.zremrangebyscore('i', '-inf', 2.5), r.zremrangebyrank('u', 0, 1),
                       r.zrem('z', %w[a x])]
end

checks 'geo' do |r|
  equal 2, r.geoadd('g', 13.361389, 38.115556, 'Palermo', 15.087269, 37.502669, 'Catania')
  equal ['166.2742', %w[sqc8b49rny0 sqdtr74hyu0]], [r.geodist('g', 'Palermo', 'Catania', 'km'),
                                                   r.geohash('g', %w[Palermo Catania])]
  position, none = r.geopos('g', %w[Palermo none])
  equal [13.3614, 38.1156, nil], [*position.map { |number| number.to_f.round(4) }, none]
  equal %w[Catania Palermo], r.georadius('g', 15, 37, 200, 'km', sort: 'asc')
  equal %w[Palermo], r.georadiusbymember('g', 'Palermo', 10, 'km')
end

checks 'hyperloglog' do |r|
  equal [true, false, 3, true], [r.pfadd('p', %w[a b c]), r.pfadd('p', 'a'), r.pfcount('p'), r.pfadd('q', 'd')]
  equal [true, 4, 4], [r.pfmerge('r', 'p', 'q'), r.pfcount('r'), r.pfcount('p', 'q')]
end

checks 'server' do |r|
  equal ['PONG', 'hi', 'hi', 0], [r.ping, r.ping('hi'), r.echo('hi'), r.dbsize]
  equal true, (r.time[0] - Time.now.to_i).abs < 100
  equal 'standalone', r.info('server')['redis_mode']
  equal 133, r.call('command').length
end

checks 'refused commands' do |r|
  raises(Redis::CommandError, "ERR unknown command 'flushall'#{REFUSED}") { r.flushall }
  raises(Redis::CommandError, "ERR unknown command 'config'#{REFUSED}") { r.config(:get, 'maxmemory') }
  raises(Redis::CommandError, "ERR unknown command 'eval'#{REFUSED}") { r.eval('return 1') }
  raises(Redis::CommandError, "ERR unknown command 'blpop'#{REFUSED}") { r.blpop('l', timeout: 1) }
  raises(Redis::CommandError, "ERR unknown command 'hello'") { r.call('hello', '3') }
  r.set('s', 'x')
  raises(Redis::CommandError, WRONGTYPE) { r.lpush('s', 'x') }
end

checks 'pipelines' do |r|
  replies = r.pipelined { |pipe| 1000.times { |i| pipe.incrby('counter', i) } }
  equal [1000, 499_500], [replies.length, replies.last]
  raises(Redis::CommandError, WRONGTYPE) { r.pipelined { |pipe| pipe.lpush('counter', 'x'); pipe.incr('counter') } }
  equal '499501', r.get('counter')
end

checks 'transactions' do |r|
  equal ['OK', 2, '2'], r.multi { |t| t.set('t', '1'); t.incr('t'); t.get('t') }
  raises(Redis::CommandError, 'ERR value is not an integer or out of range') { r.multi { |t| t.set('t', 'x'); t.incr('t') } }
  raises(Redis::CommandError, "ERR unknown command 'flushall'") { r.multi { |t| t.set('t', '9'); t.flushall } }
  equal 'x', r.get('t')
  other = connect
  r.watch('t') do
    other.set('t', 'changed')
    equal nil, r.multi { |t| t.set('t', 'mine') }
  end
  equal 'changed', r.get('t')
  r.watch('t')
  other.set('t', 'again')
  equal 'OK', r.unwatch
  equal ['OK'], r.multi { |t| t.set('t', 'mine') }
end

checks 'publish and subscribe' do |r|
  heard = []
  ready = Queue.new
  listener = Thread.new do
    connect.psubscribe('n*', 'm*') do |on|
      on.psubscribe { |_, total| ready << total }
      on.pmessage { |pattern, channel, message| heard << [pattern, channel, message] }
    end
  end
  subscriber = Thread.new do
    connect.subscribe('news', 'more') do |on|
      on.subscribe { |_, total| ready << total }
      on.message { |channel, message| heard << [channel, message]; Thread.exit if message == 'end' }
    end
  end
  4.times { ready.pop }
  equal [2, 1, 0], [r.publish('news', 'hello'), r.publish('nothing', BINARY), r.publish('silence', 'x')]
  wait_until { heard.length == 3 }
  equal [%w[n* news hello], %w[news hello]].sort, heard.reject { |one| one.include?('nothing') }.sort
  equal BINARY, heard.find { |one| one.include?('nothing') }.last.b
  equal [%w[more news], ['news', 1, 'none', 0], 2], [r.pubsub('channels').sort, r.pubsub('numsub', 'news', 'none'),
                                                    r.pubsub('numpat')]
  [listener, subscriber].each { |thread| thread.kill.join }
  once = connect
  once.subscribe('once') do |on|
    on.subscribe { r.publish('once', 'hi') }
    on.message { once.unsubscribe('once') }
  end
  equal nil, once.get('none')
  once.close
end

checks 'scan iterators' do |r|
  names = (0...1000).map { |i| "scan:#{i}" }
  r.mapped_mset(names.to_h { |name| [name, '1'] })
  r.set('other', '1')
  equal names.sort, r.scan_each(match: 'scan:*', count: 50).to_a.uniq.sort
  r.sadd('set', names)
  equal names.sort, r.sscan_each('set').to_a.uniq.sort
  r.mapped_hmset('hash', names.to_h { |name| [name, 'v'] })
  equal names.to_h { |name| [name, 'v'] }, r.hscan_each('hash').to_a.to_h
  r.zadd('zset', names.each_with_index.map { |name, i| [i, name] })
  equal [99, *990..999].map { |i| ["scan:#{i}", i.to_f] }, r.zscan_each('zset', match: 'scan:99*').to_a.uniq.sort_by(&:last)
end

checks 'binary and big values' do |r|
  equal ['OK', BINARY], [r.set(BINARY, BINARY), r.get(BINARY).b]
  equal ['OK', true, BIG.length], [r.set('big', BIG), r.get('big') == BIG, r.strlen('big')]
  equal ['OK', '值 ✓'], [r.set('ключ', '值 ✓'), r.get('ключ')]
end

checks 'reconnects' do |_|
  r = connect(db: 2, reconnect_attempts: 100, reconnect_delay: 0.05, reconnect_delay_max: 0.05)
  equal 'OK', r.set('k', 'before')
  tell 'kill'
  raises(Redis::BaseConnectionError, '') { connect.ping }
  waiting = Thread.new { r.set('k', 'sent while the server was away') }
  tell 'start'
  equal 'OK', waiting.value
  equal 'sent while the server was away', connect(db: 2).get('k')
end

checks 'quits' do |_|
  r = connect
  equal 'PONG', r.ping
  equal 'OK', r.quit
  equal false, r.connected?
end

tell "version #{Redis::VERSION}"
Redis.exists_returns_integer = true if Redis.respond_to?(:exists_returns_integer=)
Redis.silence_deprecations = true if Redis.respond_to?(:silence_deprecations=)
client = connect(reconnect_attempts: 1)
$checks.each do |name, body|
  check(name) do
    emptied(client)
    body.call(client)
  end
end
