// ioredis.js - ioredis and iovalkey as an application uses them; run by run.py, which explains the protocol.
//
// SPDX-License-Identifier: GPL-3.0-or-later
'use strict';
const { binary, check, equal, env, main, match, password, port, rejects, sorted, tell, until } = require('./kit.js');
const { agrees, families, WRONGTYPE } = require('./families.js');

const library = require(env.CKV_MODULE);
const Redis = library.Redis || library.default || library;

const open = [];
function connect(options) {
    const client = new Redis({ host: '127.0.0.1', port, password, retryStrategy: () => 20, ...options });
    client.errors = [];
    client.on('error', (error) => client.errors.push(error));
    open.push(client);
    return client;
}

function event(emitter, name) {
    return new Promise((done) => emitter.once(name, (...args) => done(args)));
}

async function emptied(client) {
    for (const db of [9, 0]) {
        await client.select(db);
        const names = await client.keys('*');
        if (names.length) await client.del(names);
    }
}

// One row of a family: a command by its method, and the reply that it must give.
async function one(client, [command, args, expected, before]) {
    for (const [name, rest] of before || []) await client[name](...rest);
    const about = `${command} ${args.join(' ')}`;
    if (expected && expected.error) return rejects(client[command](...args), expected.error);
    const reply = await client[command](...args);
    return agrees(reply, expected, about);
}

async function handshake() {
    const client = connect({ connectionName: 'app', db: 3 });
    await event(client, 'ready');
    equal(await client.ping(), 'PONG');
    await client.set('where', 'db3');
    const other = connect({ lazyConnect: true });
    await other.connect();
    equal(await other.get('where'), null);
    await other.select(3);
    equal(await other.get('where'), 'db3');
    equal(client.errors.length, 0, 'errors while connecting');
    equal(client.status, 'ready');
    await emptied(client);
    await client.select(3);
    equal(await client.del('where'), 1);
    equal(await client.quit(), 'OK');
    equal(await other.quit(), 'OK');
}

// The client that a library makes with wrong or no credentials: the error that it reports.
async function errorOf(options) {
    const client = connect({ ...options, retryStrategy: () => null, maxRetriesPerRequest: 1 });
    const said = await client.ping().then(() => 'no error', (error) => error.message);
    const errors = [said, ...client.errors.map((error) => error.message)].join('; ');
    client.disconnect();
    return errors;
}

async function credentials() {
    if (password) {
        match(await errorOf({ password: 'crs-clients:wrong' }), /ERR invalid password/);
        match(await errorOf({ password: password.split(':')[1] }), /ERR invalid password/);
        match(await errorOf({ password: undefined }), /NOAUTH Authentication required\./);
        match(await errorOf({ username: 'crs-clients', password: password.split(':')[1] }), /ERR|NOAUTH/);
    } else {
        const client = connect({});
        await rejects(client.auth('crs-clients:any'), 'ERR Client sent AUTH, but no password is set');
        await client.quit();
    }
}

async function pipelines(client) {
    const pipeline = client.pipeline();
    for (let i = 0; i < 1000; i++) pipeline.incrby('counter', i);
    pipeline.lpush('counter', 'x').get('counter');
    const replies = await pipeline.exec();
    equal(replies.length, 1002);
    equal(replies[999], [null, 499500]);
    equal(replies[1000][0].message, WRONGTYPE);
    equal(replies[1001], [null, '499500']);
    const auto = connect({ enableAutoPipelining: true });
    equal(await Promise.all(Array.from({ length: 50 }, (_, i) => auto.echo(`e${i}`))),
        Array.from({ length: 50 }, (_, i) => `e${i}`));
    await auto.quit();
}

async function transactions(client) {
    equal(await client.multi().set('t', '1').incr('t').get('t').exec(), [[null, 'OK'], [null, 2], [null, '2']]);
    await client.multi({ pipeline: false });
    equal(await client.set('t', '5'), 'QUEUED');
    equal(await client.discard(), 'OK');
    equal(await client.get('t'), '2');
    const mixed = await client.multi().set('t', 'text').incr('t').exec();
    equal(mixed[1][0].message, 'ERR value is not an integer or out of range');
    await rejects(client.multi().set('t', '9').flushall().exec(),
        'EXECABORT Transaction discarded because of previous errors.');
    equal(await client.get('t'), 'text');
    const other = connect({});
    await client.watch('t');
    await other.set('t', 'changed');
    equal(await client.multi().set('t', 'mine').exec(), null);
    equal(await client.get('t'), 'changed');
    await client.watch('t');
    await other.set('t', 'again');
    equal(await client.unwatch(), 'OK');
    equal(await client.multi().set('t', 'mine').exec(), [[null, 'OK']]);
    await other.quit();
}

async function pubsub(client) {
    const listener = connect({});
    const heard = [];
    listener.on('message', (channel, message) => heard.push([channel, message]));
    listener.on('pmessage', (pattern, channel, message) => heard.push([pattern, channel, message]));
    listener.on('pmessageBuffer', (pattern, channel, message) => heard.push(message));
    equal(await listener.subscribe('news', 'more'), 2);
    equal(await listener.psubscribe('n*'), 3);
    equal(await client.publish('news', 'hello'), 2);
    equal(await client.publish('nothing', Buffer.from([0, 255])), 1);
    equal(await client.publish('silence', 'x'), 0);
    await until(() => heard.length === 5);
    equal(heard.slice(0, 3), [['news', 'hello'], ['n*', 'news', 'hello'], Buffer.from('hello')]);
    equal(heard[4], Buffer.from([0, 255]));
    equal(sorted(await client.pubsub('CHANNELS')), ['more', 'news']);
    equal(await client.pubsub('NUMSUB', 'news', 'none'), ['news', 1, 'none', 0]);
    equal(await client.pubsub('NUMPAT'), 1);
    await rejects(listener.get('k'), /subscriber mode/);
    equal(await listener.unsubscribe('news', 'more'), 1);
    equal(await listener.punsubscribe('n*'), 0);
    equal(await listener.get('none'), null);
    await listener.quit();
}

function streamed(stream) {
    return new Promise((done, failed) => {
        const all = [];
        stream.on('data', (part) => all.push(...part));
        stream.on('end', () => done(all));
        stream.on('error', failed);
    });
}

async function scans(client) {
    const names = Array.from({ length: 1000 }, (_, i) => `scan:${i}`);
    await client.mset(names.flatMap((name) => [name, '1']));
    await client.set('other', '1');
    equal(sorted(new Set(await streamed(client.scanStream({ match: 'scan:*', count: 50 })))), sorted(names));
    await client.sadd('set', names);
    equal(sorted(new Set(await streamed(client.sscanStream('set', { count: 100 })))), sorted(names));
    await client.hmset('hash', new Map(names.map((name) => [name, 'v'])));
    equal(new Set(await streamed(client.hscanStream('hash'))).size, 1001);
    await client.zadd('zset', ...names.flatMap((name, i) => [i, name]));
    equal((await streamed(client.zscanStream('zset', { match: 'scan:99*' }))).length, 22);
}

async function values(client) {
    equal(await client.set(binary(), binary()), 'OK');
    equal(await client.getBuffer(binary()), binary());
    equal(await client.set('ключ', '值 ✓'), 'OK');
    equal(await client.get('ключ'), '值 ✓');
    const big = Buffer.alloc(1 << 20, 'big value ');
    equal(await client.set('big', big), 'OK');
    equal((await client.getBuffer('big')).equals(big), true);
    equal(await client.strlen('big'), 1 << 20);
    equal((await client.hmset('bighash', { a: big, b: '' })), 'OK');
    equal((await client.hgetallBuffer('bighash')).a.equals(big), true);
}

async function reconnect(client) {
    const listener = connect({});
    const heard = [];
    listener.on('message', (channel, message) => heard.push(message));
    await listener.subscribe('after');
    await client.select(2);
    const gone = event(client, 'close');
    tell('kill');
    await gone;
    const waiting = client.set('k', 'sent while the server was away');
    const back = event(client, 'ready');
    tell('start');
    await back;
    equal(await waiting, 'OK');
    equal(await client.get('k'), 'sent while the server was away');
    const other = connect({ db: 2 });
    equal(await other.get('k'), 'sent while the server was away', 'the database chosen before');
    await until(async () => await client.publish('after', 'heard') === 1);
    await until(() => heard.length > 0);
    equal(heard, ['heard']);
    await client.select(0);
    await listener.quit();
    await other.quit();
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
        equal(await client.quit(), 'OK');
        await ended;
        equal(client.status, 'end');
    });
    open.forEach((one_) => one_.disconnect());
});
