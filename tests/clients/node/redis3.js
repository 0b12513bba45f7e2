// redis3.js - redis (npm, "node-redis") 3 as an application uses it: callbacks. Run by run.py, which explains the
// protocol.
//
// SPDX-License-Identifier: GPL-3.0-or-later
'use strict';
const { promisify } = require('util');
const { binary, check, equal, env, main, password, port, rejects, sorted, tell, until } = require('./kit.js');
const { agrees, families, WRONGTYPE } = require('./families.js');

const redis = require(env.CKV_MODULE);

function connect(options) {
    const client = redis.createClient({ host: '127.0.0.1', port, password, retry_strategy: () => 20, ...options });
    client.errors = [];
    client.on('error', (error) => client.errors.push(error));
    return client;
}

// A command by its method, as a promise.
function run(client, command, ...args) {
    return promisify(client[command]).call(client, ...args);
}

function event(emitter, name) {
    return new Promise((done) => emitter.once(name, (...args) => done(args)));
}

async function emptied(client) {
    for (const db of [9, 0]) {
        await run(client, 'select', db);
        const names = await run(client, 'keys', '*');
        if (names.length) await run(client, 'del', names);
    }
}

async function one(client, [command, args, expected, before]) {
    for (const [name, rest] of before || []) await run(client, name, ...rest);
    if (expected && expected.error) return rejects(run(client, command, ...args), expected.error);
    return agrees(await run(client, command, ...args), expected, `${command} ${args.join(' ')}`);
}

async function handshake() {
    const client = connect({ db: 3 });
    await event(client, 'ready');
    equal(client.server_info.redis_version, '3.2.13', 'what its ready check read');
    equal(client.errors.length, 0);
    await run(client, 'set', 'where', 'db3');
    const other = connect({ no_ready_check: true });
    equal(await run(other, 'get', 'where'), null);
    equal(await run(other, 'select', 3), 'OK');
    equal(await run(other, 'get', 'where'), 'db3');
    equal(await run(other, 'del', 'where'), 1);
    equal(await run(client, 'quit'), 'OK');
    equal(await run(other, 'quit'), 'OK');
}

async function errorOf(options) {
    const client = connect({ ...options, retry_strategy: () => undefined });
    const answered = run(client, 'ping').then(() => 'no error', (error) => error.message);
    const said = await Promise.race([answered, event(client, 'error').then(([error]) => error.message)]);
    client.end(false);
    return said;
}

async function credentials() {
    if (password) {
        equal(await errorOf({ password: 'crs-clients:wrong' }), 'ERR invalid password');
        equal(await errorOf({ password: undefined }), 'Ready check failed: NOAUTH Authentication required.');
    } else {
        const client = connect({});
        equal(await run(client, 'auth', 'crs-clients:any'), 'OK', 'it takes "no password is set" for success');
        await run(client, 'quit');
    }
}

async function pipelines(client) {
    const batch = client.batch();
    for (let i = 0; i < 1000; i++) batch.incrby('counter', i);
    batch.lpush('counter', 'x').get('counter');
    const replies = await promisify(batch.exec).call(batch);
    equal(replies.length, 1002);
    equal(replies[999], 499500);
    equal(replies[1000].message, WRONGTYPE);
    equal(replies[1001], '499500');
    equal(await Promise.all(Array.from({ length: 50 }, (_, i) => run(client, 'echo', `e${i}`))),
        Array.from({ length: 50 }, (_, i) => `e${i}`));
}

function exec(multi) {
    return promisify(multi.exec).call(multi);
}

async function transactions(client) {
    equal(await exec(client.multi().set('t', '1').incr('t').get('t')), ['OK', 2, '2']);
    equal((await exec(client.multi().set('t', 'text').incr('t')))[1].message,
        'ERR value is not an integer or out of range');
    await rejects(exec(client.multi().set('t', '9').flushall()), /^EXECABORT Transaction discarded because of/);
    equal(await run(client, 'get', 't'), 'text');
    const other = connect({});
    await run(client, 'watch', 't');
    await run(other, 'set', 't', 'changed');
    equal(await exec(client.multi().set('t', 'mine')), null);
    equal(await run(client, 'get', 't'), 'changed');
    await run(client, 'watch', 't');
    await run(other, 'set', 't', 'again');
    equal(await run(client, 'unwatch'), 'OK');
    equal(await exec(client.multi().set('t', 'mine')), ['OK']);
    await run(other, 'quit');
}

async function pubsub(client) {
    const listener = connect({});
    const heard = [];
    listener.on('message', (channel, message) => heard.push([channel, message]));
    listener.on('pmessage', (pattern, channel, message) => heard.push([pattern, channel, message]));
    equal(await run(listener, 'subscribe', 'news', 'more'), 'more');
    equal(await run(listener, 'psubscribe', 'n*'), 'n*');
    equal(await run(client, 'publish', 'news', 'hello'), 2);
    equal(await run(client, 'publish', 'nothing', 'ünï'), 1);
    equal(await run(client, 'publish', 'silence', 'x'), 0);
    await until(() => heard.length === 3);
    equal(heard, [['news', 'hello'], ['n*', 'news', 'hello'], ['n*', 'nothing', 'ünï']]);
    equal(sorted(await run(client, 'pubsub', 'channels')), ['more', 'news']);
    equal(await run(client, 'pubsub', 'numsub', 'news', 'none'), ['news', 1, 'none', 0]);
    equal(await run(client, 'pubsub', 'numpat'), 1);
    equal(await run(listener, 'unsubscribe', 'news', 'more'), 'more');
    equal(await run(listener, 'punsubscribe', 'n*'), 'n*');
    equal(await run(listener, 'get', 'none'), null);
    await run(listener, 'quit');
}

// The elements that the cursor walk of a command gives.
async function walk(client, command, key, ...options) {
    const found = [];
    let cursor = '0';
    do {
        const [next, part] = await run(client, command, ...key, cursor, ...options);
        found.push(...part);
        cursor = next;
    } while (cursor !== '0');
    return found;
}

async function scans(client) {
    const names = Array.from({ length: 1000 }, (_, i) => `scan:${i}`);
    await run(client, 'mset', names.flatMap((name) => [name, '1']));
    await run(client, 'set', 'other', '1');
    equal(sorted(new Set(await walk(client, 'scan', [], 'MATCH', 'scan:*', 'COUNT', '50'))), sorted(names));
    await run(client, 'sadd', 'set', names);
    equal(sorted(new Set(await walk(client, 'sscan', ['set']))), sorted(names));
    await run(client, 'hmset', 'hash', Object.fromEntries(names.map((name) => [name, 'v'])));
    equal(new Set(await walk(client, 'hscan', ['hash'])).size, 1001);
    await run(client, 'zadd', 'zset', ...names.flatMap((name, i) => [i, name]));
    equal((await walk(client, 'zscan', ['zset'], 'MATCH', 'scan:99*')).length, 22);
}

async function values() {
    const client = connect({ return_buffers: true });
    const ok = Buffer.from('OK');
    equal(await run(client, 'set', binary(), binary()), ok);
    equal(await run(client, 'get', binary()), binary());
    const big = Buffer.alloc(1 << 20, 'big value ');
    equal(await run(client, 'set', 'big', big), ok);
    equal((await run(client, 'get', 'big')).equals(big), true);
    equal(await run(client, 'strlen', 'big'), 1 << 20);
    equal(await run(client, 'set', 'ключ', '值 ✓'), ok);
    equal((await run(client, 'get', 'ключ')).toString(), '值 ✓');
    await run(client, 'quit');
}

async function reconnect(client) {
    const listener = connect({});
    const heard = [];
    listener.on('message', (channel, message) => heard.push(message));
    await run(listener, 'subscribe', 'after');
    await run(client, 'select', 2);
    const gone = event(client, 'reconnecting');
    tell('kill');
    await gone;
    const waiting = run(client, 'set', 'k', 'sent while the server was away');
    const back = event(client, 'ready');
    tell('start');
    await back;
    equal(await waiting, 'OK');
    const other = connect({ db: 2 });
    equal(await run(other, 'get', 'k'), 'sent while the server was away', 'the database chosen before');
    await until(async () => await run(client, 'publish', 'after', 'heard') === 1);
    await until(() => heard.length > 0);
    equal(heard, ['heard']);
    await run(client, 'select', 0);
    await run(listener, 'quit');
    await run(other, 'quit');
}

main(async () => {
    await check('handshake, AUTH and SELECT', handshake);
    await check('wrong and missing passwords', credentials);
    const client = connect({});
    for (const [name, rows] of Object.entries(families)) {
        await check(name, async () => {
            await emptied(client);
            for (const row of rows) await one(client, row);
        });
    }
    for (const [name, body] of [['pipelines', pipelines], ['transactions', transactions], ['publish and subscribe', pubsub],
        ['scan iterators', scans], ['binary and big values', values], ['reconnects', reconnect]]) {
        await check(name, async () => {
            await emptied(client);
            await body(client);
        });
    }
    await check('quits', async () => {
        const ended = event(client, 'end');
        equal(await run(client, 'quit'), 'OK');
        await ended;
        equal(client.connected, false);
    });
});
