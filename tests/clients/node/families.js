// families.js - every family of commands as [command, arguments, reply], for the clients whose methods are named as the
// commands and take their arguments as they are sent. The replies are those of Redis 3.2.13.
//
// A list stands for an array reply, null for nil, { error } for an error's text, { any } for a test of the reply,
// { unordered } for a list in any order, { hash } for what HGETALL becomes.
//
// SPDX-License-Identifier: GPL-3.0-or-later
'use strict';
const { equal, sorted } = require('./kit.js');

const WRONGTYPE = 'WRONGTYPE Operation against a key holding the wrong kind of value';

const strings = [
    ['set', ['s', 'hello'], 'OK'], ['get', ['s'], 'hello'], ['get', ['none'], null],
    ['set', ['s', 'x', 'NX'], null], ['set', ['s', 'hello', 'EX', '100', 'XX'], 'OK'],
    ['append', ['s', ' world'], 11], ['strlen', ['s'], 11], ['getrange', ['s', '0', '4'], 'hello'],
    ['setrange', ['s', '6', 'there'], 11], ['getset', ['s', 'new'], 'hello there'], ['setnx', ['s', 'x'], 0],
    ['setex', ['sx', '100', 'v'], 'OK'], ['psetex', ['px', '100000', 'v'], 'OK'],
    ['mset', ['m1', 'a', 'm2', 'b'], 'OK'], ['mget', ['m1', 'none', 'm2'], ['a', null, 'b']],
    ['msetnx', ['m2', 'x', 'm3', 'c'], 0], ['incr', ['n'], 1], ['incrby', ['n', '41'], 42], ['decr', ['n'], 41],
    ['decrby', ['n', '50'], -9], ['incrbyfloat', ['n', '0.5'], '-8.5'],
    ['incr', ['s'], { error: 'ERR value is not an integer or out of range' }],
    ['setbit', ['b', '7', '1'], 0], ['getbit', ['b', '7'], 1], ['bitcount', ['b'], 1], ['bitpos', ['b', '1'], 7],
    ['bitop', ['OR', 'b2', 'b', 'm1'], 1], ['get', ['b2'], 'a'],
];

const keys = [
    ['set', ['k', 'v'], 'OK'], ['exists', ['k', 'k', 'none'], 2], ['expire', ['k', '100'], 1], ['ttl', ['k'], 100],
    ['pttl', ['k'], 100000], ['persist', ['k'], 1], ['ttl', ['k'], -1], ['ttl', ['none'], -2],
    ['pexpire', ['k', '50000'], 1], ['ttl', ['k'], 50], ['expireat', ['k', '4000000000'], 1],
    ['pexpireat', ['k', '4000000000000'], 1], ['type', ['k'], 'string'], ['rename', ['k', 'k2'], 'OK'],
    ['renamenx', ['k2', 'k3'], 1], ['rename', ['none', 'x'], { error: 'ERR no such key' }], ['keys', ['k*'], ['k3']],
    ['randomkey', [], 'k3'], ['dbsize', [], 1], ['move', ['k3', '9'], 1], ['exists', ['k3'], 0],
    ['rpush', ['tosort', '3', '1', '2'], 3], ['sort', ['tosort'], ['1', '2', '3']],
    ['sort', ['tosort', 'DESC', 'LIMIT', '0', '2'], ['3', '2']], ['sort', ['tosort', 'STORE', 'sorted'], 3],
    ['del', ['tosort', 'sorted', 'none'], 2],
];

const hashes = [
    ['hset', ['h', 'f', '1'], 1], ['hset', ['h', 'f', '2'], 0], ['hsetnx', ['h', 'f', '3'], 0], ['hget', ['h', 'f'], '2'],
    ['hget', ['h', 'none'], null], ['hmset', ['h', 'a', 'x', 'b', 'yy'], 'OK'],
    ['hmget', ['h', 'a', 'none', 'b'], ['x', null, 'yy']], ['hlen', ['h'], 3], ['hexists', ['h', 'a'], 1],
    ['hstrlen', ['h', 'b'], 2], ['hincrby', ['h', 'f', '40'], 42], ['hincrbyfloat', ['h', 'f', '0.5'], '42.5'],
    ['hkeys', ['h'], ['f', 'a', 'b']], ['hvals', ['h'], ['42.5', 'x', 'yy']],
    ['hgetall', ['h'], { hash: { f: '42.5', a: 'x', b: 'yy' } }], ['hdel', ['h', 'a', 'b', 'none'], 2],
    ['hscan', ['h', '0'], ['0', ['f', '42.5']]], ['hset', ['s', 'f', 'v'], { error: WRONGTYPE }, [['set', ['s', '']]]],
];

const lists = [
    ['rpush', ['l', 'b', 'c'], 2], ['lpush', ['l', 'a'], 3], ['rpushx', ['l', 'd'], 4], ['lpushx', ['none', 'd'], 0],
    ['lrange', ['l', '0', '-1'], ['a', 'b', 'c', 'd']], ['llen', ['l'], 4], ['lindex', ['l', '-1'], 'd'],
    ['linsert', ['l', 'BEFORE', 'c', 'x'], 5], ['lset', ['l', '0', 'A'], 'OK'],
    ['lset', ['l', '9', 'A'], { error: 'ERR index out of range' }], ['lrem', ['l', '0', 'x'], 1],
    ['ltrim', ['l', '0', '2'], 'OK'], ['lpop', ['l'], 'A'], ['rpop', ['l'], 'c'], ['rpop', ['none'], null],
    ['rpoplpush', ['l', 'l2'], 'b'], ['exists', ['l'], 0], ['lrange', ['l2', '0', '-1'], ['b']],
];

const sets = [
    ['sadd', ['a', '1', '2', '3'], 3], ['sadd', ['b', '2', '3', '4'], 3], ['scard', ['a'], 3], ['sismember', ['a', '2'], 1],
    ['smembers', ['a'], { unordered: ['1', '2', '3'] }], ['sinter', ['a', 'b'], { unordered: ['2', '3'] }],
    ['sunion', ['a', 'b'], { unordered: ['1', '2', '3', '4'] }], ['sdiff', ['a', 'b'], ['1']],
    ['sinterstore', ['d', 'a', 'b'], 2], ['sunionstore', ['d', 'a', 'b'], 4], ['sdiffstore', ['d', 'a', 'b'], 1],
    ['smove', ['a', 'd', '2'], 1], ['srem', ['a', '3', 'none'], 1], ['srandmember', ['a'], '1'],
    ['srandmember', ['a', '-2'], ['1', '1']], ['sscan', ['a', '0'], ['0', ['1']]], ['spop', ['a'], '1'],
    ['spop', ['b', '3'], { unordered: ['2', '3', '4'] }], ['exists', ['a', 'b'], 0],
];

const zsets = [
    ['zadd', ['z', '1', 'a', '2', 'b', '3', 'c'], 3], ['zadd', ['z', 'XX', 'CH', '2.5', 'b', '9', 'new'], 1],
    ['zcard', ['z'], 3], ['zscore', ['z', 'b'], '2.5'], ['zscore', ['z', 'none'], null], ['zincrby', ['z', '2', 'a'], '3'],
    ['zrange', ['z', '0', '-1'], ['b', 'a', 'c']], ['zrange', ['z', '0', '0', 'WITHSCORES'], ['b', '2.5']],
    ['zrevrange', ['z', '0', '0'], ['c']], ['zrangebyscore', ['z', '(2.5', '+inf', 'LIMIT', '0', '1'], ['a']],
    ['zrevrangebyscore', ['z', '+inf', '3'], ['c', 'a']], ['zcount', ['z', '-inf', '(3'], 1], ['zrank', ['z', 'c'], 2],
    ['zrevrank', ['z', 'c'], 0], ['zrank', ['z', 'none'], null], ['zadd', ['lex', '0', 'a', '0', 'b', '0', 'c'], 3],
    ['zrangebylex', ['lex', '[a', '(c'], ['a', 'b']], ['zrevrangebylex', ['lex', '+', '-'], ['c', 'b', 'a']],
    ['zlexcount', ['lex', '-', '+'], 3], ['zremrangebylex', ['lex', '[a', '[a'], 1],
    ['zunionstore', ['u', '2', 'z', 'lex', 'WEIGHTS', '2', '1', 'AGGREGATE', 'SUM'], 3], ['zscore', ['u', 'b'], '5'],
    ['zinterstore', ['i', '2', 'z', 'lex'], 2], ['zscan', ['lex', '0'], ['0', ['b', '0', 'c', '0']]],
    ['zremrangebyscore', ['i', '-inf', '2.5'], 1], ['zremrangebyrank', ['u', '0', '1'], 2], ['zrem', ['z', 'a', 'x'], 1],
];

const geo = [
    ['geoadd', ['g', '13.361389', '38.115556', 'Palermo', '15.087269', '37.502669', 'Catania'], 2],
    ['geodist', ['g', 'Palermo', 'Catania', 'km'], '166.2742'],
    ['geohash', ['g', 'Palermo', 'Catania'], ['sqc8b49rny0', 'sqdtr74hyu0']],
    ['geopos', ['g', 'Palermo', 'none'],
        { any: (r) => Math.abs(r[0][0] - 13.361389) < 1e-5 && Math.abs(r[0][1] - 38.115556) < 1e-5 && r[1] === null }],
    ['georadius', ['g', '15', '37', '200', 'km', 'WITHDIST', 'ASC'], [['Catania', '56.4413'], ['Palermo', '190.4424']]],
    ['georadiusbymember', ['g', 'Palermo', '10', 'km'], ['Palermo']],
];

const hyperloglog = [
    ['pfadd', ['p', 'a', 'b', 'c'], 1], ['pfadd', ['p', 'a'], 0], ['pfcount', ['p'], 3], ['pfadd', ['q', 'd'], 1],
    ['pfmerge', ['r', 'p', 'q'], 'OK'], ['pfcount', ['r'], 4], ['pfcount', ['p', 'q'], 4],
];

const server = [
    ['ping', [], 'PONG'], ['ping', ['hi'], 'hi'], ['echo', ['hi'], 'hi'],
    ['time', [], { any: (r) => r.length === 2 && r[0] > 1e9 }], ['info', [], { any: (r) => /redis_version:3\.2\.13\r/.test(r) }],
    ['info', ['server'], { any: (r) => /^# Server\r/.test(r) }], ['dbsize', [], { any: Number.isInteger }],
    ['command', [], { any: (r) => r.length === 133 && r.every((one) => one.length === 6) }],
];

const refused = [
    ['flushall', [], { error: "ERR unknown command 'flushall' (not supported by CKV Master/Slave)" }],
    ['config', ['GET', 'maxmemory'], { error: "ERR unknown command 'config' (not supported by CKV Master/Slave)" }],
    ['eval', ['return 1', '0'], { error: "ERR unknown command 'eval' (not supported by CKV Master/Slave)" }],
    ['blpop', ['l', '1'], { error: "ERR unknown command 'blpop' (not supported by CKV Master/Slave)" }],
    ['object', ['encoding', 'k'], { error: "ERR unknown command 'object' (not supported by CKV Master/Slave)" }],
];

// Checks a reply against such a row's.
function agrees(reply, expected, about) {
    if (expected && expected.any) return equal(Boolean(expected.any(reply)), true, `${about} (${JSON.stringify(reply)})`);
    if (expected && expected.unordered) return equal(sorted(reply), sorted(expected.unordered), about);
    return equal(reply, expected && expected.hash ? expected.hash : expected, about);
}

module.exports = { agrees, WRONGTYPE, families: {
    strings, keys, hashes, lists, sets, 'sorted sets': zsets, geo, hyperloglog, server, 'refused commands': refused,
} };
