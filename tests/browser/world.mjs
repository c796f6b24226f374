// A sandbox with programs that listen in it, a browser, and the ways from one to the other.

import { once } from 'node:events'
import { openAsBlob } from 'node:fs'
import { createServer } from 'node:http'
import { Sandbox } from 'e2b'
import { chromium } from 'playwright-core'

/** Longer than anything takes on a slow machine. */
export const PATIENCE = 90_000
const server = new URL(process.env.E2B_SANDBOX_URL)
/** By a name that is a browser's own, and that Next.js takes for a developer's. */
export const url = `http://localhost:${server.port}`

const resources = { memoryMB: 4096, diskMB: 3072 }
/** Characters that are kept of what a program says. */
const MOST_SAID = 16_384
const flags = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
]

/** Debian's Chromium. It sends names below `localhost` to loopback by itself. */
export const browser = () => chromium.launch({ executablePath: '/usr/bin/chromium', args: flags })

/** A page in a profile of its own; it ends with the test. */
export async function page(of, context) {
  const profile = await of.newContext()
  context.after(() => profile.close())
  profile.setDefaultTimeout(PATIENCE)
  return profile.newPage()
}

/** A sandbox with room for what is brought into it, as E2B's clients can't ask for. */
export async function sandbox() {
  const response = await fetch(new URL('/sandboxes', process.env.E2B_API_URL), {
    method: 'POST',
    headers: { 'X-API-KEY': process.env.E2B_API_KEY, 'Content-Type': 'application/json' },
    body: JSON.stringify({ templateID: 'base', timeout: 1800, casemate: { resources } }),
  })
  if (!response.ok) throw new Error(await response.text())
  return Sandbox.connect((await response.json()).sandboxID)
}

/** Unpacks an archive of this machine's in a new folder of the sandbox's home. */
export async function bring(own, folder) {
  const archive = `${folder}.tar`
  await own.files.write(archive, await openAsBlob(archive))
  const unpack = `mkdir ${folder} && tar -xf ${archive} -C ${folder} && rm ${archive}`
  await own.commands.run(unpack, { timeoutMs: PATIENCE })
}

/** Where a browser finds a port: at a host of its own, and below a path of the server's. */
export const atHost = (own, port) => `http://${port}-${own.sandboxId}.localhost:${server.port}/`
export const atPath = (own, port) => `${url}/proxy/${own.sandboxId}/${port}/`
/** The same for a program that is told the path, and what it's told. */
export const base = (own, port) => `/proxy/absolute/${own.sandboxId}/${port}`
export const atBase = (own, port) => `${url}${base(own, port)}/`

/** A program inside, once it has said that it's ready; it ends with the test. */
export async function program(own, context, command, ready, options = {}) {
  let said = ''
  let tell
  const heard = new Promise((resolve) => { tell = resolve })
  const listen = (text) => {
    said = (said + text).slice(-MOST_SAID)
    if (ready.test(said)) tell()
  }
  const running = await own.commands.run(command, {
    ...options, background: true, timeoutMs: 0, onStdout: listen, onStderr: listen,
  })
  const ended = running.wait().catch((error) => error)
  context.after(async () => {
    // Its children, too.
    await own.commands.run(`kill -KILL -- -${running.pid}`)
    await ended
    context.diagnostic(said)
  })
  await Promise.race([heard, ended.then((how) => { throw new Error(`${command}: ${how}\n${said}`) })])
}

/** A page's own server: an origin that is nobody else's. */
export async function origin(context, files) {
  const http = createServer((request, response) => {
    const [type, text] = files[request.url] ?? ['text/plain', '']
    response.setHeader('Content-Type', type)
    response.end(text)
  })
  await once(http.listen(0, '127.0.0.1'), 'listening')
  context.after(() => {
    http.closeAllConnections()
    http.close()
  })
  return `http://127.0.0.1:${http.address().port}/`
}
