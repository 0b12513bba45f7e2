#!/usr/bin/env python3
"""golden.py - record and replay golden RESP transcripts.

  golden.py record CASEFILE --port N [--password P] > GOLDEN
  golden.py check GOLDEN... --port N [--password P] [--flush CMD] [--only TEXT]
                            [--timeout S] [--tsv] [--verbose] [--differences FILE]
                            [--either] [--cases FILE]

GOLDEN may be a file or a directory (searched for *.golden).  See README.md
for the format.  Standard library only.
"""
import argparse
import json
import os
import re
import select
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import differences  # noqa: E402

HOST = "127.0.0.1"


# ---------------------------------------------------------------- escaping
class FormatError(Exception):
    pass


_SIMPLE = {"n": 10, "r": 13, "t": 9, "a": 7, "b": 8, "0": 0, "\\": 92, '"': 34, "'": 39}


def _unescape_body(s, password):
    """C-escaped text (without the quotes) -> bytes, macros expanded."""
    out = bytearray()
    i, n = 0, len(s)
    while i < n:
        c = s[i]
        if c == "\\":
            i += 1
            if i >= n:
                raise FormatError("trailing backslash")
            c = s[i]
            if c == "x":
                out.append(int(s[i + 1:i + 3], 16))
                i += 3
                continue
            if c not in _SIMPLE:
                raise FormatError("bad escape \\%s" % c)
            out.append(_SIMPLE[c])
            i += 1
        elif c == "@" and s.startswith("@repeat(", i):
            end = s.index(")", i)
            text, count = s[i + 8:end].rsplit(",", 1)
            out += _unescape_body(text, password) * int(count)
            i = end + 1
        elif c == "@" and s.startswith("@password()", i):
            out += (password or "").encode()
            i += len("@password()")
        elif c == "@" and s.startswith("@password_len()", i):
            out += str(len((password or "").encode())).encode()
            i += len("@password_len()")
        else:
            out += c.encode("utf-8")
            i += 1
    return bytes(out)


def parse_args(s, password=None):
    """'"SET" "k" "v"' -> [b'SET', b'k', b'v']"""
    args = []
    i, n = 0, len(s)
    while i < n:
        if s[i] in " \t":
            i += 1
            continue
        if s[i] != '"':
            raise FormatError("expected a quoted string at column %d: %r" % (i, s[:120]))
        j = i + 1
        while j < n and s[j] != '"':
            j += 2 if s[j] == "\\" else 1
        if j >= n:
            raise FormatError("unterminated string: %r" % s[:120])
        args.append(_unescape_body(s[i + 1:j], password))
        i = j + 1
    return args


_RUN = re.compile(rb"(?s)(.)\1{63,}")


def _esc_plain(b):
    out = []
    for c in b:
        if c == 13:
            out.append("\\r")
        elif c == 10:
            out.append("\\n")
        elif c == 9:
            out.append("\\t")
        elif c == 34:
            out.append('\\"')
        elif c == 92:
            out.append("\\\\")
        elif 32 <= c < 127:
            out.append(chr(c))
        else:
            out.append("\\x%02x" % c)
    s = "".join(out)
    return s.replace("@repeat(", "\\x40repeat(").replace("@password", "\\x40password")


def escape(b):
    out = []
    pos = 0
    for m in _RUN.finditer(b):
        ch = m.group(1)
        out.append(_esc_plain(b[pos:m.start()]))
        tok = "\\x%02x" % ch[0] if ch in b"),(@ \"\\" else _esc_plain(ch)
        out.append("@repeat(%s,%d)" % (tok, m.end() - m.start()))
        pos = m.end()
    out.append(_esc_plain(b[pos:]))
    return '"' + "".join(out) + '"'


# ---------------------------------------------------------------- RESP
class Incomplete(Exception):
    pass


class BadReply(Exception):
    pass


def resp_end(buf, pos=0):
    """Offset just past the reply that starts at pos."""
    todo = 1
    while todo:
        nl = buf.find(b"\r\n", pos)
        if nl < 0:
            raise Incomplete()
        t = buf[pos:pos + 1]
        if t in (b"+", b"-", b":"):
            pos = nl + 2
        elif t == b"$":
            try:
                ln = int(buf[pos + 1:nl])
            except ValueError:
                raise BadReply()
            pos = nl + 2
            if ln >= 0:
                pos += ln + 2
                if len(buf) < pos:
                    raise Incomplete()
        elif t == b"*":
            try:
                ln = int(buf[pos + 1:nl])
            except ValueError:
                raise BadReply()
            pos = nl + 2
            if ln > 0:
                todo += ln
        else:
            raise BadReply()
        todo -= 1
    return pos


def elements(raw):
    """Raw elements of a raw array reply (None when it is not an array)."""
    if raw[:1] != b"*":
        return None
    nl = raw.find(b"\r\n")
    n = int(raw[1:nl])
    if n < 0:
        return None
    pos = nl + 2
    out = []
    for _ in range(n):
        e = resp_end(raw, pos)
        out.append(raw[pos:e])
        pos = e
    return out


def unordered(raw, group):
    el = elements(raw)
    if el is None or len(el) % group:
        return raw
    return sorted(tuple(el[i:i + group]) for i in range(0, len(el), group))


def same(mode, exp, got):
    """mode: '<', '<~', '<~2', '<~s', '<~s2'"""
    if mode == "<":
        return exp == got
    if mode in ("<~", "<~2"):
        g = 2 if mode == "<~2" else 1
        return unordered(exp, g) == unordered(got, g)
    g = 2 if mode == "<~s2" else 1
    a, b = elements(exp), elements(got)
    if a is None or b is None or len(a) != 2 or len(b) != 2:
        return exp == got
    return a[0] == b[0] and unordered(a[1], g) == unordered(b[1], g)


def shape_ok(spec, raw):
    name, _, rest = spec.partition(":")
    t = raw[:1]
    if name == "int":
        if t != b":":
            return False
        if rest:
            lo, hi = rest.split("..")
            return int(lo) <= int(raw[1:-2]) <= int(hi)
        return True
    if name == "bulk":
        return t == b"$" and not raw.startswith(b"$-1")
    if name == "nil":
        return raw in (b"$-1\r\n", b"*-1\r\n")
    if name == "status":
        return t == b"+"
    if name == "error":
        return t == b"-" and raw[1:].startswith(rest.encode())
    if name == "array":
        el = elements(raw)
        return el is not None and (not rest or len(el) == int(rest))
    if name.startswith("contains "):
        text = parse_args(spec[9:].strip())[0]
        return t == b"$" and text in raw
    raise FormatError("bad shape %r" % spec)


class Conn:
    def __init__(self, port, password, timeout):
        self.s = socket.create_connection((HOST, port), timeout=timeout)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timeout = timeout
        self.buf = b""
        self.eof = False
        if password:
            self.send([b"AUTH", password.encode()])
            r = self.read()
            if r != b"+OK\r\n":
                raise SystemExit("AUTH failed: %r" % r)

    def send(self, args):
        self.send_raw(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args))

    def send_raw(self, data):
        self.s.settimeout(60)
        try:
            self.s.sendall(data)
        except OSError:
            pass  # seen as a close when reading

    def _fill(self, wait):
        """Read what comes within `wait` seconds; False if nothing did."""
        if self.eof:
            return False
        r, _, _ = select.select([self.s], [], [], wait)
        if not r:
            return False
        try:
            d = self.s.recv(1 << 20)
        except OSError:
            d = b""
        if not d:
            self.eof = True
            return False
        self.buf += d
        return True

    def read(self, wait=None):
        """One raw reply, None when none came, b'' when the peer closed."""
        deadline = time.time() + (self.timeout if wait is None else wait)
        chunks = None
        while True:
            if self.buf and (chunks is None or len(self.buf) >= chunks):
                try:
                    e = resp_end(self.buf)
                    r, self.buf = self.buf[:e], self.buf[e:]
                    return r
                except Incomplete:
                    if self.buf[:1] == b"$":  # do not rescan huge bulks
                        nl = self.buf.find(b"\r\n")
                        if nl > 0:
                            chunks = nl + 4 + int(self.buf[1:nl])
                            self._bulk_fill(chunks, deadline)
                            if len(self.buf) >= chunks:
                                continue
                except BadReply:
                    r, self.buf = self.buf, b""
                    return r
            left = deadline - time.time()
            if left <= 0:
                return None
            self._fill(left)
            if self.eof:
                r, self.buf = self.buf, b""
                if r:
                    try:
                        e = resp_end(r)
                        self.buf = r[e:]
                        return r[:e]
                    except (Incomplete, BadReply):
                        return r
                return b""

    def _bulk_fill(self, need, deadline):
        parts = [self.buf]
        have = len(self.buf)
        while have < need and time.time() < deadline:
            r, _, _ = select.select([self.s], [], [], max(0, deadline - time.time()))
            if not r:
                break
            try:
                d = self.s.recv(1 << 20)
            except OSError:
                d = b""
            if not d:
                self.eof = True
                break
            parts.append(d)
            have += len(d)
        self.buf = b"".join(parts)

    def pending(self, wait):
        """Every reply that comes until `wait` seconds of silence."""
        out = []
        while True:
            r = self.read(wait)
            if not r:
                return out
            out.append(r)

    def close(self):
        try:
            self.s.shutdown(socket.SHUT_WR)
            end = time.time() + 0.5
            while not self.eof and time.time() < end:
                self._fill(0.1)
        except OSError:
            pass
        self.s.close()


def flush(port, password, cmd, timeout):
    if cmd == "none":
        return
    c = Conn(port, password, timeout)
    if cmd == "del":  # for servers that refuse FLUSHALL
        for db in range(16):
            c.send([b"SELECT", b"%d" % db])
            if c.read() != b"+OK\r\n":
                break
            c.send([b"KEYS", b"*"])
            keys = [e[e.index(b"\r\n") + 2:-2] for e in elements(c.read()) or []]
            for i in range(0, len(keys), 500):
                c.send([b"DEL"] + keys[i:i + 500])
                c.read()
    else:
        c.send([a.encode() for a in cmd.split()])
        r = c.read()
        if not r or r[:1] == b"-":
            raise SystemExit("flush command %r failed: %r" % (cmd, r))
    c.s.close()


# ---------------------------------------------------------------- the file
def directives(path):
    with open(path, encoding="utf-8") as f:
        for n, line in enumerate(f, 1):
            line = line.rstrip("\n")
            yield n, line


def load_differences(path):
    """{(transcript, line number): (difference, the line due there)}; transcripts are named from the table's folder."""
    table, known = {}, differences.load()
    for no, line in directives(path):
        if line and not line.startswith("#"):
            place, difference, replacement = line.split(None, 2)
            if difference not in known:
                raise FormatError("%s:%d: differences.tsv has no %s" % (path, no, difference))
            name, number = place.rsplit(":", 1)
            table[os.path.realpath(os.path.join(os.path.dirname(path), name)), int(number)] = difference, replacement
    return table


class Session:
    """Connections of the current case, shared by both verbs."""

    def __init__(self, opt):
        self.opt = opt
        self.conns = {}
        self.name = "A"
        self.noauth = False

    def reset(self):
        for c in self.conns.values():
            c.close()
        self.conns = {}
        self.name = "A"
        self.noauth = False

    @property
    def conn(self):
        if self.name not in self.conns:
            pw = None if self.noauth else self.opt.password
            self.conns[self.name] = Conn(self.opt.port, pw, self.opt.timeout)
        return self.conns[self.name]


# ---------------------------------------------------------------- record
SUBS = {b"subscribe", b"unsubscribe", b"psubscribe", b"punsubscribe"}


def record(opt):
    out = sys.stdout
    s = Session(opt)
    lines = [l for _, l in directives(opt.files[0])]
    i = 0
    bad = 0
    subscribed = set()

    def emit_hinted(hint, reply, no):
        nonlocal bad
        if hint in (None, "<"):
            out.write("< %s\n" % escape(reply))
        elif hint in ("<~", "<~2", "<~s", "<~s2"):
            out.write("%s %s\n" % (hint, escape(reply)))
        elif hint.startswith("<? "):
            if not shape_ok(hint[3:].strip(), reply):
                sys.stderr.write("%s:%d: %s but got %r\n" % (opt.files[0], no, hint, reply[:200]))
                bad += 1
            out.write(hint + "\n")
        elif hint.startswith("<| "):
            if reply not in parse_args(hint[3:], opt.password):
                sys.stderr.write("%s:%d: %s but got %r\n" % (opt.files[0], no, hint, reply[:200]))
                bad += 1
            out.write(hint + "\n")
        else:
            raise FormatError(hint)

    while i < len(lines):
        line = lines[i]
        i += 1
        if line.startswith("@case"):
            s.reset()
            subscribed = set()
            flush(opt.port, opt.password, opt.flush, opt.timeout)
            out.write(line + "\n")
        elif line.startswith("@conn "):
            s.name = line[6:].strip()
            out.write(line + "\n")
        elif line.startswith("@sleep "):
            time.sleep(float(line[7:]))
            out.write(line + "\n")
        elif line == "@noauth":
            s.noauth = True
            out.write(line + "\n")
        elif line.startswith("> ") or line.startswith(">> "):
            hint = None
            if i < len(lines) and lines[i].startswith("<"):
                hint = lines[i]
                i += 1
            out.write(line + "\n")
            c = s.conn
            raw = line.startswith(">> ")
            args = parse_args(line[3:] if raw else line[2:], opt.password)
            many = raw
            if raw:
                c.send_raw(b"".join(args))
            else:
                if args[0].lower() in SUBS or s.name in subscribed:
                    many = True
                    subscribed.add(s.name)
                c.send(args)
            if hint == "<none":
                rs = c.pending(0.15)
                if rs or c.eof:
                    sys.stderr.write("%s:%d: <none but got %r\n" % (opt.files[0], i, rs))
                    bad += 1
                out.write("<none\n")
                continue
            if hint == "<close":
                r = c.read()
                while r:
                    out.write("< %s\n" % escape(r))
                    r = c.read()
                if r is None:
                    sys.stderr.write("%s:%d: no close\n" % (opt.files[0], i))
                    bad += 1
                out.write("<close\n")
                continue
            r = c.read()
            if r is None:
                sys.stderr.write("%s:%d: no reply to %s\n" % (opt.files[0], i, line[:100]))
                bad += 1
                continue
            if r == b"":
                out.write("<close\n")
                continue
            emit_hinted(hint, r, i)
            if many:
                for r in c.pending(0.15):
                    out.write("< %s\n" % escape(r))
            if c.eof or (not raw and args[0].lower() == b"quit" and c.read(1) == b""):
                out.write("<close\n")
        elif line == "<":
            for r in s.conn.pending(0.15):
                out.write("< %s\n" % escape(r))
        elif line == "<none":
            rs = s.conn.pending(0.15)
            if rs or s.conn.eof:
                sys.stderr.write("%s:%d: <none but got %r\n" % (opt.files[0], i, rs))
                bad += 1
            out.write("<none\n")
        elif line.startswith("<"):
            raise FormatError("%s:%d: stray %r" % (opt.files[0], i, line))
        else:
            out.write(line + "\n")
    s.reset()
    return 1 if bad else 0


# ---------------------------------------------------------------- check
def short(b, n=400):
    if b is None:
        return "(nothing within the time limit)"
    if b == b"":
        return "(connection closed)"
    t = escape(b)
    return t if len(t) <= n else t[:n] + "...(%d bytes)" % len(b)


class Case:
    """What --cases tells of one case."""

    def __init__(self, path, title):
        self.path = path
        self.title = title
        self.start = time.time()
        self.passed = 0
        self.failed = 0
        self.skipped = ""
        self.commands = {}     # {name: replies of it that were compared}
        self.last = {}         # {connection: the last command sent there}
        self.differences = {}  # {id: [replies as the table says, replies as recorded (with --either)]}
        self.failures = []

    def sent(self, connection, args):
        name = args[0].decode("latin-1").lower() if args else ""
        if re.fullmatch("[a-z_:-]+", name):
            self.last[connection] = name
            self.commands.setdefault(name, 0)

    def sent_raw(self, connection, data):
        """A request in RESP, or lines; what is neither is no command."""
        if data[:1] == b"*":
            try:
                while data[:1] == b"*":
                    end = resp_end(data)
                    self.sent(connection, [e[e.index(b"\r\n") + 2:-2] for e in elements(data[:end]) or []])
                    data = data[end:]
            except (Incomplete, BadReply, ValueError):
                pass
            return
        for line in data.split(b"\n"):
            self.sent(connection, line.split())

    def compared(self, connection, ok):
        if ok:
            self.passed += 1
        else:
            self.failed += 1
        if connection in self.last:
            self.commands[self.last[connection]] += 1

    def write(self, file):
        told = {name: value for name, value in vars(self).items() if name not in ("start", "last")}
        told["seconds"] = round(time.time() - self.start, 3)
        file.write(json.dumps(told) + "\n")


def check_reply(mode, rest, got, password):
    """(whether it is the reply due, how that is shown)."""
    if mode == "<?":
        return shape_ok(rest.strip(), got), mode + " " + rest
    if mode == "<|":
        return got in parse_args(rest, password), mode + " " + rest
    want = parse_args(rest, password)
    if len(want) != 1 or mode not in ("<", "<~", "<~2", "<~s", "<~s2"):
        raise FormatError(rest[:100])
    return same(mode, want[0], got), (mode[1:] + " " if mode != "<" else "") + short(want[0])


def check_file(path, opt, tally):
    s = Session(opt)
    case, cmd, active, dead = "(none)", "", True, False
    told = Case(path, case)

    def passed():
        tally[0] += 1
        told.compared(s.name, True)

    def fail(no, exp, got):
        tally[1] += 1
        told.compared(s.name, False)
        told.failures.append("%s:%d: %s\nexpected %s\ngot      %s" % (path, no, cmd[:300], exp[:1000], got[:1000]))
        if opt.tsv:
            print("\t".join([path, case, str(no), cmd[:300], exp[:1000], got[:1000]]))
        else:
            print("FAIL %s:%d [%s] %s\n     expected %s\n     got      %s" % (path, no, case, cmd[:300], exp, got))
        sys.stdout.flush()

    def leftovers(no):
        for name, c in list(s.conns.items()):
            if not c.eof:
                c._fill(0)
            if c.buf:
                fail(no, "no further reply on connection %s" % name, short(c.buf))
                c.buf = b""

    def finish(no):
        if active and not dead:
            leftovers(no)
        s.reset()
        if opt.cases and (told.skipped or told.passed or told.failed):
            told.write(opt.cases)

    replacements = {no: new for (name, no), new in opt.table.items() if name == os.path.realpath(path)}
    for no, line in directives(path):
        difference, recorded = None, line
        if no in replacements:
            if not line.startswith("<"):
                raise FormatError("%s:%d is no reply, but the table of differences names it" % (path, no))
            difference, line = replacements.pop(no)
        if not line or line.startswith("#"):
            continue
        if line.startswith("@case"):
            finish(no)
            case = line[5:].strip()
            told = Case(path, case)
            active = not opt.only or opt.only in case
            dead = False
            if active:
                tally[2] += 1
                flush(opt.port, opt.password, opt.flush, opt.timeout)
                if opt.verbose:
                    print("case %s: %s" % (path, case))
            continue
        if not active:
            continue
        if line.startswith("@needs "):
            want = line[7:].strip()
            if (want == "password") != bool(opt.password):
                active = False
                tally[2] -= 1
                tally[3] += 1
                told.skipped = "for a server with%s a password" % ("" if want == "password" else "out")
            continue
        if dead:
            if line.startswith("<"):
                tally[1] += 1
                tally[4] += 1
                told.failed += 1
            continue
        if line == "@noauth":
            s.noauth = True
        elif line.startswith("@conn "):
            s.name = line[6:].strip()
        elif line.startswith("@sleep "):
            time.sleep(float(line[7:]))
        elif line.startswith("> "):
            cmd = line
            args = parse_args(line[2:], opt.password)
            told.sent(s.name, args)
            s.conn.send(args)
        elif line.startswith(">> "):
            cmd = line
            data = b"".join(parse_args(line[3:], opt.password))
            told.sent_raw(s.name, data)
            s.conn.send_raw(data)
        elif line == "<none":
            rs = s.conn.pending(0.06)
            if rs or s.conn.eof:
                fail(no, "no reply", short(b"".join(rs)))
            else:
                passed()
        elif line == "<close":
            r = s.conn.read()
            if r == b"":
                passed()
            else:
                fail(no, "(connection closed)", short(r))
                dead = True
        elif line.startswith("<"):
            got = s.conn.read()
            mode, _, rest = line.partition(" ")
            either = False
            if got is None or got == b"":
                ok, exp = False, line
            else:
                ok, exp = check_reply(mode, rest, got, opt.password)
                if not ok and difference and opt.either:
                    mode, _, rest = recorded.partition(" ")
                    ok = either = check_reply(mode, rest, got, opt.password)[0]
            if difference:
                told.differences.setdefault(difference, [0, 0])[either] += ok
                tally[5] += either
            if ok:
                passed()
            else:
                fail(no, exp, short(got))
                if got is None or got == b"":
                    dead = True
        else:
            raise FormatError("%s:%d: %r" % (path, no, line[:100]))
    finish(0)
    for no in replacements:
        raise FormatError("%s has no line %d, but the table of differences names it" % (path, no))


def check(opt):
    opt.table = load_differences(opt.differences) if opt.differences else {}
    files = []
    for p in opt.files:
        if os.path.isdir(p):
            for d, _, names in os.walk(p):
                files += [os.path.join(d, n) for n in names if n.endswith(".golden")]
        else:
            files.append(p)
    tally = [0, 0, 0, 0, 0, 0]  # passed, failed, cases, skipped, unreached, as recorded where a difference is known
    for f in sorted(files):
        check_file(f, opt, tally)
    if not opt.tsv:
        if tally[4]:
            print("%d of the failures are replies not reached after a lost connection or a missing reply" % tally[4])
        if tally[5]:
            print("%d replies are Redis' own where the table of differences has another" % tally[5])
        print("%d files, %d cases, %d cases skipped (@needs)" % (len(files), tally[2], tally[3]))
        print("%d passed, %d failed" % (tally[0], tally[1]))
    return 1 if tally[1] else 0


def main():
    global HOST
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("verb", choices=["record", "check"])
    p.add_argument("files", nargs="+")
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, required=True)
    p.add_argument("--password")
    p.add_argument("--flush", default="FLUSHALL",
                   help="command that empties the server, or 'del' (KEYS+DEL in each database), or 'none'")
    p.add_argument("--only", help="only the cases whose title contains this text")
    p.add_argument("--timeout", type=float, default=5.0, help="seconds to wait for one reply (default 5)")
    p.add_argument("--differences", help="table of the replies that are due to be different")
    p.add_argument("--either", action="store_true", help="where that table has a reply, Redis' own is as good")
    p.add_argument("--cases", type=argparse.FileType("w"), metavar="FILE", help="write a line of JSON for each case")
    p.add_argument("--tsv", action="store_true", help="mismatches as tab-separated lines, no summary")
    p.add_argument("--verbose", action="store_true")
    opt = p.parse_args()
    HOST = opt.host
    if opt.verb == "record":
        return record(opt)
    return check(opt)


if __name__ == "__main__":
    sys.exit(main())
