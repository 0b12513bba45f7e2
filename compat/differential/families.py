"""families.py - every command of the matrix with all its forms, one line each: a weight, then grammar.py's notation.

The last family is of commands that the contract lacks, and must be refused.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import re

from grammar import compile_line
from words import WORDS

LINES = {
    "strings": """
        3 APPEND skey value
        3 DECR ikey
        3 DECRBY ikey int
        3 INCR ikey
        3 INCRBY ikey int
        4 INCRBYFLOAT ikey float
        5 GET skey
        2 GET ikey
        3 GETRANGE skey rank rank
        3 GETSET skey value
        3 MGET anykey+
        3 MSET (skey value)+
        2 MSETNX (skey value)+
        1 PSETEX skey ttlms value
        8 SET skey value [EX ttl|PX ttlms] [NX|XX]
        4 SET ikey int
        2 SET wkey smallint
        1 SET skey value [NX|XX|EX ttl|PX ttlms]+
        1 SETEX skey ttl value
        2 SETNX skey value
        3 SETRANGE skey offset value
        2 STRLEN skey
    """,
    "bits": """
        3 BITCOUNT skey [rank rank]
        2 BITOP (AND|OR|XOR) skey skey+
        1 BITOP NOT skey skey
        1 BITOP (AND|OR|XOR|NOT|odd) key key+
        3 BITPOS skey bit [rank [rank]]
        2 GETBIT skey bitoffset
        4 SETBIT skey bitoffset bitvalue
    """,
    "lists": """
        3 LINDEX lkey rank
        3 LINSERT lkey (BEFORE|AFTER|BEFORE|AFTER|odd) member value
        2 LLEN lkey
        4 LPOP lkey
        5 LPUSH lkey member+
        3 LPUSH lkey value+
        2 LPUSHX lkey member
        4 LRANGE lkey rank rank
        3 LREM lkey rank member
        3 LSET lkey rank value
        1 LTRIM lkey rank rank
        4 RPOP lkey
        3 RPOPLPUSH lkey lkey
        5 RPUSH lkey member+
        2 RPUSH nkey digit+
        2 RPUSHX lkey value
    """,
    "sets": """
        9 SADD ekey member+
        3 SADD ekey smallint+
        2 SADD nkey smallint+
        2 SCARD ekey
        2 SDIFF ekey+
        2 SDIFFSTORE key ekey+
        2 SINTER ekey+
        2 SINTERSTORE key ekey+
        3 SISMEMBER ekey member
        2 SMEMBERS ekey
        3 SMOVE ekey ekey member
        0.3 SPOP ekey
        0.3 SPOP ekey count
        5 SREM ekey member+
        2 SRANDMEMBER ekey
        2 SRANDMEMBER ekey smallint
        1 SUNION ekey+
        2 SUNIONSTORE key ekey+
    """,
    "hashes": """
        4 HDEL hkey field+
        2 HEXISTS hkey field
        3 HGET hkey field
        2 HGETALL hkey
        4 HINCRBY hkey nfield int
        4 HINCRBYFLOAT hkey nfield float
        1 HKEYS hkey
        2 HLEN hkey
        3 HMGET hkey field+
        4 HMSET hkey (field value)+
        2 HMSET hkey (nfield smallint)+
        7 HSET hkey field value
        3 HSET hkey nfield smallint
        2 HSETNX hkey field value
        2 HSTRLEN hkey field
        1 HVALS hkey
    """,
    "zsets": """
        8 ZADD zkey (score member)+
        4 ZADD zkey [NX|XX] [CH] [INCR] score member
        3 ZADD zkey [NX|XX] [CH] (score member)+
        1 ZADD zkey [NX|XX|CH|INCR]+ (score member)+
        2 ZCARD zkey
        2 ZCOUNT zkey low high
        3 ZINCRBY zkey score member
        2 ZINTERSTORE zkey (1 zkey|2 zkey zkey|2 zkey ekey|3 zkey zkey ekey) [AGGREGATE (SUM|MIN|MAX|odd)]
        2 ZINTERSTORE zkey 2 (zkey|ekey) zkey WEIGHTS score float [AGGREGATE (SUM|MIN|MAX)]
        1 ZINTERSTORE key count (key)+ [WEIGHTS float*] [AGGREGATE (SUM|MIN|MAX)]
        4 ZRANGE zkey rank rank [WITHSCORES]
        4 ZRANGEBYSCORE zkey low high [WITHSCORES] [LIMIT rank rank]
        1 ZRANGEBYSCORE zkey bound bound [WITHSCORES|LIMIT rank rank]*
        2 ZRANK zkey member
        4 ZREM zkey member+
        0.4 ZREMRANGEBYRANK zkey rank rank
        0.4 ZREMRANGEBYSCORE zkey bound bound
        3 ZREVRANGE zkey rank rank [WITHSCORES]
        3 ZREVRANGEBYSCORE zkey high low [WITHSCORES] [LIMIT rank rank]
        2 ZREVRANK zkey member
        3 ZSCORE zkey member
        2 ZUNIONSTORE zkey (1 zkey|2 zkey zkey|2 zkey ekey|3 zkey zkey ekey) [AGGREGATE (SUM|MIN|MAX|odd)]
        2 ZUNIONSTORE zkey 2 (zkey|ekey) zkey WEIGHTS score float [AGGREGATE (SUM|MIN|MAX)]
        1 ZUNIONSTORE key count (key)+ [WEIGHTS float*] [AGGREGATE (SUM|MIN|MAX)]
    """,
    "zsets by name": """
        8 ZADD xkey (zero member)+
        2 ZLEXCOUNT xkey lex lex
        4 ZRANGEBYLEX xkey lex lex [LIMIT rank rank]
        1 ZREMRANGEBYLEX xkey lex lex
        1 ZREMRANGEBYRANK xkey rank rank
        4 ZREVRANGEBYLEX xkey lex lex [LIMIT rank rank]
        2 ZREM xkey member+
        2 ZRANGE xkey rank rank
        0.1 RPUSH xkey member
        0.3 DEL xkey
    """,
    "geo": """
        6 GEOADD gkey (longitude latitude place)+
        3 GEODIST gkey place place [unit]
        2 GEOHASH gkey place*
        2 GEOPOS gkey place*
        3 GEORADIUS gkey longitude latitude radius unit [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count] [ASC|DESC]
        1 GEORADIUS gkey longitude latitude radius unit [STORE gonly|STOREDIST zkey|WITHDIST|COUNT count]+
        3 GEORADIUSBYMEMBER gkey place radius unit [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count] [ASC|DESC]
        1 GEORADIUSBYMEMBER gkey place radius unit [STORE gonly|STOREDIST zkey|WITHCOORD|COUNT count|ASC|DESC]+
        2 ZREM gonly place+
        2 ZSCORE gonly place
    """,
    "hyperloglog": """
        6 PFADD pkey member*
        3 PFCOUNT pkey+
        2 PFMERGE ponly pkey*
    """,
    "keys": """
        2 DEL anykey+
        3 EXISTS anykey+
        2 EXPIRE anykey ttl
        1 EXPIREAT anykey deadline
        0.3 KEYS glob
        2 MOVE anykey db
        2 PERSIST anykey
        1 PEXPIRE anykey ttlms
        1 PEXPIREAT anykey deadlinems
        2 PTTL anykey
        0.2 RANDOMKEY
        2 RENAME key key
        1 RENAMENX key key
        0.3 RENAME gonly gonly
        0.3 RENAMENX ponly ponly
        3 TTL anykey
        4 TYPE anykey
        1 OBJECT ENCODING anykey
    """,
    "sort": """
        4 SORT (nkey|lkey|ekey|zkey) [BY sortpattern] [LIMIT rank rank] [GET sortget]* [ASC|DESC] [ALPHA]
        3 SORT nkey [LIMIT count count] [ASC|DESC] [STORE lkey]
        3 SORT (lkey|ekey|zkey|nkey) [LIMIT rank rank] [ASC|DESC] ALPHA [STORE lkey]
        2 SORT nkey BY w_* [GET sortget]* [DESC] [STORE lkey]
        1 SORT key [BY sortpattern|LIMIT rank rank|GET sortget|ASC|DESC|ALPHA|STORE lkey|odd]+
        2 RPUSH nkey digit+
        2 SET wkey smallint
        1 SET wkey float
        2 HSET hkey nfield digit
    """,
    "scan": """
        1 HSCAN hkey 0 [MATCH glob] [COUNT count]
        1 SCAN 0 [MATCH glob] [COUNT count]
        1 SSCAN ekey 0 [MATCH glob] [COUNT count]
        1 ZSCAN zkey 0 [MATCH glob] [COUNT count]
        0.3 SCAN (x|1.5|zero) [MATCH glob|COUNT odd]*
        0.3 (HSCAN|SSCAN|ZSCAN) key (x|zero) [COUNT odd|COUNT|MATCH]
    """,
    "transactions": """
        1 MULTI
        1 EXEC
        0.5 DISCARD
        1 WATCH anykey+
        1 UNWATCH
    """,
    "pubsub": """
        6 PUBLISH channel value
        1 PUBSUB CHANNELS [chanpattern]
        1 PUBSUB NUMSUB channel*
        1 PUBSUB NUMPAT
    """,
    "connection": """
        2 ECHO value
        2 PING [value]
        3 SELECT db
        0.3 AUTH value
        0.2 QUIT
        1 unknown value*
    """,
    "server": """
        2 DBSIZE
        0.1 COMMAND
        0.3 INFO keyspace
        0.1 INFO (server|clients|memory|stats|cpu|nosuch|replication|default|all|odd)
        0.5 TIME
        0.05 FLUSHDB
    """,
    "refused": """
        1 TOUCH anykey+
        1 SUBSTR skey rank rank
        1 GEORADIUS_RO gkey longitude latitude radius unit
    """,
}
WEIGHTS = {"strings": 3, "bits": 1, "lists": 2.5, "sets": 2.5, "hashes": 2.5, "zsets": 3.5, "zsets by name": 0.7,
           "geo": 0.8, "hyperloglog": 0.5, "keys": 1.8, "sort": 0.7, "scan": 0.12, "transactions": 0.1, "pubsub": 0.4,
           "connection": 0.4, "server": 0.2, "refused": 0.1}


def load():
    """For each family its weight and its list of (weight, maker)."""
    families = {}
    for family, text in LINES.items():
        forms = []
        for line in filter(None, map(str.strip, text.splitlines())):
            weight, form = line.split(None, 1)
            forms.append((float(weight), compile_line(form, WORDS)))
        families[family] = (WEIGHTS[family], forms)
    return families


def families_by_command():
    """The family that each command is counted in: the first that has it."""
    of = {"subscribe": "pubsub", "psubscribe": "pubsub", "unsubscribe": "pubsub", "punsubscribe": "pubsub"}
    for family, text in LINES.items():
        for line in filter(None, map(str.strip, text.splitlines())):
            for word in re.findall(r"[A-Z_]+", line.split(None, 1)[1].split(") ")[0].split()[0]):
                of.setdefault(word.lower(), family)
    return of


FAMILIES = load()
FAMILY_OF = families_by_command()
