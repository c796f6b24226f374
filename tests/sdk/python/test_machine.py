"""The published Python SDK, unchanged, against sandboxes that are virtual machines: what only those
can do."""

import time
import unittest

from e2b import NotFoundException, PtySize, Sandbox

BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
COUNT = "n=0; while sleep 0.1; do n=$((n+1)); echo $n > /tmp/n; done"


def sandbox(case, *template, **wish):
    made = Sandbox.create(*template, timeout=600, **wish)
    case.addCleanup(made.kill)
    return made


def said(own, script):
    return own.commands.run(script).stdout.strip()


def counted(own):
    return int(said(own, "until test -s /tmp/n; do sleep 0.1; done; cat /tmp/n"))


class Machine(unittest.TestCase):
    def goes_on(self, own):
        """What counts in it goes on counting."""
        before, end = counted(own), time.monotonic() + 60
        while counted(own) <= before:
            self.assertLess(time.monotonic(), end)

    def assert_clock(self, own):
        self.assertAlmostEqual(float(said(own, "date +%s.%N")), time.time(), delta=20)

    def test_a_pause_keeps_all(self):
        own = sandbox(self, envs={"COLOUR": "green"})
        counting = own.commands.run(COUNT, background=True)
        terminal = own.pty.create(PtySize(rows=30, cols=100))
        own.pty.send_stdin(terminal.pid, b"MINE=yes\n")
        own.files.write("kept.txt", "kept")
        boot = said(own, BOOT_ID)
        self.assertTrue(own.pause())
        self.assertFalse(own.is_running())
        self.assertFalse(own.pause())
        stopped = time.monotonic()
        own = Sandbox.connect(own.sandbox_id, timeout=600)
        self.addCleanup(own.kill)
        self.assertEqual(said(own, BOOT_ID), boot)
        self.assertEqual(own.files.read("kept.txt"), "kept")
        self.assertEqual(said(own, "echo $COLOUR"), "green")
        self.assert_clock(own)
        self.goes_on(own)
        self.assertIn(counting.pid, [item.pid for item in own.commands.list()])
        # The terminal is there still, and what was typed into it.
        heard = []
        again = own.pty.connect(terminal.pid)
        own.pty.send_stdin(terminal.pid, b"echo it is $MINE; stty size\n")
        for _, _, data in again:
            heard.append(bytes(data))
            text = b"".join(heard)
            if b"it is yes" in text and b"30 100" in text:
                break
        self.assertLess(time.monotonic() - stopped, 300)
        self.assertTrue(own.commands.kill(counting.pid))

    def test_a_pause_of_files_alone(self):
        own = sandbox(self, envs={"COLOUR": "green"})
        own.commands.run(COUNT, background=True)
        counted(own)
        own.files.write("kept.txt", "kept")
        boot = said(own, BOOT_ID)
        own.pause(mode="filesystem")
        own = Sandbox.connect(own.sandbox_id, timeout=600)
        self.addCleanup(own.kill)
        self.assertNotEqual(said(own, BOOT_ID), boot)
        self.assertEqual(own.files.read("kept.txt"), "kept")
        self.assertEqual(said(own, "echo $COLOUR; test -e /tmp/n || echo none"), "green\nnone")
        self.assert_clock(own)

    def test_a_snapshot(self):
        own = sandbox(self)
        own.commands.run(COUNT, background=True)
        own.files.write("file", "before")
        boot = said(own, BOOT_ID)
        written = own.create_snapshot(name="of-machine")
        self.addCleanup(Sandbox.delete_snapshot, written.snapshot_id)
        self.assertEqual(written.names, ["of-machine"])
        own.files.write("file", "after")
        self.goes_on(own)
        for reference in (written.snapshot_id, "of-machine"):
            other = sandbox(self, reference, envs={"COLOUR": "red"})
            self.assertEqual(other.files.read("file"), "before")
            self.assertEqual(said(other, BOOT_ID), boot)
            self.assertEqual(said(other, "echo $COLOUR $E2B_SANDBOX_ID"), f"red {other.sandbox_id}")
            self.goes_on(other)
            self.assert_clock(other)
        self.assertEqual(own.files.read("file"), "after")
        listed = own.list_snapshots().next_items()
        self.assertEqual([item.snapshot_id for item in listed], [written.snapshot_id])
        self.assertTrue(Sandbox.delete_snapshot(written.snapshot_id))
        self.assertFalse(Sandbox.delete_snapshot(written.snapshot_id))
        with self.assertRaises((NotFoundException, Exception)) as raised:
            Sandbox.create(written.snapshot_id)
        self.assertIn(written.snapshot_id, str(raised.exception))

    def test_a_snapshot_of_files_alone(self):
        own = sandbox(self)
        own.commands.run(COUNT, background=True)
        own.files.write("file", "before")
        written = own.create_snapshot(mode="filesystem")
        self.addCleanup(Sandbox.delete_snapshot, written.snapshot_id)
        self.goes_on(own)
        other = sandbox(self, written.snapshot_id)
        self.assertEqual(other.files.read("file"), "before")
        self.assertNotEqual(said(other, BOOT_ID), said(own, BOOT_ID))
        self.assertEqual(said(other, "test -e /tmp/n || echo none"), "none")

    def test_forks_are_alive(self):
        own = sandbox(self)
        own.commands.run(COUNT, background=True)
        terminal = own.pty.create(PtySize(rows=30, cols=100))
        own.pty.send_stdin(terminal.pid, b"MINE=yes\n")
        boot = said(own, BOOT_ID)
        forks = own.fork(count=3, timeout=600)
        for fork in forks:
            self.assertIsInstance(fork, Sandbox)
            self.addCleanup(fork.kill)
        self.assertEqual(len({fork.sandbox_id for fork in forks} | {own.sandbox_id}), 4)
        for number, fork in enumerate(forks):
            self.assertEqual(said(fork, BOOT_ID), boot)
            self.goes_on(fork)
            self.assert_clock(fork)
            fork.files.write("number", str(number))
            heard = []
            again = fork.pty.connect(terminal.pid)
            fork.pty.send_stdin(terminal.pid, b"echo it is $MINE\n")
            for _, _, data in again:
                heard.append(bytes(data))
                if b"it is yes" in b"".join(heard):
                    break
        self.assertEqual([fork.files.read("number") for fork in forks], ["0", "1", "2"])
        drawn = {said(one, "cat /proc/sys/kernel/random/uuid") for one in [own, *forks]}
        self.assertEqual(len(drawn), 4)
        self.assertFalse(own.files.exists("number"))
        self.goes_on(own)

    def test_a_request_wakes_it(self):
        own = sandbox(self, lifecycle={"on_timeout": "pause", "auto_resume": True})
        own.files.write("file", "kept")
        boot = said(own, BOOT_ID)
        own.pause()
        self.assertEqual(said(own, BOOT_ID), boot)
        self.assertEqual(own.files.read("file"), "kept")


if __name__ == "__main__":
    unittest.main()
