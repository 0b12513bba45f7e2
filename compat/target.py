"""target.py - a server that is up already and that the suites shall test: is it there, and may they empty it?

  compat/target.py HOST:PORT PASSWORD [--force]

Exit status 2, with the reason, if it isn't there, refuses the password ("" for none) or, without --force, holds keys.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import re
import socket
import sys

DATABASES = 16


def fail(text):
    """The suite can't be run: exit status 2."""
    print(text, file=sys.stderr)
    sys.exit(2)


def parse(address):
    """(host, port) of HOST:PORT."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        fail("a target is given as HOST:PORT, not as '%s'" % address)
    return host.strip("[]") or "127.0.0.1", int(port)


def ask(connection, replies, *words):
    """One command; the first line of the reply."""
    request = b"*%d\r\n" % len(words)
    for word in words:
        request += b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode())
    try:
        connection.sendall(request)
        return replies.readline().decode(errors="replace").strip()
    except OSError as error:
        fail("no reply to %s: %s" % (words[0], error))


def check_empty(host, port, password, force):
    """Ends the program unless the server is there, takes the password and (or force) holds no key."""
    try:
        connection = socket.create_connection((host, port), timeout=10)
    except OSError as error:
        fail("no server at %s:%d: %s" % (host, port, error))
    with connection, connection.makefile("rb") as replies:
        if password and (reply := ask(connection, replies, "AUTH", password)) != "+OK":
            fail("the server does not take the password: " + reply)
        for database in range(DATABASES):
            if (reply := ask(connection, replies, "SELECT", str(database))) != "+OK":
                fail("the tests need %d databases; SELECT %d: %s" % (DATABASES, database, reply))
            reply = ask(connection, replies, "DBSIZE")
            if not re.fullmatch(r":\d+", reply):
                fail("DBSIZE: " + reply)
            if reply != ":0" and not force:
                fail("%s:%d holds keys (%s in database %d), and the tests would remove ALL of them. Give a server\n"
                     "that is empty, or say --force (FORCE=1 with make) if they may go." %
                     (host, port, reply[1:], database))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[3:] not in ([], ["--force"]):
        fail("usage: target.py HOST:PORT PASSWORD [--force]")
    check_empty(*parse(sys.argv[1]), sys.argv[2], "--force" in sys.argv)
