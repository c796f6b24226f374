// Somebody who types: in a thread of its own, since what is measured is the terminal's patience and
// not that of a process which drives a browser.

import { once } from 'node:events'
import { parentPort, workerData } from 'node:worker_threads'
import { Sandbox } from 'e2b'

/** Milliseconds between a key's echo and the next key. */
const PAUSE = 10
/** Keys that are typed before it's looked whether that was all. */
const BURST = 10

const own = await Sandbox.connect(workerData.sandbox)
let heard = () => {}
const terminal = await own.pty.create({
  cols: 80, rows: 24, timeoutMs: 0, onData: (data) => heard(data),
})

/** Milliseconds from these keys to what they make appear. */
async function typed(keys, appears) {
  let said = ''
  const seen = new Promise((resolve) => {
    heard = (data) => {
      said += new TextDecoder().decode(data)
      if (said.includes(appears)) resolve()
    }
  })
  const began = performance.now()
  await own.pty.sendInput(terminal.pid, new TextEncoder().encode(keys))
  await seen
  return performance.now() - began
}

// The terminal itself echoes, no program: its lines are read by one that has nothing to say.
await typed('echo rea""dy; exec cat >/dev/null\n', 'ready')

/** Types so many keys, and says how long each took. */
async function type(keys) {
  const times = []
  for (let key = 1; key <= keys; key++) {
    // A line that is never sent would be full one day.
    times.push(await (key % 64 === 0 ? typed('\n', '\n') : typed('a', 'a')))
    await new Promise((resolve) => setTimeout(resolve, PAUSE))
  }
  return times
}

let stopped = false
parentPort.on('message', () => { stopped = true })
parentPort.postMessage(await type(workerData.rest))
const times = []
while (!stopped) times.push(...await type(BURST))
parentPort.postMessage(times)
await own.pty.kill(terminal.pid)
parentPort.close()
