"""installed.py - which clients there are, and how each is started here: the Debian packages, the npm packages (which it
installs), the program that the Makefile builds. A client that cannot be run says why in `missing`.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import filecmp
import json
import os
import shutil
import subprocess

NPM_S_MAX = 300


class Client:
    """A client: its short name, its library's name and option as README shows them, the command of its script."""

    def __init__(self, name, title, option, command, environment=None):
        self.name = name
        self.title = title
        self.option = option
        self.command = command
        self.environment = environment or {}
        self.version = ""
        self.missing = ""

    def group(self):
        text = "%s %s" % (self.title, self.version) if self.version else self.title
        return text + (" (%s)" % self.option if self.option else "")


# Name of the npm alias, library, script, option (as the script passes it to the library).
NPM = (
    ("ioredis4", "ioredis", "ioredis.js", ""),
    ("ioredis5", "ioredis", "ioredis.js", ""),
    ("ioredis6", "ioredis", "ioredis.js", ""),
    ("iovalkey", "iovalkey", "ioredis.js", ""),
    ("redis3", "redis (npm)", "redis3.js", ""),
    ("redis4", "redis (npm)", "redis4.js", ""),
    ("redis5", "redis (npm)", "redis4.js", ""),
    ("redis6", "redis (npm)", "redis4.js", "RESP: 2"),
)


def program(name):
    """Debian's own, which sees Debian's packages, before another of that name."""
    debian = "/usr/bin/" + name
    return debian if os.access(debian, os.X_OK) else shutil.which(name)


def need_module(client, command, package):
    """Marks a client missing when a command that loads its library fails."""
    if not command[0] or subprocess.run(command, capture_output=True).returncode != 0:
        client.missing = "install Debian's package " + package
    return client


def native_clients(here, build):
    python, ruby = program("python3"), program("ruby")
    hiredis = os.path.join(build, "clients", "hiredis")
    cli = Client("redis-cli", "redis-cli", "", [python, os.path.join(here, "redis_cli.py")])
    bench = Client("redis-benchmark", "redis-benchmark", "", [python, os.path.join(here, "redis_benchmark.py")])
    for client in (cli, bench):
        if not shutil.which(client.name):
            client.missing = "install Debian's package redis-tools"
    c = Client("hiredis", "hiredis", "", [hiredis])
    if not os.access(hiredis, os.X_OK):
        c.missing = "build it with `make %s` (needs Debian's package libhiredis-dev)" % hiredis
    return [
        cli, bench, c,
        need_module(Client("redis-py", "redis-py", "", [python, os.path.join(here, "redis_py.py")]),
                    [python, "-c", "import redis"], "python3-redis"),
        need_module(Client("redis-rb", "redis-rb", "", [ruby, os.path.join(here, "redis_rb.rb")]),
                    [ruby, "-e", "require 'redis'"], "ruby-redis"),
    ]


def install_npm(source, target):
    """Installs the locked packages into target unless they are there already: why that failed, or ""."""
    lock = "package-lock.json"
    stamp = os.path.join(target, "node_modules", ".ckv-" + lock)
    if os.path.exists(stamp) and filecmp.cmp(stamp, os.path.join(source, lock), shallow=False):
        return ""
    os.makedirs(target, exist_ok=True)
    for name in ("package.json", lock):
        shutil.copy(os.path.join(source, name), target)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done = subprocess.run(command, cwd=target, capture_output=True, text=True, timeout=NPM_S_MAX)
    except subprocess.TimeoutExpired:
        return "npm's registry could not be reached: `npm ci` took over %d s" % NPM_S_MAX
    if done.returncode != 0:
        return "`npm ci` failed (is npm's registry out of reach?): " + " ".join(done.stderr.split())[-300:]
    shutil.copy(os.path.join(source, lock), stamp)
    return ""


def node_too_old(module_dir):
    """Why the module's `engines` refuse this Node, or ""."""
    with open(os.path.join(module_dir, "package.json"), encoding="utf-8") as f:
        package = json.load(f)
    least = package.get("engines", {}).get("node", "0").lstrip(">=^~ ").split(" ")[0].split(".")[0]
    have = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    if int(least) > int(have.lstrip("v").split(".")[0]):
        return "version %s needs Node %s, this is %s" % (package["version"], least, have)
    return ""


def npm_clients(here, build, wanted):
    source, target = os.path.join(here, "node"), os.path.abspath(os.path.join(build, "clients", "node"))
    clients = []
    for name, title, script, option in NPM:
        environment = {"CKV_MODULE": name, "CKV_OPTION": option, "NODE_PATH": os.path.join(target, "node_modules")}
        clients.append(Client(name, title, option, ["node", os.path.join(source, script)], environment))
    clients = [client for client in clients if not wanted or client.name in wanted]
    if not clients:
        return []
    absent = [tool for tool in ("node", "npm") if not shutil.which(tool)]
    why = "install " + " and ".join(absent) if absent else install_npm(source, target)
    for client in clients:
        client.missing = why or node_too_old(os.path.join(target, "node_modules", client.name))
    return clients


def clients(here, build, wanted):
    """The clients, or those of the wanted names."""
    native = [client for client in native_clients(here, build) if not wanted or client.name in wanted]
    return native + npm_clients(here, build, wanted)
