// redis4.js - redis (npm, "node-redis") 4, 5 and 6 as an application uses them: promises and typed replies. Run by
// run.py, which explains the protocol. CKV_OPTION "RESP: 2" is what version 6 needs with a server before Redis 6.
//
// SPDX-License-Identifier: GPL-3.0-or-later
'use strict';
const assert = require('assert');
const { binary, check, equal, env, main, password, port, rejects, sorted, tell, until } = require('./kit.js');
const { WRONGTYPE } = require('./families.js');
const families = require('./redis4-families.js');

const redis = require(env.CKV_MODULE);
const major = Number(require(env.CKV_MODULE + '/package.json').version.split('.')[0]);
const protocol = env.CKV_OPTION === 'RESP: 2' ? { RESP: 2 } : {};

function connect(options = {}) {
    const client = redis.createClient({
        password, ...protocol, ...options,
        socket: { host: '127.0.0.1', port, reconnectStrategy: () => 20, ...options.socket },
    });
    client.errors = [];
    client.on('error', (error) => client.errors.push(error));
    return client.connect().then(() => client);
}

// The replies as Buffers: an option of the call until version 4, a mapping of types since 5.
function buffers(client) {
    if (major === 4) return { get: (key) => client.get(redis.commandOptions({ returnBuffers: true }), key) };
    return client.withTypeMapping({ [redis.RESP_TYPES.BLOB_STRING]: Buffer });
}

function quit(client) {
    return major === 4 ? client.quit() : client.close();
}

async function emptied(client) {
    for (const db of [9, 0]) {
        await client.select(db);
        const names = await client.keys('*');
        if (names.length) await client.del(names);
    }
}

async function handshake() {
    const client = await connect({ database: 3 });
    equal(client.isReady, true);
    equal(await client.ping(), 'PONG');
    await client.set('where', 'db3');
    const other = await connect();
    equal(await other.get('where'), null);
    await other.select(3);
    equal(await other.get('where'), 'db3');
    equal(client.errors.length, 0, 'errors while connecting');
    equal(await client.del('where'), 1);
    await quit(client);
    await quit(other);
}

async function errorOf(options) {
    return connect({ ...options, socket: { reconnectStrategy: false } })
        .then(async (client) => {
            const said = await client.ping().then(() => 'no error', (error) => error.message);
            client.destroy ? client.destroy() : await client.disconnect();
            return said;
        }, (error) => error.message);
}

async function credentials() {
    if (password) {
        equal(await errorOf({ password: 'crs-clients:wrong' }), 'ERR invalid password');
        equal(await errorOf({ password: undefined }), 'NOAUTH Authentication required.');
        equal(await errorOf({ username: 'crs-clients', password: 'S3cret' }),
            "ERR wrong number of arguments for 'auth' command");
    } else {
        const client = await connect();
        await rejects(client.auth({ password: 'crs-clients:any' }), 'ERR Client sent AUTH, but no password is set');
        await quit(client);
    }
}

// Version 6 alone doesn't carry on by itself when HELLO is unknown.
async function withoutProtocolOption() {
    const said = await errorOf({ RESP: undefined });
    if (major < 6) equal(said, 'no error');
    else equal(said.startsWith("ERR unknown command 'HELLO'"), true, said);
}

async function refused(client) {
    const text = (name) => `ERR unknown command '${name}' (not supported by CKV Master/Slave)`;
    await rejects(client.flushAll(), text('FLUSHALL'));
    await rejects(client.configGet('maxmemory'), text('CONFIG'));
    await rejects(client.eval('return 1'), text('EVAL'));
    await rejects(client.blPop('l', 1), text('BLPOP'));
    await rejects(client.sendCommand(['OBJECT', 'ENCODING', 'k']), text('OBJECT'));
    await rejects(client.sendCommand(['HELLO', '3']), /^ERR unknown command 'HELLO'/);
    await client.set('s', 'x');
    await rejects(client.lPush('s', 'x'), WRONGTYPE);
}

async function pipelines(client) {
    const sums = await Promise.all(Array.from({ length: 1000 }, (_, i) => client.incrBy('counter', i)));
    equal(sums[999], 499500);
    const replies = await client.multi().set('p', '1').incr('p').get('p').execAsPipeline();
    equal(replies, ['OK', 2, '2']);
    const [failure, after] = await Promise.allSettled([client.lPush('p', 'x'), client.get('p')]);
    equal([failure.reason.message, after.value], [WRONGTYPE, '2']);
}

async function conflict(client, other) {
    await client.watch('t');
    await other.set('t', 'changed');
    await assert.rejects(client.multi().set('t', 'mine').exec(), redis.WatchError);
    equal(await client.get('t'), 'changed');
    await client.watch('t');
    await other.set('t', 'again');
    equal(await client.unwatch(), 'OK');
    equal(await client.multi().set('t', 'mine').exec(), ['OK']);
}

async function transactions(client) {
    equal(await client.multi().set('t', '1').incr('t').get('t').exec(), ['OK', 2, '2']);
    const failed = await client.multi().set('t', 'text').incr('t').exec().then((replies) => replies[1],
        (error) => error.errors()[Symbol.iterator]().next().value);
    equal(failed.message, 'ERR value is not an integer or out of range');
    await rejects(client.multi().set('t', '9').flushAll().exec(),
        /EXECABORT Transaction discarded because of previous errors|unknown command 'FLUSHALL'/);
    equal(await client.get('t'), 'text');
    const other = await connect();
    await conflict(await connect(), other);
    await quit(other);
}

async function pubsub(client) {
    const listener = await connect();
    const heard = [];
    const listen = (message, channel) => heard.push([channel, message]);
    await listener.subscribe(['news', 'more'], listen);
    await listener.pSubscribe('n*', (message, channel) => heard.push(['pattern', channel, message]));
    equal(await client.publish('news', 'hello'), 2);
    equal(await client.publish('nothing', 'ünï'), 1);
    equal(await client.publish('silence', 'x'), 0);
    await until(() => heard.length === 3);
    equal(heard, [['news', 'hello'], ['pattern', 'news', 'hello'], ['pattern', 'nothing', 'ünï']]);
    await listener.subscribe('bytes', (message) => heard.push(message), true);
    equal(await client.publish('bytes', Buffer.from([0, 255])), 1);
    await until(() => heard.length === 4);
    equal(heard[3], Buffer.from([0, 255]));
    equal(sorted(await client.pubSubChannels()), ['bytes', 'more', 'news']);
    equal({ ...await client.pubSubNumSub(['news', 'none']) }, { news: 1, none: 0 });
    equal(await client.pubSubNumPat(), 1);
    await listener.unsubscribe(['news', 'more', 'bytes']);
    await listener.pUnsubscribe('n*');
    equal(await client.publish('news', 'x'), 0);
    equal(await listener.get('none'), null);
    await quit(listener);
}

// What an iterator gives: single elements in version 4, batches since 5.
async function walk(iterator) {
    const found = [];
    for await (const part of iterator) found.push(...(Array.isArray(part) ? part : [part]));
    return found;
}

async function scans(client) {
    const names = Array.from({ length: 1000 }, (_, i) => `scan:${i}`);
    await client.mSet(names.flatMap((name) => [name, '1']));
    await client.set('other', '1');
    equal(sorted(new Set(await walk(client.scanIterator({ MATCH: 'scan:*', COUNT: 50 })))), sorted(names));
    await client.sAdd('set', names);
    equal(sorted(new Set(await walk(client.sScanIterator('set')))), sorted(names));
    await client.sendCommand(['HMSET', 'hash', ...names.flatMap((name) => [name, 'v'])]);
    equal(new Set((await walk(client.hScanIterator('hash'))).map((pair) => pair.field)).size, 1000);
    await client.zAdd('zset', names.map((value, score) => ({ value, score })));
    const found = await walk(client.zScanIterator('zset', { MATCH: 'scan:99*' }));
    equal(sorted(found.map((pair) => pair.score)), [...Array(10).keys()].map((i) => 990 + i).concat(99).sort());
}

async function values(client) {
    const raw = buffers(client);
    equal(await client.set(binary(), binary()), 'OK');
    equal(await raw.get(binary()), binary());
    const big = Buffer.alloc(1 << 20, 'big value ');
    equal(await client.set('big', big), 'OK');
    equal((await raw.get('big')).equals(big), true);
    equal(await client.strLen('big'), 1 << 20);
    equal(await client.set('ключ', '值 ✓'), 'OK');
    equal(await client.get('ключ'), '值 ✓');
}

async function reconnect(client) {
    const listener = await connect();
    const heard = [];
    await listener.subscribe('after', (message) => heard.push(message));
    await client.select(2);
    tell('kill');
    await until(() => !client.isReady);
    const waiting = client.set('k', 'sent while the server was away');
    tell('start');
    await until(() => client.isReady);
    equal(await waiting, 'OK');
    const other = await connect({ database: 2 });
    equal(await other.get('k'), 'sent while the server was away', 'the database chosen before');
    await until(async () => await client.publish('after', 'heard') === 1);
    await until(() => heard.length > 0);
    equal(heard, ['heard']);
    await client.select(0);
    await quit(listener);
    await quit(other);
}

main(async () => {
    await check('handshake, AUTH and SELECT', handshake);
    await check('wrong and missing passwords', credentials);
    await check('connects without the RESP option up to version 5', withoutProtocolOption);
    const client = await connect();
    const bodies = { ...families(major), 'refused commands': refused, pipelines, transactions, 'publish and subscribe': pubsub,
        'scan iterators': scans, 'binary and big values': values, reconnects: reconnect };
    for (const [name, body] of Object.entries(bodies)) {
        await check(name, async () => {
            await emptied(client);
            await body(client);
        });
    }
    await check('quits', async () => {
        await quit(client);
        equal(client.isOpen, false);
    });
});
