"""resp.py - RESP2 for the differential tests: commands to bytes, bytes to replies, and a connection.

A reply is a bytes object that keeps its type byte (b"+OK", b"-ERR ...", b":1", b"$text"), None for a nil bulk string,
NIL_ARRAY for a nil array, or a list of replies. So replies of different types never compare as equal.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import re
import socket

NIL_ARRAY = "*-1"
REPLY_S_MAX = 20
ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Lost(ConnectionError):
    """The server closed the connection, or does not answer."""


class Incomplete(Exception):
    """The buffer ends within a reply."""


def encode(args):
    """One command as the bytes to send."""
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        parts.append(b"$%d\r\n%b\r\n" % (len(arg), arg))
    return b"".join(parts)


def parse(data, at):
    """The reply that starts at data[at], and where the next one starts."""
    end = data.find(b"\r\n", at)
    if end < 0:
        raise Incomplete
    kind = data[at]
    if kind == 36:  # $
        length = int(data[at + 1:end])
        if length < 0:
            return None, end + 2
        after = end + 2 + length
        if len(data) < after + 2:
            raise Incomplete
        return b"$" + data[end + 2:after], after + 2
    if kind == 42:  # *
        count = int(data[at + 1:end])
        if count < 0:
            return NIL_ARRAY, end + 2
        at = end + 2
        items = []
        for _ in range(count):
            item, at = parse(data, at)
            items.append(item)
        return items, at
    if kind not in b"+-:":
        raise Lost("not RESP: %r" % data[at:at + 60])
    return data[at:end], end + 2


def quote(data):
    """Bytes as the quoted text that unquote reads."""
    out = []
    for char in data.decode("latin-1"):
        out.append(ESCAPES.get(char) or (char if " " <= char <= "~" else "\\x%02x" % ord(char)))
    return '"' + "".join(out) + '"'


def unquote(text):
    """The list of byte strings that a line of quoted texts stands for."""
    plain = {"n": b"\n", "r": b"\r", "t": b"\t"}

    def value(match):
        code = match.group(1)
        return chr(int(code[1:], 16)) if code[0] == "x" else plain.get(code, code.encode()).decode("latin-1")

    words = re.findall(r'"((?:[^"\\]|\\.)*)"', text)
    return [re.sub(r"\\(x[0-9a-f]{2}|.)", value, word).encode("latin-1") for word in words]


def show(reply, length_max=600):
    """A reply for people."""
    if reply is None:
        return "(nil)"
    if isinstance(reply, str):
        return "(nil array)"
    if isinstance(reply, bytes):
        text = quote(reply[1:]) if reply[:1] == b"$" else quote(reply)[1:-1]
    else:
        text = "[" + ", ".join(show(item) for item in reply[:60]) + (", ..." if len(reply) > 60 else "") + "]"
    return text if len(text) <= length_max else text[:length_max] + "...(%d characters)" % len(text)


def flat(reply):
    """A reply as one byte string, for the patterns of the table of changes."""
    if reply is None:
        return b"$-1"
    if isinstance(reply, str):
        return b"*-1"
    if isinstance(reply, bytes):
        return reply
    return b" ".join([b"*%d" % len(reply)] + [flat(item) for item in reply])


class Connection:
    """One connection to a server on this machine."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=REPLY_S_MAX)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""

    def send(self, payload):
        try:
            self.socket.sendall(payload)
        except OSError as error:
            raise Lost(str(error)) from error

    def more(self):
        try:
            got = self.socket.recv(1 << 18)
        except OSError as error:
            said = "no reply within %d s" % REPLY_S_MAX if isinstance(error, TimeoutError) else str(error)
            raise Lost(said) from error
        if not got:
            raise Lost("the server closed the connection")
        self.data = self.data + got if self.data else got

    def read(self, count):
        """The next replies, in order."""
        replies = []
        data, at = self.data, 0
        while len(replies) < count:
            try:
                reply, at = parse(data, at)
                replies.append(reply)
            except Incomplete:
                self.data = data[at:]
                self.more()
                data, at = self.data, 0
        self.data = data[at:]
        return replies

    def call(self, *args):
        """One command and its reply; texts and numbers are turned to bytes."""
        self.send(encode([arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]))
        return self.read(1)[0]

    def calls(self, commands):
        """Many commands in one go, and their replies."""
        self.send(b"".join(map(encode, commands)))
        return self.read(len(commands))

    def at_end(self):
        """Whether the server has closed the connection and nothing is left to read."""
        try:
            return not self.data and not self.socket.recv(1)
        except ConnectionError:
            return True
        except OSError:
            return False

    def close(self):
        self.socket.close()
