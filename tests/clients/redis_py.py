#!/usr/bin/env python3
"""redis_py.py - redis-py 4 as an application uses it; run by run.py, which explains the protocol.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import threading

import redis

from kit import CHECK_S_MAX, PASSWORD, PORT, WRONGTYPE, check, equal, raises, tell, until

BINARY = bytes(range(256))
BIG = b"big value " * 104858
REFUSED = " (not supported by CKV Master/Slave)"


def connect(**options):
    settings = {"password": PASSWORD or None, "decode_responses": True, "socket_timeout": CHECK_S_MAX, **options}
    return redis.Redis("127.0.0.1", int(PORT), **settings)


def emptied(r):
    for database in (9, 0):
        with connect(db=database, decode_responses=False) as one:
            names = one.keys("*")
            if names:
                one.delete(*names)
    return r


def handshake():
    r = connect(db=3, health_check_interval=1)
    equal(r.ping(), True)
    equal(r.set("where", "db3"), True)
    equal(connect().get("where"), None)
    equal(connect(db=3).delete("where"), 1)
    equal(r.info()["redis_version"], "3.2.13")
    url = "redis://:%s@127.0.0.1:%s/3" % (PASSWORD.replace("+", "%2B"), PORT) if PASSWORD else \
        "redis://127.0.0.1:%s/3" % PORT
    equal(redis.Redis.from_url(url).ping(), True)
    raises(redis.ResponseError, "unknown command 'CLIENT'" + REFUSED, connect(client_name="app").ping)


def credentials():
    if PASSWORD:
        raises(redis.AuthenticationError, "invalid password", connect(password="crs-clients:wrong").ping)
        raises(redis.AuthenticationError, "Authentication required.", connect(password=None).ping)
        equal(connect(username="anyone").ping(), True, "it sends the password alone after Redis 6's AUTH failed")
    else:
        raises(redis.AuthenticationError, "Client sent AUTH, but no password is set",
               connect(password="crs-clients:any").ping)


def strings(r):
    equal(r.set("s", "hello"), True)
    equal(r.get("s"), "hello")
    equal(r.get("none"), None)
    equal(r.set("s", "x", nx=True), None)
    equal(r.set("s", "hello", ex=100, xx=True), True)
    equal(r.append("s", " world"), 11)
    equal(r.strlen("s"), 11)
    equal(r.getrange("s", 0, 4), "hello")
    equal(r.setrange("s", 6, "there"), 11)
    equal(r.getset("s", "new"), "hello there")
    equal(r.setnx("s", "x"), False)
    equal(r.setex("sx", 100, "v"), True)
    equal(r.psetex("px", 100000, "v"), True)
    equal(r.mset({"m1": "a", "m2": "b"}), True)
    equal(r.mget("m1", "none", "m2"), ["a", None, "b"])
    equal(r.msetnx({"m2": "x", "m3": "c"}), False)
    equal(r.incr("n"), 1)
    equal(r.incrby("n", 41), 42)
    equal(r.decr("n"), 41)
    equal(r.decrby("n", 50), -9)
    equal(r.incrbyfloat("n", 0.5), -8.5)
    raises(redis.ResponseError, "value is not an integer or out of range", r.incr, "s")


def bits(r):
    equal(r.setbit("b", 7, 1), 0)
    equal(r.getbit("b", 7), 1)
    equal(r.bitcount("b"), 1)
    equal(r.bitpos("b", 1), 7)
    r.set("other", "a")
    equal(r.bitop("OR", "b2", "b", "other"), 1)
    equal(r.get("b2"), "a")


def keys(r):
    r.set("k", "v")
    equal(r.exists("k", "k", "none"), 2)
    equal(r.expire("k", 100), True)
    equal((r.ttl("k"), r.pttl("k")), (100, 100000))
    equal(r.persist("k"), True)
    equal((r.ttl("k"), r.ttl("none")), (-1, -2))
    equal(r.pexpire("k", 50000), True)
    equal(r.ttl("k"), 50)
    equal(r.expireat("k", 4000000000), True)
    equal(r.pexpireat("k", 4000000000000), True)
    equal(r.type("k"), "string")
    equal(r.rename("k", "k2"), True)
    equal(r.renamenx("k2", "k3"), True)
    raises(redis.ResponseError, "no such key", r.rename, "none", "x")
    equal(r.keys("k*"), ["k3"])
    equal(r.randomkey(), "k3")
    equal(r.dbsize(), 1)
    equal(r.move("k3", 9), True)
    r.rpush("tosort", 3, 1, 2)
    equal(r.sort("tosort", start=0, num=2, desc=True), ["3", "2"])
    equal(r.sort("tosort", store="sorted"), 3)
    equal(r.delete("tosort", "sorted", "none"), 2)


def hashes(r):
    equal(r.hset("h", "f", "1"), 1)
    equal(r.hset("h", "f", "2"), 0)
    equal(r.hsetnx("h", "f", "3"), 0)
    equal(r.hget("h", "f"), "2")
    equal(r.hget("h", "none"), None)
    raises(redis.ResponseError, "wrong number of arguments for 'hset' command", r.hset, "h", None, None,
           {"a": "x", "b": "yy"})
    equal(r.hmset("h", {"a": "x", "b": "yy"}), True)
    equal(r.hmget("h", "a", "none", "b"), ["x", None, "yy"])
    equal((r.hlen("h"), r.hexists("h", "a"), r.hstrlen("h", "b")), (3, True, 2))
    equal(r.hincrby("h", "f", 40), 42)
    equal(r.hincrbyfloat("h", "f", 0.5), 42.5)
    equal(r.hkeys("h"), ["f", "a", "b"])
    equal(r.hvals("h"), ["42.5", "x", "yy"])
    equal(r.hgetall("h"), {"f": "42.5", "a": "x", "b": "yy"})
    equal(r.hdel("h", "a", "b", "none"), 2)


def lists(r):
    equal(r.rpush("l", "b", "c"), 2)
    equal(r.lpush("l", "a"), 3)
    equal((r.rpushx("l", "d"), r.lpushx("none", "d")), (4, 0))
    equal(r.lrange("l", 0, -1), ["a", "b", "c", "d"])
    equal((r.llen("l"), r.lindex("l", -1)), (4, "d"))
    equal(r.linsert("l", "before", "c", "x"), 5)
    equal(r.lset("l", 0, "A"), True)
    raises(redis.ResponseError, "index out of range", r.lset, "l", 9, "A")
    equal(r.lrem("l", 0, "x"), 1)
    equal(r.ltrim("l", 0, 2), True)
    equal((r.lpop("l"), r.rpop("l"), r.rpop("none")), ("A", "c", None))
    equal(r.rpoplpush("l", "l2"), "b")
    equal(r.lrange("l2", 0, -1), ["b"])


def sets(r):
    equal(r.sadd("a", 1, 2, 3), 3)
    equal(r.sadd("b", 2, 3, 4), 3)
    equal((r.scard("a"), r.sismember("a", 2)), (3, True))
    equal(r.smembers("a"), {"1", "2", "3"})
    equal(r.sinter("a", "b"), {"2", "3"})
    equal(r.sunion("a", "b"), {"1", "2", "3", "4"})
    equal(r.sdiff("a", "b"), {"1"})
    equal((r.sinterstore("d", "a", "b"), r.sunionstore("d", "a", "b"), r.sdiffstore("d", "a", "b")), (2, 4, 1))
    equal(r.smove("a", "d", 2), True)
    equal(r.srem("a", 3, "none"), 1)
    equal(r.srandmember("a"), "1")
    equal(r.srandmember("a", -2), ["1", "1"])
    equal(r.spop("a"), "1")
    equal(sorted(r.spop("b", 3)), ["2", "3", "4"])


def sorted_sets(r):
    equal(r.zadd("z", {"a": 1, "b": 2, "c": 3}), 3)
    equal(r.zadd("z", {"b": 2.5, "new": 9}, xx=True, ch=True), 1)
    equal((r.zcard("z"), r.zscore("z", "b"), r.zscore("z", "none")), (3, 2.5, None))
    equal(r.zincrby("z", 2, "a"), 3.0)
    equal(r.zrange("z", 0, -1), ["b", "a", "c"])
    equal(r.zrange("z", 0, 0, withscores=True), [("b", 2.5)])
    equal(r.zrevrange("z", 0, 0), ["c"])
    equal(r.zrangebyscore("z", "(2.5", "+inf", start=0, num=1), ["a"])
    equal(r.zrevrangebyscore("z", "+inf", 3), ["c", "a"])
    equal((r.zcount("z", "-inf", "(3"), r.zrank("z", "c"), r.zrevrank("z", "c"), r.zrank("z", "none")), (1, 2, 0, None))
    equal(r.zadd("lex", {"a": 0, "b": 0, "c": 0}), 3)
    equal(r.zrangebylex("lex", "[a", "(c"), ["a", "b"])
    equal(r.zrevrangebylex("lex", "+", "-"), ["c", "b", "a"])
    equal((r.zlexcount("lex", "-", "+"), r.zremrangebylex("lex", "[a", "[a")), (3, 1))
    equal(r.zunionstore("u", {"z": 2, "lex": 1}, aggregate="SUM"), 3)
    equal(r.zscore("u", "b"), 5.0)
    equal(r.zinterstore("i", ["z", "lex"]), 2)
    equal((r.zremrangebyscore("i", "-inf", 2.5), r.zremrangebyrank("u", 0, 1), r.zrem("z", "a", "x")), (1, 2, 1))


def geo(r):
    equal(r.geoadd("g", (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania")), 2)
    equal(r.geodist("g", "Palermo", "Catania", "km"), 166.2742)
    equal(r.geohash("g", "Palermo", "Catania"), ["sqc8b49rny0", "sqdtr74hyu0"])
    (longitude, latitude), none = r.geopos("g", "Palermo", "none")
    equal((round(longitude, 4), round(latitude, 4), none), (13.3614, 38.1156, None))
    equal(r.georadius("g", 15, 37, 200, "km", withdist=True, sort="ASC"), [["Catania", 56.4413], ["Palermo", 190.4424]])
    equal(r.georadiusbymember("g", "Palermo", 10, "km"), ["Palermo"])
    equal(r.georadius("g", 15, 37, 200, "km", store="near"), 2)


def hyperloglog(r):
    equal((r.pfadd("p", "a", "b", "c"), r.pfadd("p", "a"), r.pfcount("p"), r.pfadd("q", "d")), (1, 0, 3, 1))
    equal(r.pfmerge("r", "p", "q"), True)
    equal((r.pfcount("r"), r.pfcount("p", "q")), (4, 4))


def server(r):
    equal((r.ping(), r.echo("hi"), r.dbsize()), (True, "hi", 0))
    equal(r.time()[0] > 10**9, True)
    equal(r.info("server")["redis_mode"], "standalone")
    equal(r.execute_command("COMMAND")["get"]["arity"], 2)


def refused(r):
    for call in (r.flushall, r.flushdb, r.config_get, r.client_list, r.slowlog_len, r.save, r.lastsave):
        raises(redis.ResponseError, "unknown command '", call)
    raises(redis.ResponseError, "unknown command 'EVAL'" + REFUSED, r.eval, "return 1", 0)
    raises(redis.ResponseError, "unknown command 'BLPOP'" + REFUSED, r.blpop, "l", 1)
    raises(redis.ResponseError, "unknown command 'HELLO'", r.execute_command, "HELLO", "3")
    r.set("s", "x")
    raises(redis.ResponseError, WRONGTYPE, r.lpush, "s", "x")


def pipelines(r):
    pipe = r.pipeline(transaction=False)
    for i in range(1000):
        pipe.incrby("counter", i)
    pipe.lpush("counter", "x").get("counter")
    replies = pipe.execute(raise_on_error=False)
    equal((len(replies), replies[999], str(replies[1000]).split(" (")[0], replies[1001]),
          (1002, 499500, WRONGTYPE, "499500"))


def transactions(r):
    equal(r.pipeline().set("t", "1").incr("t").get("t").execute(), [True, 2, "2"])
    replies = r.pipeline().set("t", "text").incr("t").execute(raise_on_error=False)
    equal(str(replies[1]), "value is not an integer or out of range")
    pipe = r.pipeline().set("t", "9")
    pipe.execute_command("FLUSHALL")
    raises(redis.ResponseError, "Command # 2 (FLUSHALL) of pipeline caused error: unknown command 'FLUSHALL'",
           pipe.execute)
    equal(r.get("t"), "text")
    with r.pipeline() as pipe:
        pipe.watch("t")
        r.set("t", "changed")
        pipe.multi()
        pipe.set("t", "mine")
        raises(redis.WatchError, "", pipe.execute)
        equal(r.get("t"), "changed")
    with r.pipeline() as pipe:
        pipe.watch("t")
        r.set("t", "again")
        equal(pipe.unwatch(), True)
        pipe.multi()
        equal(pipe.set("t", "mine").execute(), [True])
    equal(r.transaction(lambda p: p.multi() or p.incr("sum"), "sum"), [1])


def pubsub(r):
    listener = connect(decode_responses=False).pubsub(ignore_subscribe_messages=True)
    listener.subscribe("news", "more")
    listener.psubscribe("n*")
    until(lambda: r.pubsub_numpat() == 1 and len(r.pubsub_channels()) == 2)
    equal((r.publish("news", "hello"), r.publish("nothing", BINARY), r.publish("silence", "x")), (2, 1, 0))
    heard = []
    while len(heard) < 3:
        message = listener.get_message(timeout=1)
        if message:
            heard.append((message["type"], message["pattern"], message["channel"], message["data"]))
    equal(heard, [("message", None, b"news", b"hello"), ("pmessage", b"n*", b"news", b"hello"),
                  ("pmessage", b"n*", b"nothing", BINARY)])
    equal(r.pubsub_numsub("news", "none"), [("news", 1), ("none", 0)])
    listener.unsubscribe()
    listener.punsubscribe()
    until(lambda: r.pubsub_numpat() == 0 and r.pubsub_channels() == [])
    listener.close()
    threaded(r)


def threaded(r):
    heard = []
    listener = connect().pubsub()
    listener.subscribe(threaded=lambda message: heard.append(message["data"]))
    thread = listener.run_in_thread(sleep_time=0.01)
    until(lambda: r.publish("threaded", "hi") == 1)
    until(lambda: heard)
    thread.stop()
    thread.join()
    equal((heard[0], threading.active_count()), ("hi", 1))


def scans(r):
    names = {"scan:%d" % i for i in range(1000)}
    r.mset({name: 1 for name in names})
    r.set("other", 1)
    equal(set(r.scan_iter("scan:*", count=50)), names)
    r.sadd("set", *names)
    equal(set(r.sscan_iter("set")), names)
    r.hmset("hash", {name: "v" for name in names})
    equal(dict(r.hscan_iter("hash")), {name: "v" for name in names})
    r.zadd("zset", {"scan:%d" % i: i for i in range(1000)})
    equal(dict(r.zscan_iter("zset", "scan:99*")), {"scan:%d" % i: float(i) for i in [99, *range(990, 1000)]})


def values(_):
    raw = connect(decode_responses=False)
    equal((raw.set(BINARY, BINARY), raw.get(BINARY)), (True, BINARY))
    equal((raw.set("big", BIG), raw.get("big") == BIG, raw.strlen("big")), (True, True, len(BIG)))
    text = connect()
    equal((text.set("ключ", "值 ✓"), text.get("ключ")), (True, "值 ✓"))


def reconnect(_):
    pool = redis.ConnectionPool(host="127.0.0.1", port=int(PORT), password=PASSWORD or None, db=2,
                                decode_responses=True)
    r = redis.Redis(connection_pool=pool)
    listener = connect().pubsub(ignore_subscribe_messages=True)
    listener.subscribe("after")
    until(lambda: listener.get_message(timeout=0.05) is None and listener.subscribed)
    equal(r.set("k", "before"), True)
    tell("kill")
    raises(redis.ConnectionError, "", r.get, "k")
    raises(redis.ConnectionError, "Connection closed by server.", listener.get_message, False, 1)
    tell("start")
    equal((r.set("k", "after"), r.get("k")), (True, "after"))
    equal(connect(db=2).get("k"), "after", "the database chosen before")
    heard = []
    while not heard:
        message = listener.get_message(timeout=0.01)
        heard += [message["data"]] if message else []
        r.publish("after", "heard")
    equal(heard[0], "heard")
    listener.close()


def quits(r):
    with r.client() as one:
        equal(one.execute_command("QUIT"), True)
        raises(redis.ConnectionError, "Connection closed by server", one.connection.read_response)
    r.close()


def main():
    tell("version " + redis.__version__)
    check("handshake, AUTH and SELECT", handshake)
    check("wrong and missing passwords", credentials)
    r = connect()
    for name, body in (("strings", strings), ("bits", bits), ("keys", keys), ("hashes", hashes), ("lists", lists),
                       ("sets", sets), ("sorted sets", sorted_sets), ("geo", geo), ("hyperloglog", hyperloglog),
                       ("server", server), ("refused commands", refused), ("pipelines", pipelines),
                       ("transactions", transactions), ("publish and subscribe", pubsub), ("scan iterators", scans),
                       ("binary and big values", values), ("reconnects", reconnect), ("quits", quits)):
        check(name, lambda body=body: body(emptied(r)))


if __name__ == "__main__":
    main()
