"""disk.py - reads a data directory from what store/FORMAT.md says, and nothing else: none of this was taken from the C
code. Whatever FORMAT.md promises is checked while reading; what doesn't hold is a Damage.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import ctypes
import glob
import os
import struct

STRING, LIST, SET, ZSET, HASH = range(5)


class Damage(Exception):
    pass


def need(holds, what):
    if not holds:
        raise Damage(what)


# ---- libraries

class Datum(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_void_p), ("len", ctypes.c_int)]


def library(name, functions):
    loaded = ctypes.CDLL(name)
    for function, (result, arguments) in functions.items():
        getattr(loaded, function).restype = result
        getattr(loaded, function).argtypes = arguments
    return loaded


u64, text, size, handle, number = (ctypes.c_uint64, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int)
xxh = library("libxxhash.so.0", {
    "XXH3_64bits": (u64, [text, size]),
    "XXH3_64bits_withSeed": (u64, [text, size, u64]),
    "XXH3_64bits_withSecret": (u64, [text, size, text, size]),
})
gdbm = library("libgdbm.so.6", {
    "gdbm_open": (handle, [text, number, number, number, handle]),
    "gdbm_close": (number, [handle]),
    "gdbm_firstkey": (Datum, [handle]),
    "gdbm_nextkey": (Datum, [handle, Datum]),
    "gdbm_fetch": (Datum, [handle, Datum]),
})


def xxh3(data):
    return xxh.XXH3_64bits(data, len(data))


def gdbm_records(path):
    """All records of a gdbm file."""
    file = gdbm.gdbm_open(os.fsencode(path), 0, 0, 0o600, None)
    need(file, f"{path}: gdbm can't open it")
    records = {}
    key = gdbm.gdbm_firstkey(file)
    while key.bytes:
        value = gdbm.gdbm_fetch(file, key)
        records[ctypes.string_at(key.bytes, key.len)] = ctypes.string_at(value.bytes, value.len)
        key = gdbm.gdbm_nextkey(file, key)
    gdbm.gdbm_close(file)
    return records


# ---- bytes

class Bytes:
    """What is left to read of a run of bytes."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def more(self):
        return self.at < len(self.data)

    def take(self, length):
        need(self.at + length <= len(self.data), "something ends too early")
        self.at += length
        return self.data[self.at - length:self.at]

    def number(self, length, signed=False):
        return int.from_bytes(self.take(length), "little", signed=signed)

    def double(self):
        return struct.unpack("<d", self.take(8))[0]

    def varint(self):
        value = 0
        for group in range(10):
            byte = self.number(1)
            value |= (byte & 127) << (7 * group)
            if byte < 128:
                need(byte > 0 or group == 0, "a varint with needless bytes")
                return value
        raise Damage("a varint of more than ten bytes")

    def slice(self):
        return self.take(self.varint())

    def end(self):
        need(not self.more(), "something is behind the end")


def key_file(content):
    groups, group = {}, None
    for line in content.splitlines():
        if line.startswith("["):
            group = groups.setdefault(line[1:-1], {})
        elif "=" in line:
            key, value = line.split("=", 1)
            group[key] = value
    return groups


# ---- values

def back_length(length):
    """How a pack's element says how long it is, for who walks from the end."""
    coded = bytes([length & 127])
    while length > 127:
        length >>= 7
        coded = bytes([length & 127, coded[0] | 128]) + coded[1:]
    return coded


def read_pack(data, kind):
    """The elements: bytes, or integers."""
    start = data.at
    used, count = data.number(4), data.number(2)
    need(data.number(1) == kind and data.number(1) == 0, "a pack of another kind")
    elements = []
    while data.at < start + used:
        begin = data.at
        head = data.number(1)
        if head < 128:
            elements.append(data.take(head))
        elif head >> 4 == 8:
            elements.append(data.number(head & 15, signed=True))
        else:
            need(head >> 4 == 9, "a pack's element of no kind")
            elements.append(data.take(data.number(head & 15)))
        length = back_length(data.at - begin)
        need(data.take(len(length)) == length, "a wrong back-length")
    need(data.at == start + used, "a pack's last element goes beyond its end")
    need(count in (len(elements), 65535), "a pack's count is wrong")
    return elements


def as_text(element):
    return element if isinstance(element, bytes) else b"%d" % element


def read_texts(data, kind):
    return [as_text(element) for element in read_pack(data, kind)]


def pairs(elements):
    return list(zip(elements[::2], elements[1::2]))


def packed_score(element):
    return float(element) if isinstance(element, int) else struct.unpack("<d", element[:8])[0]


def read_integers(data):
    count = data.number(4)
    need(data.take(3) == b"\0\0\0", "an integer set's head")
    width = data.number(1)
    numbers = [data.number(width, signed=True) for _ in range(count)]
    need(numbers == sorted(numbers), "an integer set isn't in order")
    return {b"%d" % value for value in numbers}


def read_ranked(data):
    score, length = data.double(), data.number(1)
    return data.take(data.number(4) if length == 255 else length), score


def read_list(data, kind):
    packs = data.varint() if kind == 1 else 1
    return [element for _ in range(packs) for element in read_texts(data, 0)]


def read_set(data, kind):
    if kind == 0:
        return read_integers(data)
    return set(read_texts(data, 1) if kind == 1 else [data.slice() for _ in range(data.varint())])


def read_zset(data, kind):
    if kind == 0:
        return {as_text(member): packed_score(score) for member, score in pairs(read_pack(data, 0))}
    return dict(read_ranked(data) for _ in range(data.varint()))


def read_hash(data, kind):
    if kind == 0:
        return dict(pairs(read_texts(data, 0)))
    return dict((data.slice(), data.slice()) for _ in range(data.varint()))


READ = {LIST: read_list, SET: read_set, ZSET: read_zset, HASH: read_hash}


def read_value(kind, encoding, content):
    data = Bytes(content)
    if kind == STRING:
        return b"%d" % data.number(8, signed=True) if encoding == 2 else content
    value = READ[kind](data, data.number(1))
    data.end()
    return value


# ---- a checkpoint

class Checkpoint:
    """A checkpoint file; `data` is {(database, key): (type, value, deadline in ms or None)}."""

    def __init__(self, path, facts, secret):
        self.secret = secret
        self.records = self.unsealed(gdbm_records(path), facts)
        own = key_file(self.records[b"ckv"].decode())
        need(own["ckv"]["version"] == "2" and bytes.fromhex(own["ckv"]["secret"]) == secret, "the record ckv")
        for name in ("history", "offset", "records", "sum", "keys"):
            need(own["checkpoint"][name] == facts[name], f"the record ckv: {name}")
        self.data = {}
        self.read_databases()
        need(len(self.data) == int(facts["keys"]), "the number of keys")

    @staticmethod
    def unsealed(records, facts):
        payloads, total = {}, 0
        for key, sealed in records.items():
            payload, seal = sealed[:-8], int.from_bytes(sealed[-8:], "little")
            need(seal == xxh.XXH3_64bits_withSeed(payload, len(payload), xxh3(key)), f"the seal of {key}")
            payloads[key] = payload
            if key != b"ckv":
                total += seal & 0xffffffff or 1
        need(len(records) - 1 == int(facts["records"]), "the number of records")
        need(total % 2**64 == int(facts["sum"]), "the sum of the records")
        return payloads

    def hash(self, key):
        return xxh.XXH3_64bits_withSecret(key, len(key), self.secret, len(self.secret))

    def read_databases(self):
        listed = Bytes(self.records[b"dbs"])
        databases = {}
        while listed.more():
            db, keys, bits = listed.varint(), listed.varint(), listed.varint()
            databases[db] = (keys, bits)
        for key, payload in self.records.items():
            if key[4:5] == b"P":
                page, _, db, bits = struct.unpack("<IcHB", key)
                need(databases[db][1] == bits, "a page has other bits than its database")
                self.read_page(db, bits, page, Bytes(payload))
        for db, (keys, _) in databases.items():
            need(keys == sum(1 for of, _ in self.data if of == db), f"the number of keys of database {db}")

    def read_page(self, db, bits, page, data):
        while data.more():
            first, key = data.number(4), data.slice()
            kind, encoding = first & 7, first >> 5 & 3
            need(not first >> 7 & 1 and self.hash(key) % (1 << bits) == page, f"the place of key {key}")
            deadline = data.number(8) if first >> 3 & 1 else None
            value = self.read_elsewhere(kind, encoding, data.varint(), data.varint()) if first >> 4 & 1 else \
                read_value(kind, encoding, data.slice())
            need((db, key) not in self.data, f"key {key} is there twice")
            self.data[db, key] = (kind, value, deadline)

    def read_elsewhere(self, kind, encoding, reference, count):
        number_, bits = reference >> 6, reference & 63
        if bits == 63:
            record = Bytes(self.records[struct.pack("<IcI", number_ % 2**32, b"V", number_ >> 32)])
            value = read_value(kind, encoding, record.slice())
            record.end()
            return value
        elements = [element for page in range(1 << bits) for element in self.read_elements(kind, number_, bits, page)]
        need(len(elements) == count, "the number of a collection's elements")
        if kind == LIST:
            return self.chained({chunk: (following, content) for chunk, following, content in elements})
        return set(elements) if kind == SET else dict(elements)

    def read_elements(self, kind, number_, bits, page):
        data = Bytes(self.records.get(struct.pack("<IcQB", page, b"C", number_, bits), b""))
        while data.more():
            if kind == LIST:
                element = (data.varint(), data.varint(), read_texts(data, 0))
                product = element[0] * 0x9E3779B97F4A7C15 % 2**64
                place = int.from_bytes(product.to_bytes(8, "little"), "big")
            else:
                element = data.slice() if kind == SET else read_ranked(data) if kind == ZSET else \
                    (data.slice(), data.slice())
                place = self.hash(element if kind == SET else element[0])
            need(place % (1 << bits) == page, "the place of a collection's element")
            yield element

    @staticmethod
    def chained(chunks):
        heads = set(chunks) - {following for following, _ in chunks.values()}
        need(len(heads) == 1, "a list that has not one beginning")
        chunk, elements = heads.pop(), []
        while chunk:
            following, content = chunks.pop(chunk)
            elements += content
            chunk = following
        need(not chunks, "a list's chunks that nothing leads to")
        return elements


# ---- the journal

def read_commands(payload):
    """The commands of a batch, each a list of bytes."""
    data = Bytes(payload)

    def line(mark):
        end = payload.index(b"\r\n", data.at)
        content = data.take(end + 2 - data.at)
        need(content[:1] == mark, "a batch that isn't commands")
        return int(content[1:-2])

    commands = []
    while data.more():
        commands.append([data.take(line(b"$") + 2)[:-2] for _ in range(line(b"*"))])
    return commands


def read_segment(path, history):
    """Its first offset, its batches: (offset, unix ms, payload), where it ends, and the magic of what stands last."""
    with open(path, "rb") as file:
        data = Bytes(file.read())
    head = data.take(56)
    need(head[:4] == b"CKVJ" and head[4:8] == b"\2\0\0\0" and data.number(8) == xxh3(head), f"{path}: the head")
    need(head[16:] == history, f"{path}: the history")
    first = offset = int.from_bytes(head[8:16], "little")
    need(os.path.basename(path) == f"{first:020}.ckj", f"{path}: the name")
    batches, magic = [], None
    while data.more():
        fields, checksum = data.take(32), data.number(8)
        need(magic != b"CKVF", f"{path}: something is behind the seal of a finished segment")
        magic, length, at, unix_ms, durable = struct.unpack("<4sIQQQ", fields)
        need(magic in (b"CKVB", b"CKVF", b"CKVC") and (length > 0) == (magic == b"CKVB"), f"{path}: a batch's head")
        need(at == offset and durable <= at and (durable == at or magic == b"CKVB"), f"{path}: a batch's offsets")
        payload = data.take(length)
        need(checksum == xxh3(fields + payload), f"{path}: a batch's checksum")
        if magic == b"CKVB":
            batches.append((offset, unix_ms, payload))
        offset += length
    return first, batches, offset, magic


class Directory:
    """A data directory: `manifest`, `checkpoints` (by "a" and "b"), `batches`, `journal_end`, and `seals`: the magic of
    what stands last in each segment."""

    def __init__(self, path):
        with open(os.path.join(path, "MANIFEST"), "rb") as file:
            content = file.read()
        cut = content.rindex(b"checksum=")
        need(content[cut:] == b"checksum=%016x\n" % xxh3(content[:cut]), "the checksum of MANIFEST")
        self.manifest = key_file(content[:cut].decode())
        need(self.manifest["ckv"]["version"] == "2", "the version of MANIFEST")
        secret = bytes.fromhex(self.manifest["ckv"]["secret"])
        self.checkpoints = {
            slot: Checkpoint(os.path.join(path, f"checkpoint-{slot}.gdbm"), self.manifest[f"checkpoint-{slot}"], secret)
            for slot in "ab" if f"checkpoint-{slot}" in self.manifest}
        self.batches, self.journal_end, self.seals = [], None, []
        for segment in sorted(glob.glob(os.path.join(path, "journal", "*.ckj"))):
            first, batches, end, seal = read_segment(segment, self.manifest["ckv"]["history"].encode())
            need(self.journal_end in (None, first), f"{segment}: it doesn't follow the one before")
            self.batches += batches
            self.journal_end = end
            self.seals.append(seal)
        need(b"CKVF" not in self.seals[-1:], "the segment that follows the last one is missing")

    def newest(self):
        slots = sorted(self.checkpoints, key=lambda slot: int(self.manifest[f"checkpoint-{slot}"]["offset"]))
        return self.checkpoints[slots[-1]], int(self.manifest[f"checkpoint-{slots[-1]}"]["offset"])
