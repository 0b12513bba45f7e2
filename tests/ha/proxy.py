"""proxy.py - a network between two servers that can be slow, be cut at any byte, or swallow everything.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import select
import socket
import threading
import time

PIECE = 64 * 1024
SLICE_S = 0.02


class Proxy:
    """Listens on a port of its own and passes on what comes to `target_port`, in a thread."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.bytes_left = None  # so many more, in both directions, and all connections are cut; None: no end
        self.bytes_per_s = None  # of each direction of each connection; None: no limit
        self.swallows = False  # connections stay open, and nothing comes through
        self.refuses = False
        self.cuts = 0
        self.pairs = []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.ended = False
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                if self.refuses:
                    raise OSError("refused")
                far = socket.create_connection(("127.0.0.1", self.target_port), timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.pairs.append((near, far))
            threading.Thread(target=self.carry, args=(near, far), daemon=True).start()
            threading.Thread(target=self.carry, args=(far, near), daemon=True).start()

    def carry(self, source, target):
        """One direction of a connection."""
        try:
            while not self.ended:
                if self.swallows or not select.select([source], [], [], SLICE_S)[0]:
                    time.sleep(SLICE_S if self.swallows else 0)
                    continue
                piece = PIECE if self.bytes_per_s is None else max(1, int(self.bytes_per_s * SLICE_S))
                data = source.recv(piece)
                if not data:
                    break
                part = self.admitted(data)
                target.sendall(part)
                if len(part) < len(data):
                    self.cut()
                if self.bytes_per_s is not None:
                    time.sleep(len(data) / self.bytes_per_s)
        except (OSError, ValueError):
            pass
        for end in (source, target):
            close(end)

    def admitted(self, data):
        """What may pass of it. If that is not all, it is the last that does."""
        with self.lock:
            if self.bytes_left is None:
                return data
            part = data[:self.bytes_left]
            self.bytes_left = self.bytes_left - len(part) if len(part) == len(data) else None
            return part

    def cut(self):
        """Ends all connections now."""
        self.cuts += 1
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for near, far in pairs:
            close(near)
            close(far)

    def end(self):
        self.ended = True
        close(self.listener)
        self.cut()


def close(end):
    """Also for a thread that is reading from it."""
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    end.close()
