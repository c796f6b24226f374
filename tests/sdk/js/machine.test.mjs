// The published JavaScript SDK, unchanged, against sandboxes that are virtual machines: what only
// those can do.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Sandbox } from 'e2b'

const BOOT_ID = 'cat /proc/sys/kernel/random/boot_id'
const COUNT = 'n=0; while sleep 0.1; do n=$((n+1)); echo $n > /tmp/n; done'

async function sandbox(context, ...template) {
  const own = await Sandbox.create(...template, { timeoutMs: 600_000 })
  context.after(() => own.kill())
  return own
}

async function said(own, script) {
  return (await own.commands.run(script)).stdout.trim()
}

async function goesOn(own) {
  const counted = async () => Number(await said(own, 'until test -s /tmp/n; do sleep 0.1; done; cat /tmp/n'))
  const before = await counted()
  const end = Date.now() + 60_000
  while ((await counted()) <= before) assert.ok(Date.now() < end)
}

test('a pause keeps all', async (context) => {
  const own = await sandbox(context)
  await own.commands.run(COUNT, { background: true })
  const boot = await said(own, BOOT_ID)
  assert.equal(await own.pause(), true)
  assert.equal(await own.isRunning(), false)
  const again = await Sandbox.connect(own.sandboxId, { timeoutMs: 600_000 })
  assert.equal(await said(again, BOOT_ID), boot)
  await goesOn(again)
  const clock = Number(await said(again, 'date +%s')) * 1000
  assert.ok(Math.abs(clock - Date.now()) < 20_000)
})

test('snapshots and forks go on', async (context) => {
  const own = await sandbox(context)
  await own.commands.run(COUNT, { background: true })
  await own.files.write('file', 'before')
  const boot = await said(own, BOOT_ID)
  const snapshot = await own.createSnapshot({ name: 'of-js' })
  context.after(() => Sandbox.deleteSnapshot(snapshot.snapshotId))
  await own.files.write('file', 'after')
  const other = await sandbox(context, snapshot.snapshotId)
  assert.equal(await other.files.read('file'), 'before')
  const forks = await own.fork({ count: 2, timeoutMs: 600_000 })
  for (const fork of forks) {
    assert.ok(fork instanceof Sandbox, String(fork))
    context.after(() => fork.kill())
    assert.equal(await fork.files.read('file'), 'after')
  }
  for (const one of [own, other, ...forks]) {
    assert.equal(await said(one, BOOT_ID), boot)
    await goesOn(one)
  }
})
