// The published JavaScript SDK, unchanged, against a server.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { CommandExitError, NotFoundError, Sandbox } from 'e2b'

async function sandbox(context, wish = {}) {
  const own = await Sandbox.create({ timeoutMs: 120_000, ...wish })
  context.after(() => own.kill())
  return own
}

describe('lifecycle', () => {
  test('create, list, pause, connect, kill', async (context) => {
    const own = await sandbox(context, { metadata: { of: 'js' }, envs: { COLOUR: 'green' } })
    assert.equal((await own.commands.run('echo $COLOUR')).stdout, 'green\n')
    assert.equal(await own.isRunning(), true)
    await own.setTimeout(200_000)
    assert.deepEqual((await own.getInfo()).metadata, { of: 'js' })
    const pages = Sandbox.list({ query: { metadata: { of: 'js' } } })
    const found = await pages.nextItems()
    assert.deepEqual(found.map((item) => item.sandboxId), [own.sandboxId])
    await own.pause()
    const again = await Sandbox.connect(own.sandboxId)
    assert.equal((await again.commands.run('echo again')).stdout, 'again\n')
    assert.ok(Array.isArray(await own.getMetrics()))
    assert.equal(await own.kill(), true)
    assert.equal(await own.isRunning(), false)
  })
})

describe('in a sandbox', () => {
  let own
  before(async () => { own = await Sandbox.create({ timeoutMs: 300_000 }) })
  after(() => own.kill())

  test('commands', async () => {
    await assert.rejects(own.commands.run('exit 7'), (error) => {
      assert.ok(error instanceof CommandExitError)
      assert.equal(error.exitCode, 7)
      return true
    })
    let heard = ''
    await own.commands.run('seq 3; echo e >&2', { onStdout: (text) => { heard += text } })
    assert.equal(heard, '1\n2\n3\n')
    const cat = await own.commands.run('cat', { background: true, stdin: true })
    await own.commands.sendStdin(cat.pid, 'typed')
    await own.commands.closeStdin(cat.pid)
    assert.equal((await cat.wait()).stdout, 'typed')
  })

  test('background, list, kill', async () => {
    const slow = await own.commands.run('sleep 60', { background: true })
    const list = await own.commands.list()
    assert.ok(list.some((item) => item.pid === slow.pid))
    assert.equal(await own.commands.kill(slow.pid), true)
    await assert.rejects(slow.wait())
  })

  test('terminal', async () => {
    let said = ''
    let tell
    const heard = new Promise((resolve) => { tell = resolve })
    const shell = await own.pty.create({
      cols: 100,
      rows: 30,
      onData: (data) => {
        said += new TextDecoder().decode(data)
        if (said.includes('42')) tell()
      },
    })
    await own.pty.sendInput(shell.pid, new TextEncoder().encode('echo $((6 * 7))\n'))
    await heard
    await own.pty.resize(shell.pid, { cols: 120, rows: 40 })
    assert.equal(await own.pty.kill(shell.pid), true)
  })

  test('files', async () => {
    await own.files.write('a/b.txt', 'text')
    assert.equal(await own.files.read('a/b.txt'), 'text')
    const bytes = new Uint8Array(100_000).map((_, n) => n % 251)
    await own.files.write('bytes', bytes.buffer)
    assert.deepEqual(await own.files.read('bytes', { format: 'bytes' }), bytes)
    assert.deepEqual((await own.files.list('a')).map((item) => item.name), ['b.txt'])
    assert.equal(await own.files.makeDir('c/d'), true)
    assert.equal(await own.files.makeDir('c/d'), false)
    await own.files.rename('a/b.txt', 'c/d/e.txt')
    assert.equal((await own.files.getInfo('c/d/e.txt')).size, 4)
    await own.files.remove('c')
    assert.equal(await own.files.exists('c'), false)
    await assert.rejects(own.files.read('missing'), NotFoundError)
  })

  test('watch', async () => {
    await own.files.makeDir('watched')
    const names = new Set()
    let tell
    const seen = new Promise((resolve) => { tell = resolve })
    const handle = await own.files.watchDir('watched', (event) => {
      names.add(event.name)
      if (names.has('new') && names.has('deep/er')) tell()
    }, { recursive: true })
    await own.files.write('watched/new', 'x')
    await own.files.write('watched/deep/er', 'x')
    await seen
    await handle.stop()
  })

  test('a server inside', async () => {
    let tell
    const listening = new Promise((resolve) => { tell = resolve })
    const server = await own.commands.run('python3 -u -m http.server 8000', {
      background: true,
      onStdout: (text) => { if (text.includes('Serving')) tell() },
    })
    await listening
    // By its host where there is a domain, else by headers.
    const url = process.env.E2B_SANDBOX_URL
    const headers = { 'E2b-Sandbox-Id': own.sandboxId, 'E2b-Sandbox-Port': '8000' }
    const response = url
      ? await fetch(url, { headers })
      : await fetch(`https://${own.getHost(8000)}/`)
    assert.equal(response.status, 200)
    await server.kill()
  })

  test('signed urls', async () => {
    const upload = await own.uploadUrl('signed.txt', { useSignatureExpiration: 60 })
    const form = new FormData()
    form.append('file', new Blob(['signed']), 'signed.txt')
    assert.equal((await fetch(upload, { method: 'POST', body: form })).status, 200)
    const response = await fetch(await own.downloadUrl('signed.txt'))
    assert.equal(await response.text(), 'signed')
  })
})
