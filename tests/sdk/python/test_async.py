"""The published Python SDK, unchanged, against a server: the asynchronous half."""

import asyncio
import unittest

from e2b import AsyncSandbox, CommandExitException, PtySize, SandboxQuery, SandboxState


class Sandboxes(unittest.IsolatedAsyncioTestCase):
    async def sandbox(self, **wish):
        own = await AsyncSandbox.create(timeout=120, **wish)
        self.addAsyncCleanup(self.end, own)
        return own

    async def end(self, own):
        await own.kill()

    async def test_lifecycle(self):
        own = await self.sandbox(metadata={"of": "async"})
        self.assertTrue(await own.is_running())
        await own.set_timeout(200)
        info = await own.get_info()
        self.assertEqual(info.metadata, {"of": "async"})
        query = SandboxQuery(metadata={"of": "async"}, state=[SandboxState.RUNNING])
        found = await AsyncSandbox.list(query=query).next_items()
        self.assertEqual([item.sandbox_id for item in found], [own.sandbox_id])
        await own.pause()
        again = await AsyncSandbox.connect(own.sandbox_id)
        self.assertEqual((await again.commands.run("echo again")).stdout, "again\n")
        self.assertIsInstance(await own.get_metrics(), list)
        self.assertTrue(await own.kill())

    async def test_commands(self):
        own = await self.sandbox()
        with self.assertRaises(CommandExitException):
            await own.commands.run("exit 1")
        many = await asyncio.gather(*(own.commands.run(f"echo {n}") for n in range(20)))
        self.assertEqual([result.stdout for result in many], [f"{n}\n" for n in range(20)])
        heard = []
        await own.commands.run("seq 3", on_stdout=heard.append)
        self.assertEqual("".join(heard), "1\n2\n3\n")
        cat = await own.commands.run("cat", background=True, stdin=True)
        await own.commands.send_stdin(cat.pid, "typed")
        await own.commands.close_stdin(cat.pid)
        self.assertEqual((await cat.wait()).stdout, "typed")

    async def test_terminal(self):
        own = await self.sandbox()
        said = []
        heard = asyncio.Event()

        def listen(data):
            said.append(bytes(data))
            if b"42" in b"".join(said):
                heard.set()

        shell = await own.pty.create(PtySize(rows=24, cols=80), on_data=listen)
        await own.pty.send_stdin(shell.pid, b"echo $((6 * 7))\n")
        await asyncio.wait_for(heard.wait(), 20)
        self.assertTrue(await own.pty.kill(shell.pid))

    async def test_files(self):
        own = await self.sandbox()
        await own.files.write("a/b.txt", "text")
        self.assertEqual(await own.files.read("a/b.txt"), "text")
        self.assertTrue(await own.files.exists("a"))
        self.assertEqual([item.name for item in await own.files.list("a")], ["b.txt"])
        await own.files.rename("a/b.txt", "a/c.txt")
        self.assertEqual((await own.files.get_info("a/c.txt")).size, 4)
        await own.files.remove("a")
        self.assertFalse(await own.files.exists("a"))

    async def test_watch(self):
        own = await self.sandbox()
        await own.files.make_dir("watched")
        seen, names = asyncio.Event(), set()

        def notice(event):
            names.add(event.name)
            if {"new", "deep/er"} <= names:
                seen.set()

        handle = await own.files.watch_dir("watched", on_event=notice, recursive=True)
        await own.files.write("watched/new", "x")
        await own.files.write("watched/deep/er", "x")
        await asyncio.wait_for(seen.wait(), 20)
        await handle.stop()


if __name__ == "__main__":
    unittest.main()
