// redis4-families.js - every family of commands by the methods of redis (npm) 4, 5 and 6, which name arguments and give
// typed replies. The replies are those of Redis 3.2.13.
//
// SPDX-License-Identifier: GPL-3.0-or-later
'use strict';
const { equal, rejects, sorted } = require('./kit.js');

let major;

// A flag as it is told: true and false until version 4, 1 and 0 since 5.
function flag(value) {
    return major === 4 ? value : Number(value);
}

async function strings(c) {
    equal(await c.set('s', 'hello'), 'OK');
    equal(await c.get('s'), 'hello');
    equal(await c.get('none'), null);
    equal(await c.set('s', 'x', { NX: true }), null);
    equal(await c.set('s', 'hello', { EX: 100, XX: true }), 'OK');
    equal(await c.append('s', ' world'), 11);
    equal(await c.strLen('s'), 11);
    equal(await c.getRange('s', 0, 4), 'hello');
    equal(await c.setRange('s', 6, 'there'), 11);
    equal(await c.getSet('s', 'new'), 'hello there');
    equal(await c.setNX('s', 'x'), flag(false));
    equal(await c.setEx('sx', 100, 'v'), 'OK');
    equal(await c.pSetEx('px', 100000, 'v'), 'OK');
    equal(await c.mSet({ m1: 'a', m2: 'b' }), 'OK');
    equal(await c.mGet(['m1', 'none', 'm2']), ['a', null, 'b']);
    equal(await c.mSetNX([['m2', 'x'], ['m3', 'c']]), flag(false));
    equal(await c.incr('n'), 1);
    equal(await c.incrBy('n', 41), 42);
    equal(await c.decr('n'), 41);
    equal(await c.decrBy('n', 50), -9);
    equal(await c.incrByFloat('n', 0.5), '-8.5');
    await rejects(c.incr('s'), 'ERR value is not an integer or out of range');
}

async function bits(c) {
    equal(await c.setBit('b', 7, 1), 0);
    equal(await c.getBit('b', 7), 1);
    equal(await c.bitCount('b'), 1);
    equal(await c.bitPos('b', 1), 7);
    equal(await c.set('other', 'a'), 'OK');
    equal(await c.bitOp('OR', 'b2', ['b', 'other']), 1);
    equal(await c.get('b2'), 'a');
}

async function keys(c) {
    equal(await c.set('k', 'v'), 'OK');
    equal(await c.exists(['k', 'none']), 1);
    equal(await c.expire('k', 100), flag(true));
    equal(await c.ttl('k'), 100);
    equal(await c.pTTL('k'), 100000);
    equal(await c.persist('k'), flag(true));
    equal(await c.ttl('k'), -1);
    equal(await c.ttl('none'), -2);
    equal(await c.pExpire('k', 50000), flag(true));
    equal(await c.ttl('k'), 50);
    equal(await c.expireAt('k', new Date(4000000000000)), flag(true));
    equal(await c.pExpireAt('k', 4000000000000), flag(true));
    equal(await c.type('k'), 'string');
    equal(await c.rename('k', 'k2'), 'OK');
    equal(await c.renameNX('k2', 'k3'), flag(true));
    await rejects(c.rename('none', 'x'), 'ERR no such key');
    equal(await c.keys('k*'), ['k3']);
    equal(await c.randomKey(), 'k3');
    equal(await c.dbSize(), 1);
    equal(await c.move('k3', 9), flag(true));
    equal(await c.rPush('tosort', ['3', '1', '2']), 3);
    equal(await c.sort('tosort', { DIRECTION: 'DESC', LIMIT: { offset: 0, count: 2 } }), ['3', '2']);
    equal(await c.sortStore('tosort', 'sorted'), 3);
    equal(await c.del(['tosort', 'sorted', 'none']), 2);
}

async function hashes(c) {
    equal(await c.hSet('h', 'f', '1'), 1);
    equal(await c.hSet('h', 'f', '2'), 0);
    equal(await c.hSetNX('h', 'f', '3'), flag(false));
    equal(await c.hGet('h', 'f'), '2');
    equal((await c.hGet('h', 'none')) ?? null, null);
    await rejects(c.hSet('h', { a: 'x', b: 'yy' }), "ERR wrong number of arguments for 'hset' command");
    equal(await c.sendCommand(['HMSET', 'h', 'a', 'x', 'b', 'yy']), 'OK');
    equal(await c.hmGet('h', ['a', 'none', 'b']), ['x', null, 'yy']);
    equal(await c.hLen('h'), 3);
    equal(await c.hExists('h', 'a'), flag(true));
    equal(await c.hStrLen('h', 'b'), 2);
    equal(await c.hIncrBy('h', 'f', 40), 42);
    equal(await c.hIncrByFloat('h', 'f', 0.5), '42.5');
    equal(await c.hKeys('h'), ['f', 'a', 'b']);
    equal(await c.hVals('h'), ['42.5', 'x', 'yy']);
    equal({ ...await c.hGetAll('h') }, { f: '42.5', a: 'x', b: 'yy' });
    equal(await c.hDel('h', ['a', 'b', 'none']), 2);
}

async function lists(c) {
    equal(await c.rPush('l', ['b', 'c']), 2);
    equal(await c.lPush('l', 'a'), 3);
    equal(await c.rPushX('l', 'd'), 4);
    equal(await c.lPushX('none', 'd'), 0);
    equal(await c.lRange('l', 0, -1), ['a', 'b', 'c', 'd']);
    equal(await c.lLen('l'), 4);
    equal(await c.lIndex('l', -1), 'd');
    equal(await c.lInsert('l', 'BEFORE', 'c', 'x'), 5);
    equal(await c.lSet('l', 0, 'A'), 'OK');
    await rejects(c.lSet('l', 9, 'A'), 'ERR index out of range');
    equal(await c.lRem('l', 0, 'x'), 1);
    equal(await c.lTrim('l', 0, 2), 'OK');
    equal(await c.lPop('l'), 'A');
    equal(await c.rPop('l'), 'c');
    equal(await c.rPop('none'), null);
    equal(await c.rPopLPush('l', 'l2'), 'b');
    equal(await c.lRange('l2', 0, -1), ['b']);
}

async function sets(c) {
    equal(await c.sAdd('a', ['1', '2', '3']), 3);
    equal(await c.sAdd('b', ['2', '3', '4']), 3);
    equal(await c.sCard('a'), 3);
    equal(await c.sIsMember('a', '2'), flag(true));
    equal(sorted(await c.sMembers('a')), ['1', '2', '3']);
    equal(sorted(await c.sInter(['a', 'b'])), ['2', '3']);
    equal(sorted(await c.sUnion(['a', 'b'])), ['1', '2', '3', '4']);
    equal(await c.sDiff(['a', 'b']), ['1']);
    equal(await c.sInterStore('d', ['a', 'b']), 2);
    equal(await c.sUnionStore('d', ['a', 'b']), 4);
    equal(await c.sDiffStore('d', ['a', 'b']), 1);
    equal(await c.sMove('a', 'd', '2'), flag(true));
    equal(await c.sRem('a', ['3', 'none']), 1);
    equal(await c.sRandMember('a'), '1');
    equal(await c.sRandMemberCount('a', -2), ['1', '1']);
    equal(await c.sPop('a'), '1');
}

async function sortedSets(c) {
    equal(await c.zAdd('z', [{ score: 1, value: 'a' }, { score: 2, value: 'b' }, { score: 3, value: 'c' }]), 3);
    equal(await c.zAdd('z', { score: 2.5, value: 'b' }, { XX: true, CH: true }), 1);
    equal(await c.zCard('z'), 3);
    equal(await c.zScore('z', 'b'), 2.5);
    equal(await c.zScore('z', 'none'), null);
    equal(await c.zIncrBy('z', 2, 'a'), 3);
    equal(await c.zRange('z', 0, -1), ['b', 'a', 'c']);
    equal(await c.zRangeWithScores('z', 0, 0), [{ value: 'b', score: 2.5 }]);
    equal(await c.sendCommand(['ZREVRANGE', 'z', '0', '0']), ['c']);
    equal(await c.zRangeByScore('z', '(2.5', '+inf', { LIMIT: { offset: 0, count: 1 } }), ['a']);
    equal(await c.zRangeByScoreWithScores('z', 3, Infinity), [{ value: 'a', score: 3 }, { value: 'c', score: 3 }]);
    equal(await c.sendCommand(['ZREVRANGEBYSCORE', 'z', '+inf', '3']), ['c', 'a']);
    equal(await c.zCount('z', -Infinity, '(3'), 1);
    equal(await c.zRank('z', 'c'), 2);
    equal(await c.zRevRank('z', 'c'), 0);
    equal(await c.zAdd('lex', ['a', 'b', 'c'].map((value) => ({ score: 0, value }))), 3);
    equal(await c.zRangeByLex('lex', '[a', '(c'), ['a', 'b']);
    equal(await c.sendCommand(['ZREVRANGEBYLEX', 'lex', '+', '-']), ['c', 'b', 'a']);
    equal(await c.zLexCount('lex', '-', '+'), 3);
    equal(await c.zRemRangeByLex('lex', '[a', '[a'), 1);
    equal(await c.zUnionStore('u', ['z', 'lex'], { AGGREGATE: 'MAX' }), 3);
    equal(await c.zInterStore('i', ['z', 'lex']), 2);
    equal(await c.zRemRangeByScore('i', -Infinity, 2.5), 1);
    equal(await c.zRemRangeByRank('u', 0, 1), 2);
    equal(await c.zRem('z', ['a', 'x']), 1);
}

async function geo(c) {
    const places = [{ longitude: 13.361389, latitude: 38.115556, member: 'Palermo' },
        { longitude: 15.087269, latitude: 37.502669, member: 'Catania' }];
    const centre = { longitude: 15, latitude: 37 };
    equal(await c.geoAdd('g', places), 2);
    equal(Number(await c.geoDist('g', 'Palermo', 'Catania', 'km')), 166.2742);
    equal(await c.geoHash('g', ['Palermo', 'Catania']), ['sqc8b49rny0', 'sqdtr74hyu0']);
    const [position, none] = await c.geoPos('g', ['Palermo', 'none']);
    equal([Number(position.longitude).toFixed(4), Number(position.latitude).toFixed(4), none], ['13.3614', '38.1156', null]);
    equal(await c.geoRadius('g', centre, 200, 'km', { SORT: 'ASC' }), ['Catania', 'Palermo']);
    const found = await c.geoRadiusWith('g', centre, 100, 'km', ['WITHDIST']);
    equal(found.map((place) => [place.member, Number(place.distance)]), [['Catania', 56.4413]]);
    equal(await c.geoRadiusByMember('g', 'Palermo', 10, 'km'), ['Palermo']);
    equal(await c.geoRadiusStore('g', centre, 200, 'km', 'near'), 2);
}

async function hyperloglog(c) {
    equal(await c.pfAdd('p', ['a', 'b', 'c']), flag(true));
    equal(await c.pfAdd('p', 'a'), flag(false));
    equal(await c.pfCount('p'), 3);
    equal(await c.pfAdd('q', 'd'), flag(true));
    equal(await c.pfMerge('r', ['p', 'q']), 'OK');
    equal(await c.pfCount(['p', 'q']), 4);
    equal(await c.pfCount('r'), 4);
}

async function server(c) {
    equal(await c.ping(), 'PONG');
    equal(await c.ping('hi'), 'hi');
    equal(await c.echo('hi'), 'hi');
    const now = await c.time();
    const seconds = now instanceof Date ? now.getTime() / 1000 : Number(now[0]);
    equal(Math.abs(seconds - Date.now() / 1000) < 100, true, `time ${seconds}`);
    equal(/redis_version:3\.2\.13\r/.test(await c.info()), true);
    equal((await c.info('server')).startsWith('# Server\r'), true);
    const commands = await c.command();
    equal(commands.length, 133);
    const get = commands.find((command) => command.name === 'get');
    equal([get.arity, get.flags.size, get.firstKeyIndex], [2, 2, 1]);
}

module.exports = (version) => {
    major = version;
    return { strings, bits, keys, hashes, lists, sets, 'sorted sets': sortedSets, geo, hyperloglog, server };
};
