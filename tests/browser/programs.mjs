// What people do with programs in a sandbox: look at files, run a notebook, change a page.

import assert from 'node:assert/strict'
import { atHost, atPath, page, program } from './world.mjs'

export async function folders(context, own, browser) {
  await own.files.write('site/a folder/b.txt', 'found')
  const command = 'exec python3 -u -m http.server 8000 --directory site'
  await program(own, context, command, /Serving HTTP/)
  const seen = await page(browser, context)
  for (const at of [atHost(own, 8000), atPath(own, 8000)]) {
    const listing = await seen.goto(`${at}a%20folder`)
    assert.equal(seen.url(), `${at}a%20folder/`)
    const moved = listing.request().redirectedFrom()
    assert.equal(moved.url(), `${at}a%20folder`)
    assert.equal(moved.redirectedFrom(), null)
    await seen.getByRole('link', { name: 'b.txt' }).click()
    await seen.getByText('found').waitFor()
    assert.equal(seen.url(), `${at}a%20folder/b.txt`)
    await seen.goto(at)
    await seen.getByRole('link', { name: 'a folder/' }).click()
    await seen.getByRole('link', { name: 'b.txt' }).waitFor()
    assert.equal(seen.url(), `${at}a%20folder/`)
  }
  // Without its last slash, too, a port's folder is found.
  await seen.goto(atPath(own, 8000).slice(0, -1))
  assert.equal(seen.url(), atPath(own, 8000))
}

const notebook = {
  cells: [
    { cell_type: 'code', id: 'only', execution_count: null, metadata: {}, outputs: [], source: '' },
  ],
  metadata: { kernelspec: { name: 'python3', display_name: 'Python 3', language: 'python' } },
  nbformat: 4,
  nbformat_minor: 5,
}

export async function jupyter(context, own, browser, { port, at, base }) {
  await own.files.write('notebooks/a.ipynb', JSON.stringify(notebook))
  // At all addresses: otherwise Jupyter takes no host but localhost for its own.
  const command = `exec venv/bin/python -m notebook --no-browser --ip=0.0.0.0 --port=${port} \
    --IdentityProvider.token=secret --ServerApp.root_dir=notebooks --ServerApp.base_url=${base}/`
  await program(own, context, command, /is running at/)
  const seen = await page(browser, context)
  const sockets = []
  seen.on('websocket', (socket) => sockets.push(socket.url()))
  await seen.goto(`${at}notebooks/a.ipynb?token=secret`)
  await seen.locator('.jp-Cell .cm-content').first().click()
  await seen.keyboard.type('import os; print("it is", 6 * 7, "in", os.uname().nodename)')
  await seen.keyboard.press('Shift+Enter')
  const name = (await own.commands.run('uname -n')).stdout
  const output = seen.locator('.jp-OutputArea-output', { hasText: 'it is' })
  await output.waitFor()
  assert.equal(await output.textContent(), `it is 42 in ${name}`)
  const kernels = at.replace('http', 'ws') + 'api/kernels/'
  const channels = (url) => url.startsWith(kernels) && url.includes('/channels')
  assert.ok(sockets.some(channels), sockets.join(' '))
}

const component = (text) => `'use client'
import { useEffect, useState } from 'react'

export default function Page() {
  const [listens, setListens] = useState(false)
  const [clicks, setClicks] = useState(0)
  useEffect(() => setListens(true), [])
  const click = () => setClicks(clicks + 1)
  return <main><h1>${text}</h1><button disabled={!listens} onClick={click}>{clicks}</button></main>
}
`

const layout = `export default function Layout({ children }) {
  return <html><body>{children}</body></html>
}
`

export async function next(context, own, browser, { port, at, base }) {
  await own.files.write('next/next.config.mjs', `export default { basePath: '${base}' }\n`)
  await own.files.write('next/app/layout.js', layout)
  await own.files.write('next/app/page.js', component('as it was'))
  const command = `exec node_modules/.bin/next dev --port ${port}`
  const envs = { NEXT_TELEMETRY_DISABLED: '1' }
  await program(own, context, command, /Ready in/, { cwd: '/home/user/next', envs })
  const seen = await page(browser, context)
  // With a basePath it has no page at the path with a slash, and says where it is.
  await seen.goto(base ? at.slice(0, -1) : at)
  await seen.getByRole('heading', { name: 'as it was' }).waitFor()
  await seen.locator('main button').click()
  await seen.locator('main button', { hasText: '1' }).waitFor()
  await seen.evaluate(() => { window.survivor = 'here' })
  // Whoever saves before the dev server knows what the page is made of, saves again.
  const changed = seen.getByRole('heading', { name: 'as it is' })
  let saved = 0
  do {
    assert.ok(++saved < 10, 'the page changes')
    await own.files.write('next/app/page.js', `${component('as it is')}// ${saved}\n`)
  } while (!await changed.waitFor({ timeout: 10_000 }).then(() => true, () => false))
  context.diagnostic(`saved ${saved} times`)
  // The page wasn't loaded again: neither its variable nor its component's state is lost.
  assert.equal(await seen.evaluate(() => window.survivor), 'here')
  assert.equal(await seen.locator('main button').textContent(), '1')
}
