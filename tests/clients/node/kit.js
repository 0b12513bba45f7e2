// kit.js - what the scripts of the npm clients share: the protocol of run.py (see there), counted assertions, checks.
//
// SPDX-License-Identifier: GPL-3.0-or-later
'use strict';
const assert = require('assert');
const fs = require('fs');
const util = require('util');

const env = process.env;
const port = Number(env.CKV_PORT);
const password = env.CKV_PASSWORD || undefined;
const CHECK_MS_MAX = 20000;
const WHY_LENGTH_MAX = 500;
let count = 0;

// Prints a line and waits for run.py's `go`; nothing else runs meanwhile.
function tell(line) {
    fs.writeSync(1, line.replace(/\n/g, ' ') + '\n');
    const byte = Buffer.alloc(1);
    do {
        if (fs.readSync(0, byte, 0, 1) === 0) process.exit(3);
    } while (byte[0] !== 10);
}

function equal(actual, expected, about) {
    count++;
    if (util.isDeepStrictEqual(actual, expected)) return;
    const why = `${JSON.stringify(actual)} is not ${JSON.stringify(expected)}`;
    throw new assert.AssertionError({ message: (about ? `${about}: ` : '') + why.slice(0, WHY_LENGTH_MAX) });
}

function match(actual, pattern) {
    count++;
    assert.match(actual, pattern);
}

// The promise must be rejected with this text (a string, or a pattern).
async function rejects(promise, text) {
    count++;
    const said = await Promise.resolve(promise).then((reply) => `no error but ${JSON.stringify(reply)}`,
        (error) => error.message);
    if (text instanceof RegExp) assert.match(said, text);
    else assert.strictEqual(said, text, `the error is ${said.slice(0, WHY_LENGTH_MAX)}, not ${text}`);
}

function late(name) {
    let timer;
    const promise = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`${name} took over ${CHECK_MS_MAX} ms`)), CHECK_MS_MAX);
    });
    return { promise, stop: () => clearTimeout(timer) };
}

async function check(name, body) {
    count = 0;
    const limit = late(name);
    try {
        await Promise.race([body(), limit.promise]);
        tell(`ok ${count} ${name}`);
    } catch (error) {
        tell(`not ok ${count} ${name}: ${error.message} ${String(error.stack).split('\n').slice(1, 4).join(' ')}`);
    } finally {
        limit.stop();
    }
}

// Waits until the condition holds; the check's own limit ends the wait.
async function until(condition) {
    while (!await condition()) await new Promise((done) => setTimeout(done, 5));
}

function sorted(list) {
    return [...list].sort();
}

// Sets every byte, so that a client that took it for text would change it.
function binary() {
    return Buffer.from(Array.from({ length: 256 }, (_, i) => i));
}

async function main(body) {
    tell(`version ${require(env.CKV_MODULE + '/package.json').version}`);
    process.on('unhandledRejection', (error) => {
        console.error(`unhandled: ${error && error.stack}`);
        process.exit(4);
    });
    await body();
    process.exit(0);
}

module.exports = { binary, check, equal, env, main, match, password, port, rejects, sorted, tell, until };
