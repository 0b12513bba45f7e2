"""session.py - runs steps on both servers and compares every reply and, at intervals, the whole dataset.

Design: successive steps of one connection are sent to both servers at once, up to BATCH_MAX of them, and all replies
are awaited before another connection's turn, so that the order in which a server runs them is certain. A step after
which something has to be made equal again (a random pop, a change that the table says is to be undone) ends a batch.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import time
from collections import Counter

from compare import compare, compare_witnessed, messages_in_order
from dataset import Dataset
from resp import Connection, Lost, encode, show
from stream import CLOCK

BATCH_MAX = 128
CURSORS_MAX = 100000
SUBSCRIBING = {b"subscribe": ("channels", 1), b"psubscribe": ("patterns", 1), b"unsubscribe": ("channels", 0),
               b"punsubscribe": ("patterns", 0)}
SCANS = {b"scan": 1, b"sscan": 2, b"hscan": 2, b"zscan": 2}
PUSHES = (b"$message", b"$pmessage")


def is_error(reply):
    return isinstance(reply, bytes) and reply[:1] == b"-"


class Failure(Exception):
    """A difference: the number of the step (or None) and what is wrong."""

    def __init__(self, at, text, command=None):
        super().__init__(text)
        self.at = at
        self.text = text
        self.command = command


class Pair:
    """One connection of the stream: a connection to each server, and what is known about its state."""

    def __init__(self, ports):
        self.links = [Connection(port) for port in ports]
        self.multi = False
        self.watching = False
        self.queue = []
        self.channels = set()
        self.patterns = set()
        self.pushed = [[], []]
        self.witness = None

    def listening(self):
        return bool(self.channels or self.patterns)

    def frames(self, args, name):
        """How many replies a command gets, and what it changes in the connection's state."""
        if name == b"watch":
            self.watching = True
        elif name == b"multi" and len(args) == 1:
            self.multi = self.multi or not self.listening()
        elif name in (b"exec", b"discard") and len(args) == 1 and not self.listening():
            self.multi = self.watching = False
        elif name == b"unwatch" and not self.multi:
            self.watching = False
        elif name in SUBSCRIBING:
            kind, more = SUBSCRIBING[name]
            known = getattr(self, kind)
            if len(args) == 1:
                many = 1 if more else max(1, len(known))
                if not more:
                    known.clear()
                return many
            (known.update if more else known.difference_update)(args[1:])
            return len(args) - 1
        return 1

    def read(self, side, count):
        """The next replies from one server; messages in between are put aside."""
        replies = self.links[side].read(count)
        while True:
            pushed = [r for r in replies if isinstance(r, list) and r and r[0] in PUSHES]
            if not pushed:
                return replies
            self.pushed[side] += pushed
            replies = [r for r in replies if not (isinstance(r, list) and r and r[0] in PUSHES)]
            replies += self.links[side].read(count - len(replies))

    def close(self):
        for link in self.links:
            link.close()


class Session:
    """Two servers, `ports` of the other and of ours, with no data."""

    def __init__(self, ports, changes):
        self.ports = ports
        self.changes = changes
        self.control = [Connection(port) for port in ports]
        self.pairs = {}
        self.compared = Counter()
        self.avoided = 0
        self.datasets = 0

    def reset(self):
        """No data, no connections."""
        for pair in self.pairs.values():
            pair.close()
        self.pairs = {}
        for whose, control in zip(("theirs", "ours"), self.control):
            try:
                control.call("FLUSHALL")
            except Lost as lost:
                raise Lost("FLUSHALL: %s: %s" % (whose, lost)) from lost

    def close(self):
        for pair in self.pairs.values():
            pair.close()
        for control in self.control:
            control.close()

    def pair(self, number):
        if number not in self.pairs:
            self.pairs[number] = Pair(self.ports)
        return self.pairs[number]

    def run(self, steps, dataset_every=1000):
        """Runs the steps; raises Failure at the first difference."""
        at = 0
        dataset_due = dataset_every
        while at < len(steps):
            if steps[at][0] == CLOCK:
                time.sleep(float(steps[at][1][0]))
                at += 1
                continue
            at = self.batch(steps, at)
            if at >= dataset_due or at == len(steps):
                self.compare_datasets(at - 1)
                dataset_due = at + dataset_every

    def batch(self, steps, at):
        """Runs the steps from `at` on that may go together; gives the number of the next one."""
        number = steps[at][0]
        pair = self.pair(number)
        sent, payload, total, last = [], [], 0, None
        while at < len(steps) and len(sent) < BATCH_MAX and steps[at][0] == number:
            args = steps[at][1]
            name = args[0].lower()
            last = self.ends_batch(pair, args, name)
            if last == "avoid":
                self.avoided += 1
                last = None
            else:
                frames = pair.frames(args, name)
                sent.append((at, args, name, frames))
                payload.append(encode(args))
                total += frames
            at += 1
            if last:
                break
        if sent:
            self.exchange(pair, sent, b"".join(payload), total)
            if last:
                self.finish(number, pair, last, sent[-1])
        return at

    def ends_batch(self, pair, args, name):
        """None, "avoid", or why the step must be the last of a batch."""
        change = self.changes.guard(name, args)
        if change and change.kind == "unwatched":
            change = None
            if any(other.watching for other in self.pairs.values()):
                return "avoid"
        if change and change.kind == "avoid":
            return "avoid"
        if pair.listening():
            return "quit" if name == b"quit" else None
        scan = name in SCANS and len(args) > SCANS[name] and args[SCANS[name]] == b"0"
        if pair.multi:
            if change or scan or name == b"spop" or name in SUBSCRIBING:
                return "avoid"
            return "quit" if name == b"quit" else None
        if change:
            return change
        if scan:
            return "scan"
        return name.decode() if name in (b"spop", b"quit") else None

    def exchange(self, pair, sent, payload, total):
        for link in pair.links:
            link.send(payload)
        theirs, ours = (self.await_replies(pair, side, sent, total) for side in (0, 1))
        self.last_replies = theirs[-1], ours[-1]
        if pair.pushed[0] or pair.pushed[1]:
            self.compare_messages(pair, sent[-1][0])
        first = 0
        for at, args, name, frames in sent:
            if frames == 1:
                said = self.compare_step(pair, args, name, theirs[first], ours[first])
            else:
                said = self.compare_frames(args, theirs[first:first + frames], ours[first:first + frames])
            first += frames
            if said:
                raise Failure(at, said, args)
            self.compared[name] += 1

    def await_replies(self, pair, side, sent, total):
        try:
            return pair.read(side, total)
        except Lost as lost:
            raise Failure(sent[-1][0], "%s: one of the last %d steps: %s" % (
                ("theirs", "ours")[side], len(sent), lost), None) from lost

    def compare_messages(self, pair, at):
        """The messages that came before the replies. None is late: they were sent before the publisher's reply."""
        if messages_in_order(pair.pushed[0]) != messages_in_order(pair.pushed[1]):
            raise Failure(at, "messages\n  theirs: %s\n  ours:   %s" % tuple(map(show, pair.pushed)))
        pair.pushed = [[], []]

    def compare_frames(self, args, theirs, ours):
        """The several replies to (P)(UN)SUBSCRIBE; when all are left at once, in any order."""
        if len(args) == 1:
            same = sorted(item[1] for item in theirs) == sorted(item[1] for item in ours) and \
                [item[2] for item in theirs] == [item[2] for item in ours]
            return None if same else "theirs: %s\n  ours:   %s" % (show(theirs), show(ours))
        return compare(self.changes, args, theirs, ours)

    def compare_step(self, pair, args, name, theirs, ours):
        if theirs == b"+QUEUED" == ours:
            pair.queue.append(args)
            return None
        if name == b"exec" and isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
            queue, pair.queue = pair.queue, []
            for queued, a, b in zip(queue, theirs, ours):
                said = compare(self.changes, queued, a, b)
                if said:
                    return "in EXEC, %s\n  %s" % (b" ".join(queued), said)
            return None
        if name in (b"exec", b"discard") and len(args) == 1:
            pair.queue = []
        witness, pair.witness = pair.witness, None
        if name in (b"smembers", b"keys") and isinstance(theirs, list) and isinstance(ours, list):
            pair.witness = (args[1], theirs, ours)
        elif name == b"spop" and not pair.multi:
            return self.compare_popped(args, theirs, ours)
        elif name in SCANS and isinstance(theirs, list) and isinstance(ours, list):
            return None
        elif witness and not is_error(theirs) and (
                name == b"randomkey" and witness[0] == b"*" or
                name == b"srandmember" and args[1] == witness[0]):
            return compare(self.changes, args, theirs, ours) or compare_witnessed(witness[1:], theirs, ours)
        return compare(self.changes, args, theirs, ours)

    def compare_popped(self, args, theirs, ours):
        """Random pops agree if as many are popped; finish_pop makes the sets equal again and finds what was none."""
        a, b = (isinstance(reply, list) for reply in (theirs, ours))
        if a and b:
            whole = len(theirs) == len(ours) == len(set(theirs)) == len(set(ours))
            return None if whole else "theirs: %s\n  ours:   %s" % (show(theirs), show(ours))
        if not (a or b) and theirs and ours and theirs[:1] == ours[:1] == b"$":
            return None
        return compare(self.changes, args, theirs, ours)

    def finish(self, number, pair, why, step):
        """What has to follow the last step of a batch."""
        at, args, name, _ = step
        theirs, ours = self.last_replies
        if why == "quit":
            if not all(link.at_end() for link in pair.links):
                raise Failure(at, "the connection is still open after QUIT", args)
            pair.close()
            del self.pairs[number]
        elif why == "scan":
            self.finish_scan(pair, at, args, name, theirs, ours)
        elif why == "spop":
            self.finish_pop(pair, at, args, theirs, ours)
        elif theirs != ours:
            for key in why.to_drop(args):
                for link in pair.links:
                    link.calls(([b"SET", key, b"x"], [b"DEL", key]))

    def finish_pop(self, pair, at, args, theirs, ours):
        """Puts back what only the other server popped, and takes there what only ours did."""
        popped = [set(reply if isinstance(reply, list) else [reply]) for reply in (theirs, ours)]
        if popped[0] == popped[1] or isinstance(theirs, bytes) and theirs[:1] != b"$":
            return
        back, away = sorted(popped[0] - popped[1]), sorted(popped[1] - popped[0])
        replies = pair.links[0].calls(([b"SADD", args[1]] + [item[1:] for item in back],
                                       [b"SREM", args[1]] + [item[1:] for item in away]))
        if replies != [b":%d" % len(back), b":%d" % len(away)]:
            raise Failure(at, "not members: theirs: %s\n  ours:   %s" % (show(theirs), show(ours)), args)

    def finish_scan(self, pair, at, args, name, theirs, ours):
        """Walks on until both are through; every element must be there, and with ours only once."""
        if not (isinstance(theirs, list) and isinstance(ours, list)):
            return
        walked = []
        place = SCANS[name]
        for link, reply in zip(pair.links, (theirs, ours)):
            items, left = list(reply[1]), CURSORS_MAX
            while reply[0] != b"$0" and left:
                reply = link.call(*(args[:place] + [reply[0][1:]] + args[place + 1:]))
                items += reply[1]
                left -= 1
            if name in (b"hscan", b"zscan"):
                items = list(zip(items[::2], items[1::2]))
            if name == b"zscan" and not self.changes.exact:
                items = [(member, b"%.17g" % (float(score[1:]) + 0)) for member, score in items]
            walked.append(items)
        if set(walked[0]) != set(walked[1]) or len(walked[1]) != len(set(walked[1])):
            raise Failure(at, "walked\n  theirs: %s\n  ours:   %s" % tuple(
                show(sorted(map(list, w)) if name in (b"hscan", b"zscan") else sorted(w)) for w in walked), args)

    def compare_datasets(self, at):
        theirs, ours = (Dataset(control, exact=self.changes.exact) for control in self.control)
        said = theirs.difference(ours)
        if said:
            raise Failure(at, "the datasets differ after step %d: %s" % (at, said), said.key)
        self.datasets += 1
