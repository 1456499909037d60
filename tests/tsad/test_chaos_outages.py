"""The broker and the database go away and come back while two workers read: nothing is lost, nothing is there twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import cluster
from servers import NoServerError, database_server

from tests.tsad.chaos import Disturbance, Round, play
from tests.tsad.outages import Mortal, broker_frozen, broker_restarted, database_gone
from tests.tsad.traffic import TINY


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Round]:
    """A traffic on servers that may be stopped, and what an undisturbed worker made of it."""
    folder: Path = tmp_path_factory.mktemp("outages")
    try:
        with cluster() as nodes, database_server() as server:
            ground = Mortal(nodes[0].address, server.url.removesuffix("postgres"), folder, tuple(nodes), server)
            yield Round.begin(ground, TINY, 3)
    except NoServerError as error:
        pytest.skip(str(error))


# a minute without the database, and the loss of a leader among three brokers, are rounds of `make chaos`
@pytest.mark.parametrize("disturb", [broker_restarted, broker_frozen, database_gone(0)], ids=lambda one: one.__name__)
def test_an_outage_leaves_no_trace(played: Round, disturb: Disturbance) -> None:
    different, _ = play(played, disturb, seed=6)
    assert different == []
    assert len(played.expected["alerts"]) > 20
