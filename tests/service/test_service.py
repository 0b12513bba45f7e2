#!/usr/bin/env python3
"""test_service.py - deploy/ckv.service: systemd finds nothing wrong with it, and ckv keeps what Type=notify promises.
There is no systemd in charge here, but a socket that takes what ckv tells it: READY when clients are served, not while
it loads; STOPPING when it is told to stop; and who the main process is, after a reload too.

  tests/service/test_service.py [build/ckv]

SPDX-License-Identifier: GPL-3.0-or-later
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "fault"))
from server import Server  # noqa: E402

UNIT = os.path.join(HERE, "..", "..", "deploy", "ckv.service")
CKV = os.path.abspath("build/ckv")
TOLD_S_MAX = 60
KEYS = 200000
# What systemd passes on: a path, or a name that no file has.
ABSTRACT = "@ckv-test-service-%d" % os.getpid()


def unit_settings():
    with open(UNIT, encoding="utf-8") as f:
        return dict(line.rstrip("\n").split("=", 1) for line in f if re.match(r"[A-Z]\w+=", line))


class Listener:
    """The socket of $NOTIFY_SOCKET."""

    def __init__(self, name):
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.socket.settimeout(TOLD_S_MAX)

    def told(self):
        """The next message, as a dictionary."""
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())

    def nothing(self):
        self.socket.setblocking(False)
        try:
            return self.socket.recv(4096)
        except BlockingIOError:
            return None
        finally:
            self.socket.settimeout(TOLD_S_MAX)


class ServiceTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="ckv-service-")
        self.addCleanup(shutil.rmtree, self.folder)

    def launch(self, name, *options):
        listener = Listener(name)
        self.addCleanup(listener.socket.close)
        server = Server(CKV, os.path.join(self.folder, "data"), options=options, env={"NOTIFY_SOCKET": name})
        server.launch()
        self.addCleanup(server.kill)
        return listener, server

    def stop(self, listener, server):
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(listener.told(), {"STOPPING": "1"})
        self.assertEqual(server.process.wait(TOLD_S_MAX), 0)
        self.assertIsNone(listener.nothing())

    def check_ready(self, listener, server):
        said = listener.told()
        self.assertEqual(said, {"READY": "1", "MAINPID": str(server.process.pid)})
        connection = server.connect_tcp()
        self.assertEqual(connection.call("PING"), b"+PONG")
        connection.close()

    def test_path(self):
        listener, server = self.launch(os.path.join(self.folder, "notify"))
        self.check_ready(listener, server)
        self.stop(listener, server)

    def test_abstract_name(self):
        listener, server = self.launch(ABSTRACT)
        self.check_ready(listener, server)
        self.stop(listener, server)

    def test_ready_when_loaded(self):
        """It listens before it has loaded, and isn't ready then."""
        listener, server = self.launch(os.path.join(self.folder, "notify"))
        self.check_ready(listener, server)
        connection = server.connect()
        for start in range(0, KEYS, 10000):
            replies = connection.calls([[b"SET", b"key:%d" % n, b"1"] for n in range(start, start + 10000)])
            self.assertEqual(set(replies), {b"+OK"})
        connection.close()
        server.kill()
        listener.socket.close()
        listener, server = self.launch(os.path.join(self.folder, "again"))
        self.check_ready(listener, server)
        connection = server.connect()
        self.assertEqual(connection.call("DBSIZE"), b":%d" % KEYS)
        connection.close()
        self.stop(listener, server)

    def test_start_that_fails(self):
        """Says nothing, and ends with a status that systemd counts as a failure."""
        listener, server = self.launch(os.path.join(self.folder, "notify"), "--no-such-option", "1")
        self.assertNotEqual(server.process.wait(TOLD_S_MAX), 0)
        self.assertIsNone(listener.nothing())

    def test_reload(self):
        """ExecReload's command: another process serves, and systemd is told that it's the main one."""
        listener, server = self.launch(os.path.join(self.folder, "notify"))
        self.check_ready(listener, server)
        words = unit_settings()["ExecReload"].split()
        self.assertEqual(words[0], "/usr/local/bin/ckv")
        data = os.path.join(self.folder, "data")
        connection = server.connect()
        subprocess.run([CKV, *(data if word == "/var/lib/ckv" else word for word in words[1:])],
                       stdout=subprocess.DEVNULL, check=True, timeout=TOLD_S_MAX)
        self.assertEqual(server.process.wait(TOLD_S_MAX), 0)
        successor = int(re.search(rb"process_id:(\d+)", connection.call("INFO", "server"))[1])
        self.addCleanup(os.kill, successor, signal.SIGKILL)
        self.assertNotEqual(successor, server.process.pid)
        connection.close()
        said = [listener.told(), listener.told()]  # the new process, and the old one
        self.assertEqual([message["MAINPID"] for message in said], [str(successor)] * 2)
        self.assertIsNone(listener.nothing())

    def test_promises(self):
        """What ckv doesn't tell may not be asked of it: it has no watchdog's sign of life. Another process may say that
        it's the main one."""
        settings = unit_settings()
        self.assertEqual((settings["Type"], settings["NotifyAccess"]), ("notify", "all"))
        for name in ("WatchdogSec", "PIDFile"):
            self.assertNotIn(name, settings)

    @unittest.skipUnless(shutil.which("systemd-analyze"), "there is no systemd-analyze: apt-get install systemd")
    def test_verify(self):
        path = os.path.join(self.folder, "ckv.service")
        with open(UNIT, encoding="utf-8") as f:
            text = f.read()
        with open(path, "w", encoding="utf-8") as f:
            f.write(text.replace("/usr/local/bin/ckv", CKV))
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False, timeout=TOLD_S_MAX)
        self.assertEqual((done.returncode, done.stdout), (0, ""))


def main():
    global CKV
    CKV = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else CKV)
    result = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(ServiceTest))
    failed, skipped = len(result.failures) + len(result.errors), len(result.skipped)
    print("%d passed, %d failed, %d skipped" % (result.testsRun - failed - skipped, failed, skipped))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
