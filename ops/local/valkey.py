"""The embedded Valkey: carries doorbells through a private socket; losing all it holds loses nothing."""

import os
import shutil
import signal
import socket
from pathlib import Path

from ops.local import binaries
from ops.local.accounts import Account
from ops.local.home import Home
from ops.local.server import Server


def server(home: Home, account: Account) -> Server:
    """Prepare Valkey: program, folder, socket."""
    program = binaries.valkey(home)
    data, sockets = home.data / "valkey", home.run / "valkey"
    account.own(data)
    account.own(sockets)
    path = sockets / "valkey.sock"
    path.unlink(missing_ok=True)
    settings = {
        "port": "0", "unixsocket": str(path), "unixsocketperm": "700", "dir": str(data), "daemonize": "no", "save": "",
        "appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "loglevel": "warning",
    }  # fmt: skip
    words = [word for name, value in settings.items() for word in (f"--{name}", value)]
    return Server(
        name="Valkey",
        arguments=[str(program), *words],
        account=account,
        log=home.logs / "valkey.log",
        stop_signal=signal.SIGTERM,
        ready=lambda: broker_answers(path),
        lock=home.run / "valkey.lock",
    )


def broker_answers(path: Path) -> bool:
    """Tell whether Valkey answers a ping (while it loads its file it says so instead)."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def set_aside(home: Home) -> None:
    """Put data that Valkey cannot read any more aside, for whoever wants to know why, and give it an empty folder."""
    data = home.data / "valkey"
    owner = data.stat()
    broken = data.with_name("valkey.unreadable")
    shutil.rmtree(broken, ignore_errors=True)
    data.rename(broken)
    data.mkdir(mode=0o700)
    os.chown(data, owner.st_uid, owner.st_gid)
