// A page of another origin that uses the platform: E2B's JavaScript client, unchanged, in a browser.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { get } from 'node:http'
import { text } from 'node:stream/consumers'
import { build } from 'esbuild'
import { atHost, origin, page, program, url } from './world.mjs'

/** The client as one script. What it needs of node alone isn't there, as in any page's bundle. */
async function client() {
  const none = {
    name: 'none',
    setup(build) {
      build.onResolve({ filter: /^node:/ }, ({ path }) => ({ path, namespace: 'none' }))
      build.onLoad({ filter: /.*/, namespace: 'none' }, () => ({ contents: 'export default {}' }))
    },
  }
  const contents = "export * from 'e2b'"
  const options = { bundle: true, format: 'esm', platform: 'browser', write: false, plugins: [none] }
  const built = await build({ ...options, stdin: { contents, resolveDir: process.cwd() } })
  return built.outputFiles[0].text
}

/** In the page: a sandbox's life. */
async function life({ url, key }) {
  const { CommandExitError, NotFoundError, Sandbox } = await import('/client.js')
  const connection = { apiKey: key, apiUrl: url, sandboxUrl: url }
  const own = await Sandbox.create({ ...connection, timeoutMs: 120_000 })
  const said = []
  const ran = await own.commands.run('echo $((6 * 7))', { onStdout: (text) => said.push(text) })
  const failed = await own.commands.run('exit 7').catch((error) => error)
  await own.files.write('a/b.txt', 'text')
  const read = await own.files.read('a/b.txt')
  const names = (await own.files.list('a')).map((entry) => entry.name)
  const missing = await own.files.read('missing').catch((error) => error)
  const killed = await own.kill()
  const gone = await Sandbox.connect(own.sandboxId, connection).catch((error) => error)
  return {
    said, out: ran.stdout, code: failed instanceof CommandExitError && failed.exitCode, read, names,
    missing: missing instanceof NotFoundError, killed, gone: gone instanceof NotFoundError,
  }
}

/** What Chromium was answered when it asked beforehand, by path. */
async function preflights(seen) {
  const answers = new Map()
  const network = await seen.context().newCDPSession(seen)
  network.on('Network.responseReceived', ({ type, response }) => {
    if (type === 'Preflight') answers.set(new URL(response.url).pathname, response.status)
  })
  await network.send('Network.enable')
  return answers
}

/** In the page: what it's told, or how it ends if it may not read that. */
async function asked([url, headers]) {
  try {
    const response = await fetch(url, { headers })
    const type = response.headers.get('content-type')
    return { status: response.status, type, text: await response.text() }
  } catch (error) {
    return error.name
  }
}

/** What a program is told that has no origin. Names below localhost are in no resolver. */
async function plain(place, headers) {
  const { host, port, pathname: path } = new URL(place)
  const request = get({ host: '127.0.0.1', port, path, headers: { ...headers, Host: host } })
  const [response] = await once(request, 'response')
  const { statusCode: status, headers: { 'content-type': type = null } } = response
  return { status, type, text: await text(response) }
}

export async function another(context, own, browser) {
  const files = {
    '/': ['text/html', '<!doctype html><title>another</title>'],
    '/client.js': ['text/javascript', await client()],
  }
  const seen = await page(browser, context)
  const questions = await preflights(seen)
  await seen.goto(await origin(context, files))
  const key = process.env.E2B_API_KEY
  assert.deepEqual(await seen.evaluate(life, { url, key }), {
    said: ['42\n'], out: '42\n', code: 7, read: 'text', names: ['b.txt'], missing: true,
    killed: true, gone: true,
  })
  for (const path of ['/v2/sandboxes', '/process.Process/Start', '/files']) {
    assert.equal(questions.get(path), 204, `${path} of ${[...questions.keys()]}`)
  }

  // A page is told what a program without an origin is told, refusals included.
  const sandbox = `${url}/sandboxes/${own.sandboxId}`
  for (const [place, headers, status] of [
    [sandbox, { 'X-API-KEY': key }, 200],
    [sandbox, { 'X-API-KEY': 'e2b_wrong' }, 401],
    [sandbox, {}, 401],
    [`${url}/sandboxes/none`, { 'X-API-KEY': key }, 404],
    [`${atHost(own, 49983)}health`, { 'X-Access-Token': 'any' }, 204],
    [`${atHost(own, 49983)}init`, {}, 404],
  ]) {
    const told = await seen.evaluate(asked, [place, headers])
    assert.equal(told.status, status, place)
    assert.deepEqual(await plain(place, headers), told)
  }

  // What other ports say is their programs' affair: this one doesn't let other pages read it.
  await program(own, context, 'exec python3 -u -m http.server 8001', /Serving HTTP/)
  assert.equal(await seen.evaluate(asked, [atHost(own, 8001), {}]), 'TypeError')
}
