"""The embedded Postgres and Valkey of one home: started, watched and stopped as one pair.

Both listen on unix sockets inside private folders only: no port, no password, nothing for another account to reach.
"""

from dataclasses import dataclass
from urllib.parse import quote

from ops.local import accounts, binaries, postgres, valkey
from ops.local.errors import CannotRun
from ops.local.home import Home, refuse_full_disk
from ops.local.server import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where a pair is reached: what DATABASE_URL and REDIS_URL say."""

    database_url: str
    redis_url: str


def addresses(home: Home) -> Addresses:
    """Where the embedded servers of a home are reached while they run."""
    return Addresses(
        database_url=f"postgresql://ao@/{postgres.DATABASE}?host={quote(str(home.run / 'postgres'))}",
        redis_url=f"unix://{quote(str(home.run / 'valkey' / 'valkey.sock'))}",
    )


@dataclass(slots=True, kw_only=True)
class Servers:
    """The pair of one home, with their addresses."""

    home: Home
    postgres: Server
    valkey: Server

    @property
    def addresses(self) -> Addresses:
        """Where they are reached."""
        return addresses(self.home)

    def wait(self) -> None:
        """Return when both answer and the database exists."""
        self.wait_for_broker()
        self.postgres.wait()
        postgres.create_database(self.home)

    def wait_for_broker(self) -> None:
        """Return when Valkey answers; with a file that it cannot read any more it begins anew, for it holds no truth."""
        try:
            self.valkey.wait()
        except CannotRun:
            valkey.set_aside(self.home)
            self.valkey.launch()
            self.valkey.wait()

    def tend(self) -> list[str]:
        """Start again whichever has died; gives their names. Returns at once when both are alive."""
        dead = [server for server in (self.postgres, self.valkey) if not server.running]
        for server in dead:
            server.launch()
        if dead:
            self.wait()
        return [server.name for server in dead]

    def stop(self) -> None:
        """Stop both."""
        self.valkey.stop()
        self.postgres.stop()


def launch(home: Home, *, durable: bool = True) -> Servers:
    """Begin to start both servers of a home that we have locked; `wait()` finishes it. Slow imports fit in between.

    Only tests go without `durable`: they throw their database away, and need not wait for the disk.
    """
    refuse_full_disk(home)
    account = accounts.choose()
    try:
        database = postgres.server(home, account, durable=durable)
        broker = valkey.server(home, account)
        database.launch()
        broker.launch()
    except OSError as error:
        raise CannotRun(f"the embedded servers cannot start: {error}. {binaries.WAYS_OUT}") from error
    return Servers(home=home, postgres=database, valkey=broker)


def start(home: Home, *, durable: bool = True) -> Servers:
    """Start both servers of a home that we have locked, and return when they answer."""
    servers = launch(home, durable=durable)
    try:
        servers.wait()
    except BaseException:
        servers.stop()
        raise
    return servers
