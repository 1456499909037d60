"""Servers that go away and come back while workers read: what `tests.tsad.chaos` does to workers, done to the rest."""

import os
import random
import signal
import time
from dataclasses import dataclass

from brokers import Node
from kafka import KafkaAdminClient
from servers import Server

from tests.tsad.chaos import STREAM, Crew, Disturbance, Ground, Round, load

ALONE = ("one", "two")
"""The workers that read meanwhile."""


@dataclass
class Mortal(Ground):
    """A ground whose servers can be stopped: `nodes` of a cluster, `server` of the database."""

    nodes: tuple[Node, ...] = ()
    server: Server | None = None

    @property
    def replicas(self) -> int:
        """One on each node."""
        return len(self.nodes)


def _ground(played: Round) -> Mortal:
    assert isinstance(played.ground, Mortal)
    return played.ground


def _reading(played: Round, crew: Crew, rng: random.Random) -> None:
    """Two workers, somewhere in the middle."""
    for name in ALONE:
        crew.up(name)
    crew.reach(rng.randrange(played.ends // 8, played.ends // 2))


def group_deleted(played: Round, crew: Crew, rng: random.Random) -> None:
    """The consumer group is gone between two runs."""
    crew.up("one")
    crew.reach(rng.randrange(played.ends // 8, played.ends // 2))
    crew.close()
    admin = KafkaAdminClient(bootstrap_servers=played.ground.kafka.split(","))
    group = f"{load(crew.home).kafka.group}.{STREAM}"
    until = time.monotonic() + 60
    while time.monotonic() < until and "error" in str(admin.delete_groups([group])).lower():
        time.sleep(0.5)  # until the session of the killed member is over
    admin.close()
    crew.up("one")
    crew.reach(played.ends)


def broker_restarted(played: Round, crew: Crew, rng: random.Random) -> None:
    """The only broker dies and comes back."""
    (node,) = _ground(played).nodes
    _reading(played, crew, rng)
    node.kill()
    time.sleep(rng.uniform(0, 3))
    node.start()
    node.ready()
    crew.reach(played.ends)


def broker_frozen(played: Round, crew: Crew, rng: random.Random) -> None:
    """The only broker stands still for longer than the session of a member."""
    (node,) = _ground(played).nodes
    _reading(played, crew, rng)
    assert node.process is not None
    os.kill(node.process.pid, signal.SIGSTOP)
    time.sleep(rng.uniform(7, 10))
    os.kill(node.process.pid, signal.SIGCONT)
    crew.reach(played.ends)


def leader_lost(played: Round, crew: Crew, rng: random.Random) -> None:
    """Of three brokers the one dies that leads the first partition, and stays away until all is read."""
    ground = _ground(played)
    admin = KafkaAdminClient(bootstrap_servers=ground.kafka.split(","))
    (found,) = admin.describe_topics([played.topics["telemetry"]])
    leader = next(part["leader_id"] for part in found["partitions"] if part["partition_index"] == 0)
    admin.close()
    node = next(node for node in ground.nodes if node.number == leader)
    _reading(played, crew, rng)
    node.kill()
    crew.reach(played.ends)
    node.start()
    node.ready()


def database_gone(seconds: float) -> Disturbance:
    """The database crashes, and comes back after so many seconds."""

    def disturb(played: Round, crew: Crew, rng: random.Random) -> None:
        server = _ground(played).server
        assert server is not None
        _reading(played, crew, rng)
        server.stop(signal.SIGQUIT)
        time.sleep(seconds)
        server.start()
        crew.reach(played.ends)

    return disturb
