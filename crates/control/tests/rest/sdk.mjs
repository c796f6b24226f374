// The lifecycle methods of the published JavaScript SDK, and the routes of its command line, against
// a server that simulates its node. The packages are looked for in the folder of the first argument.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { promisify } from "node:util";

const folder = process.argv[2];
const { Sandbox } = createRequire(`${folder}/`)("e2b");

const everything = async (paginator) => {
  const found = [];
  while (paginator.hasNext) found.push(...(await paginator.nextItems()));
  return found.map((info) => info.sandboxId).sort();
};

const made = [];
for (let n = 0; n < 4; n++)
  made.push(await Sandbox.create({ timeoutMs: 120_000, metadata: { n: `${n}`, "a b": "c&d=é+%" }, envs: { X: "1" } }));
const ids = made.map((sandbox) => sandbox.sandboxId).sort();
const [first] = made;

const info = await first.getInfo();
assert.equal(info.sandboxId, first.sandboxId);
assert.equal(info.state, "running");
assert.deepEqual(info.metadata, { n: "0", "a b": "c&d=é+%" });
assert.equal(info.endAt - info.startedAt, 120_000);
assert.deepEqual(await everything(Sandbox.list()), ids);
assert.deepEqual(await everything(Sandbox.list({ limit: 3 })), ids);
assert.deepEqual(await everything(Sandbox.list({ query: { metadata: { n: "2" } } })), [made[2].sandboxId]);
assert.deepEqual(await everything(Sandbox.list({ query: { metadata: { "a b": "c&d=é+%" }, state: ["running"] } })), ids);

await first.setTimeout(600_000);
assert.equal((await first.getInfo()).endAt - info.startedAt, 600_000);
assert.notEqual(await first.pause(), false);
assert.equal(await first.pause(), false, "it is paused already");
assert.deepEqual(await everything(Sandbox.list({ query: { state: ["paused"] } })), [first.sandboxId]);
assert.equal((await Sandbox.connect(first.sandboxId)).sandboxId, first.sandboxId);
assert.equal((await first.getInfo()).state, "running");
assert.equal((await first.getMetrics())[0].cpuCount, 2);
await assert.rejects(Sandbox.create("nowhere"), /template 'nowhere' not found/);
await assert.rejects(Sandbox.connect("i00000000000000000000"));

const cli = async (...args) => {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [`${folder}/node_modules/@e2b/cli/dist/index.js`, ...args]);
  return stdout + stderr;
};
const listed = JSON.parse(await cli("sandbox", "list", "--format", "json"));
assert.deepEqual(listed.map((sandbox) => sandbox.sandboxId).sort(), ids);
assert.match(await cli("sandbox", "info", first.sandboxId), new RegExp(first.sandboxId));
assert.match(await cli("sandbox", "logs", first.sandboxId, "--format", "pretty"), /created/);
assert.match(await cli("sandbox", "metrics", first.sandboxId), /MiB|CPU/);
assert.match(await cli("sandbox", "pause", first.sandboxId), /paused/i);
assert.match(await cli("template", "list"), /base/);
assert.match(await cli("sandbox", "kill", first.sandboxId), new RegExp(first.sandboxId));

assert.equal(await first.kill(), false, "the command line killed it");
for (const sandbox of made.slice(1)) assert.equal(await Sandbox.kill(sandbox.sandboxId), true);
assert.deepEqual(await everything(Sandbox.list()), []);
