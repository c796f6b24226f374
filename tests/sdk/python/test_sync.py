"""The published Python SDK, unchanged, against a server: the synchronous half."""

import os
import threading
import time
import unittest
import urllib.error
import urllib.request

import e2b
from e2b import (
    CommandExitException,
    FileType,
    InvalidArgumentException,
    NotFoundException,
    PtySize,
    Sandbox,
    SandboxQuery,
    SandboxState,
    TimeoutException,
)


def sandbox(case, **wish):
    made = Sandbox.create(timeout=120, **wish)
    case.addCleanup(made.kill)
    return made


def at(own, port, path):
    """A request for a port: by its host where there is a domain, else by headers."""
    url = os.environ.get("E2B_SANDBOX_URL")
    if url is None:
        return urllib.request.Request(f"https://{own.get_host(port)}{path}")
    headers = {"E2b-Sandbox-Id": own.sandbox_id, "E2b-Sandbox-Port": str(port)}
    return urllib.request.Request(f"{url}{path}", headers=headers)


class Lifecycle(unittest.TestCase):
    def test_create_info_kill(self):
        own = sandbox(self, metadata={"of": "lifecycle"}, envs={"COLOUR": "green"})
        info = own.get_info()
        self.assertEqual(info.sandbox_id, own.sandbox_id)
        self.assertEqual(info.metadata, {"of": "lifecycle"})
        self.assertEqual(info.state, SandboxState.RUNNING)
        self.assertTrue(own.is_running())
        self.assertEqual(own.commands.run("echo $COLOUR").stdout, "green\n")
        self.assertTrue(own.kill())
        self.assertFalse(own.is_running())
        self.assertFalse(Sandbox.kill(own.sandbox_id))

    def test_list_by_metadata_and_state(self):
        own = sandbox(self, metadata={"pick": "this one"})
        sandbox(self, metadata={"pick": "another"})
        query = SandboxQuery(metadata={"pick": "this one"}, state=[SandboxState.RUNNING])
        found = Sandbox.list(query=query).next_items()
        self.assertEqual([item.sandbox_id for item in found], [own.sandbox_id])

    def test_pages(self):
        made = {sandbox(self, metadata={"of": "pages"}).sandbox_id for _ in range(3)}
        pages = Sandbox.list(query=SandboxQuery(metadata={"of": "pages"}), limit=2)
        seen = []
        while pages.has_next:
            seen.append([item.sandbox_id for item in pages.next_items()])
        self.assertEqual([len(page) for page in seen], [2, 1])
        self.assertEqual({identity for page in seen for identity in page}, made)

    def test_timeout_is_absolute(self):
        own = sandbox(self)
        own.set_timeout(300)
        end = own.get_info().end_at.timestamp()
        self.assertAlmostEqual(end, time.time() + 300, delta=30)

    def test_it_ends_at_its_timeout(self):
        own = Sandbox.create(timeout=1)
        self.addCleanup(own.kill)
        with self.assertRaises(Exception):
            while True:
                own.get_info()
                time.sleep(0.2)

    def test_pause_and_connect(self):
        own = sandbox(self)
        own.files.write("kept.txt", "kept")
        counting = own.commands.run("while sleep 0.05; do echo; done", background=True)
        own.pause()
        self.assertEqual(Sandbox.connect(own.sandbox_id).sandbox_id, own.sandbox_id)
        self.assertEqual(own.files.read("kept.txt"), "kept")
        self.assertIn(counting.pid, [item.pid for item in own.commands.list()])
        self.assertTrue(counting.kill())

    def test_unknown_template(self):
        with self.assertRaises(Exception) as raised:
            Sandbox.create("no-such-template")
        self.assertIn("no-such-template", str(raised.exception))

    def test_wrong_key(self):
        with self.assertRaises(e2b.AuthenticationException):
            Sandbox.create(api_key="e2b_" + "0" * 40)

    def test_metrics(self):
        own = sandbox(self)
        metrics = own.get_metrics()
        self.assertIsInstance(metrics, list)

    def test_a_sandbox_that_is_gone(self):
        own = sandbox(self)
        running = own.commands.run("sleep 60", background=True)
        own.kill()
        with self.assertRaises(Exception):
            running.wait()
        with self.assertRaises((NotFoundException, TimeoutException)):
            own.commands.run("true")


class Commands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.own = Sandbox.create(timeout=300)

    @classmethod
    def tearDownClass(cls):
        cls.own.kill()

    def test_streams_and_status(self):
        result = self.own.commands.run("echo out; echo err >&2")
        self.assertEqual((result.stdout, result.stderr, result.exit_code), ("out\n", "err\n", 0))
        with self.assertRaises(CommandExitException) as raised:
            self.own.commands.run("exit 42")
        self.assertEqual(raised.exception.exit_code, 42)

    def test_cwd_and_environment(self):
        result = self.own.commands.run('pwd; echo "$A"', cwd="/tmp", envs={"A": "b c"})
        self.assertEqual(result.stdout, "/tmp\nb c\n")

    def test_a_folder_that_is_not_there(self):
        with self.assertRaises(InvalidArgumentException) as raised:
            self.own.commands.run("true", cwd="/nowhere")
        self.assertIn("cwd '/nowhere' does not exist", str(raised.exception))

    def test_unknown_user(self):
        with self.assertRaises(Exception) as raised:
            self.own.commands.run("true", user="nobody-here")
        self.assertIn("invalid username: 'nobody-here'", str(raised.exception))

    def test_callbacks(self):
        heard = []
        self.own.commands.run("for i in 1 2 3; do echo $i; done", on_stdout=heard.append)
        self.assertEqual("".join(heard), "1\n2\n3\n")

    def test_input(self):
        cat = self.own.commands.run("cat", background=True, stdin=True)
        self.own.commands.send_stdin(cat.pid, "hello\n")
        for out, _, _ in cat:
            self.assertEqual(out, "hello\n")
            break
        self.assertTrue(cat.kill())

    def test_end_of_input(self):
        cat = self.own.commands.run("cat; echo over", background=True, stdin=True)
        self.own.commands.send_stdin(cat.pid, "x")
        self.own.commands.close_stdin(cat.pid)
        self.assertEqual(cat.wait().stdout, "xover\n")

    def test_list_connect_kill(self):
        slow = self.own.commands.run("echo begun; sleep 60", background=True)
        self.assertIn(slow.pid, [item.pid for item in self.own.commands.list()])
        again = self.own.commands.connect(slow.pid)
        self.assertTrue(self.own.commands.kill(slow.pid))
        with self.assertRaises(CommandExitException):
            again.wait()
        self.assertFalse(self.own.commands.kill(slow.pid))

    def test_timeout_of_a_command(self):
        with self.assertRaises(TimeoutException):
            self.own.commands.run("sleep 60", timeout=1)

    def test_much_output(self):
        result = self.own.commands.run("head -c 4000000 /dev/zero | tr '\\0' x")
        self.assertEqual(len(result.stdout), 4_000_000)


class Terminals(unittest.TestCase):
    def test_terminal(self):
        own = sandbox(self)
        size = PtySize(rows=30, cols=100)
        shell = own.pty.create(size)
        own.pty.send_stdin(shell.pid, b"stty size; echo it is $((6 * 7))\n")
        said = []
        for _, _, data in shell:
            said.append(bytes(data))
            if b"it is 42" in b"".join(said):
                break
        own.pty.resize(shell.pid, PtySize(rows=40, cols=120))
        own.pty.send_stdin(shell.pid, b"stty size; exit 3\n")
        with self.assertRaises(CommandExitException) as raised:
            shell.wait(on_pty=lambda data: said.append(bytes(data)))
        self.assertEqual(raised.exception.exit_code, 3)
        text = b"".join(said).decode()
        self.assertIn("30 100", text)
        self.assertIn("it is 42", text)
        self.assertIn("40 120", text)

    def test_kill(self):
        own = sandbox(self)
        shell = own.pty.create(PtySize(rows=24, cols=80))
        self.assertTrue(own.pty.kill(shell.pid))
        with self.assertRaises(CommandExitException):
            shell.wait()


class Files(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.own = Sandbox.create(timeout=300)

    @classmethod
    def tearDownClass(cls):
        cls.own.kill()

    def test_text_and_bytes(self):
        written = self.own.files.write("a/b/c.txt", "grüße")
        self.assertEqual(written.path, "/home/user/a/b/c.txt")
        self.assertEqual(self.own.files.read("a/b/c.txt"), "grüße")
        data = bytes(range(256)) * 1000
        self.own.files.write("binary", data)
        self.assertEqual(bytes(self.own.files.read("binary", format="bytes")), data)
        streamed = b"".join(self.own.files.read("binary", format="stream"))
        self.assertEqual(streamed, data)

    def test_many_at_once(self):
        entries = [{"path": f"many/{n}.txt", "data": str(n)} for n in range(20)]
        self.assertEqual(len(self.own.files.write_files(entries)), 20)
        self.assertEqual(self.own.files.read("many/7.txt"), "7")

    def test_folders(self):
        self.assertTrue(self.own.files.make_dir("one/two"))
        self.assertFalse(self.own.files.make_dir("one/two"))
        self.own.files.write("one/two/three", "3")
        names = {(item.name, item.type) for item in self.own.files.list("one", depth=2)}
        self.assertEqual(names, {("two", FileType.DIR), ("three", FileType.FILE)})
        self.assertTrue(self.own.files.exists("one/two"))
        info = self.own.files.rename("one/two/three", "one/four")
        self.assertEqual(info.path, "/home/user/one/four")
        self.own.files.remove("one")
        self.assertFalse(self.own.files.exists("one"))

    def test_info(self):
        self.own.files.write("info", "12345")
        info = self.own.files.get_info("info")
        self.assertEqual((info.name, info.size, info.permissions), ("info", 5, "-rw-r--r--"))
        self.assertEqual((info.owner, info.group), ("user", "user"))
        self.own.commands.run("ln -s info link")
        self.assertEqual(self.own.files.get_info("link").symlink_target, "/home/user/info")

    def test_missing(self):
        with self.assertRaises(NotFoundException):
            self.own.files.read("missing")
        with self.assertRaises(NotFoundException):
            self.own.files.list("missing")
        with self.assertRaises(InvalidArgumentException):
            self.own.files.read("/tmp")

    def test_watch(self):
        self.own.files.make_dir("watched")
        handle = self.own.files.watch_dir("watched", recursive=True)
        self.own.files.write("watched/new", "x")
        self.own.files.make_dir("watched/deep")
        self.own.files.write("watched/deep/er", "x")
        names = set()
        end = time.monotonic() + 20
        while not {"new", "deep", "deep/er"} <= names and time.monotonic() < end:
            names |= {event.name for event in handle.get_new_events()}
        handle.stop()
        self.assertLessEqual({"new", "deep", "deep/er"}, names)


class Ports(unittest.TestCase):
    def test_a_server_inside(self):
        own = sandbox(self)
        server = own.commands.run("python3 -u -m http.server 8000", background=True)
        # It says so when it listens.
        for out, _, _ in server:
            if "Serving" in (out or ""):
                break
        own.files.write("page.html", "<p>inside</p>")
        with urllib.request.urlopen(at(own, 8000, "/page.html"), timeout=20) as response:
            self.assertEqual(response.read(), b"<p>inside</p>")
        with self.assertRaises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(at(own, 8001, "/"), timeout=20)
        self.assertEqual(raised.exception.code, 502)
        self.assertIn(b"port is not open", raised.exception.read())

    def test_signed_urls(self):
        own = sandbox(self)
        own.files.write("signed.txt", "signed")
        with urllib.request.urlopen(own.download_url("signed.txt"), timeout=20) as response:
            self.assertEqual(response.read(), b"signed")


class Git(unittest.TestCase):
    def test_a_repository(self):
        own = sandbox(self)
        git = own.git
        git.init("repo")
        git.configure_user("A", "a@example.com")
        own.files.write("repo/file", "x")
        git.add("repo")
        git.commit("repo", "first")
        self.assertIn("first", own.commands.run("git -C repo log --oneline").stdout)
        self.assertTrue(git.status("repo").is_clean)


class Crowd(unittest.TestCase):
    def test_many_at_one_time(self):
        made, lock = [], threading.Lock()

        def one(number):
            own = Sandbox.create(timeout=120)
            with lock:
                made.append((own, own.commands.run(f"echo {number}").stdout, number))

        threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for own, _, _ in made:
            own.kill()
        self.assertEqual(len(made), 8)
        for _, said, number in made:
            self.assertEqual(said, f"{number}\n")


if __name__ == "__main__":
    unittest.main()
