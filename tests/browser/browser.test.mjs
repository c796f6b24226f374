// Programs in a sandbox, driven through the gateway by a real browser, while somebody types at a
// terminal of the same sandbox; and a page of another origin that uses the platform.

import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { another } from './origins.mjs'
import * as programs from './programs.mjs'
import * as world from './world.mjs'

/** Keys that are typed before anything else goes on. */
const AT_REST = 300

let own, browser, keys

/** How long keys took to be echoed. */
async function echoes(when) {
  const [times] = await once(keys, 'message')
  times.sort((a, b) => a - b)
  const at = (share) => times[Math.ceil(times.length * share) - 1].toFixed(1)
  console.log(`terminal, ${when}: ${times.length} keys, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`)
}

before(async () => {
  own = await world.sandbox()
  browser = await world.browser()
  for (const folder of ['venv', 'next']) await world.bring(own, folder)
  keys = new Worker(new URL('keys.mjs', import.meta.url), {
    workerData: { sandbox: own.sandboxId, rest: AT_REST },
  })
  await echoes('at rest')
})

after(async () => {
  await keys?.terminate()
  await browser?.close()
  await own?.kill()
})

test('folders and files', (context) => programs.folders(context, own, browser))
test('Jupyter at a host', (context) => programs.jupyter(context, own, browser, {
  port: 8888, at: world.atHost(own, 8888), base: '',
}))
test('Jupyter below a path', (context) => programs.jupyter(context, own, browser, {
  port: 8889, at: world.atBase(own, 8889), base: world.base(own, 8889),
}))
test('Next.js at a host', (context) => programs.next(context, own, browser, {
  port: 3001, at: world.atHost(own, 3001), base: '',
}))
test('Next.js below a path', (context) => programs.next(context, own, browser, {
  port: 3002, at: world.atBase(own, 3002), base: world.base(own, 3002),
}))
test('a page of another origin', (context) => another(context, own, browser))
test('the terminal meanwhile', async () => {
  keys.postMessage('stop')
  await echoes('while the browser worked')
})
