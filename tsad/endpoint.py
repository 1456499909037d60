"""The HTTP port of a run: whether it lives, whether it is ready, and its figures for Prometheus."""

import json
import threading
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from tsad.currentscores import foremost
from tsad.meter import Meter
from tsad.watch import PartitionStanding, Standing, Watch

Answer = tuple[HTTPStatus, str, bytes]
JSON = "application/json; charset=utf-8"
COUNTS = {
    "late": ("tsad_late_records", "Late records that took or will take effect."),
    "duplicates": ("tsad_duplicate_values", "Values of a repeated entity, feature and time: the first counted."),
    "evicted": ("tsad_evicted_entities", "Entities that had to go because of max_entities."),
}
"""What a partition counts for good: its checkpoint holds it, so it goes on under another owner."""


class Standings(Collector):
    """The last note of a watch as metrics; of at most `series` entities their scores."""

    def __init__(self, watch: Watch, series: int) -> None:
        self._watch, self._series = watch, series

    @override
    def collect(self) -> Iterator[Metric]:
        """Families of metrics; none that would be empty."""
        standing = self._watch.standing
        ready = GaugeMetricFamily("tsad_ready", "1 where /health/ready answers 200.", labels=["stream"])
        ready.add_metric([self._watch.stream], float(not self._watch.troubles()))
        yield ready
        yield from _of_inboxes(self._watch.held())
        if standing is None:
            return
        yield from _of_entities(self._watch.stream, standing.partitions, self._series)
        for family in (*_of_partitions(standing.partitions), *_counted(standing.partitions), *_of_run(standing)):
            if family.samples:
                yield family


def _of_inboxes(held: tuple[int, int] | None) -> Iterator[Metric]:
    """As it is now, whatever the run's own thread waits for."""
    if held is not None:
        records = GaugeMetricFamily("tsad_inbox_messages", "Messages that were fetched and wait to be worked on.")
        records.add_metric([], held[0])
        yield records
        size = GaugeMetricFamily("tsad_inbox_bytes", "Bytes of them.")
        size.add_metric([], held[1])
        yield size


def _of_entities(stream: str, parts: Iterable[PartitionStanding], series: int) -> Iterator[Metric]:
    """Named and labelled as vmanomaly's users know it, whose queries are streams here."""
    told, omitted = foremost([part.scores for part in parts if part.scores is not None], series)
    score = GaugeMetricFamily(
        "tsad_anomaly_score", "Score of the last closed slot, in thresholds: above 1 is an anomaly.",
        labels=["for", "stream", "entity"],
    )  # fmt: skip
    for entity, value in told:
        score.add_metric([stream, stream, entity], value)
    if told:
        yield score
    count = GaugeMetricFamily(
        "tsad_anomaly_score_omitted", "Entities whose score is not told, since http.series are told."
    )
    count.add_metric([], omitted)
    yield count


def _of_partitions(parts: Iterable[PartitionStanding]) -> list[Metric]:
    lag = GaugeMetricFamily(
        "tsad_lag_records", "Messages of a topic's partition that were not read.", labels=["topic", "partition"]
    )
    delay = GaugeMetricFamily(
        "tsad_watermark_delay_seconds", "How long ago, by the clock, the last closed slot ended.", labels=["partition"]
    )
    entities = GaugeMetricFamily("tsad_entities", "Entities in memory.", labels=["partition"])
    epoch = GaugeMetricFamily("tsad_lease_epoch", "The epoch of the partition's lease.", labels=["partition"])
    running = GaugeMetricFamily(
        "tsad_alerts_running", "Alerts that are not over.", labels=["partition", "state", "severity"]
    )
    model = GaugeMetricFamily("tsad_model_info", "1 for the model in force.", labels=["partition", "version"])
    quiet = GaugeMetricFamily(
        "tsad_no_data", "1 for an input that brings nothing any more.", labels=["partition", "input"]
    )  # fmt: skip
    for part in parts:
        number = str(part.number)
        for topic in part.quiet:
            quiet.add_metric([number, topic], 1)
        for topic, count in part.lags.items():
            lag.add_metric([topic, number], count)
        if part.delay is not None:
            delay.add_metric([number], part.delay)
        entities.add_metric([number], part.entities)
        epoch.add_metric([number], part.epoch)
        for (state, severity), count in part.running.items():
            running.add_metric([number, state, severity], count)
        if part.version is not None:
            model.add_metric([number, part.version], 1)
    return [lag, delay, entities, epoch, running, model, quiet]


def _counted(parts: Iterable[PartitionStanding]) -> list[Metric]:
    """What partitions have counted for good."""
    families = {name: CounterMetricFamily(*told, labels=["partition"]) for name, told in COUNTS.items()}
    dead = CounterMetricFamily(
        "tsad_dead_letters", "Records that could not be used.", labels=["partition", "reason"]
    )  # fmt: skip
    for part in parts:
        for name, count in part.counts.items():
            if name in families:
                families[name].add_metric([str(part.number)], count)
            elif name.startswith("dead:"):
                dead.add_metric([str(part.number), name.removeprefix("dead:")], count)
    return [*families.values(), dead]


def _of_run(standing: Standing) -> list[Metric]:
    partitions = GaugeMetricFamily("tsad_partitions", "Partitions that this process runs.")
    partitions.add_metric([], len(standing.partitions))
    retries = CounterMetricFamily(
        "tsad_retries", "Attempts that had to be repeated, by what did not answer.", labels=["of"]
    )
    for name, count in standing.retries.items():
        retries.add_metric([name], count)
    outbox = GaugeMetricFamily("tsad_outbox_messages", "Messages that wait for delivery.", labels=["partition"])
    age = GaugeMetricFamily("tsad_outbox_age_seconds", "Age of the oldest of them.", labels=["partition"])
    for number, (count, seconds) in standing.waiting.items():
        outbox.add_metric([str(number)], count)
        age.add_metric([str(number)], seconds)
    return [partitions, retries, outbox, age, *_budget(standing)]


def _budget(standing: Standing) -> list[Metric]:
    if standing.budget is None:
        return []
    expected = GaugeMetricFamily(
        "tsad_expected_entities", "Entities that alert_budget was computed for: the share of this process's partitions."
    )
    expected.add_metric([], standing.budget[1])
    mismatch = GaugeMetricFamily(
        "tsad_expected_entities_mismatch",
        "1 where the entities in memory are more than twice, or less than half, that.",
    )
    mismatch.add_metric([], float(standing.mismatch))
    return [expected, mismatch]


class Endpoint:
    """Serves `/health/live`, `/health/ready` and `/metrics` at `bind` ("host:port") on threads of its own, while `with`
    runs; `/metrics` tells the scores of at most `series` entities. OSError, naming the address, where it cannot be
    had."""

    def __init__(self, bind: str, watch: Watch, meter: Meter, series: int) -> None:
        self._watch, self._registry = watch, meter.registry
        meter.registry.register(Standings(watch, series))
        host, _, port = bind.rpartition(":")
        try:
            self._server = ThreadingHTTPServer((host.strip("[]"), int(port)), _handler(self))
        except OSError as error:
            raise OSError(f"http.bind = {bind!r}: {error.strerror or error}") from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> Answer:
        """Status, content type and body of a GET."""
        if path == "/metrics":
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._registry)
        if path == "/health/live":
            idle = self._watch.stuck()
            status = HTTPStatus.OK if idle is None else HTTPStatus.SERVICE_UNAVAILABLE
            return status, JSON, _json({"live": idle is None, "idle_seconds": idle})
        if path == "/health/ready":
            troubles = self._watch.troubles()
            status = HTTPStatus.SERVICE_UNAVAILABLE if troubles else HTTPStatus.OK
            told = [{"what": trouble.what, "detail": trouble.detail} for trouble in troubles]
            return status, JSON, _json({"ready": not troubles, "stream": self._watch.stream, "not_ready": told})
        known = ["/health/live", "/health/ready", "/metrics"]
        return HTTPStatus.NOT_FOUND, JSON, _json({"error": f"there is no {path}", "paths": known})


def _json(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _handler(endpoint: Endpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "tsad"
        sys_version = ""
        timeout = 10

        def do_GET(self) -> None:
            self._give(endpoint.answer(self.path.split("?")[0]))

        def do_HEAD(self) -> None:
            self._give(endpoint.answer(self.path.split("?")[0]))

        def _give(self, answer: Answer) -> None:
            status, kind, body = answer
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: Any) -> None:
            """Probes and scrapes are no news."""

    return Handler
