"""A stream is fitted again every so often: a candidate, its shadow, and its promotion, beside the stream.

Workers ask `tend` now and then, as they follow promotions; one of them begins what is due (`storage.refits`). The work
itself is done by a process of its own (`tsad.background`), which may fail in any way: that costs an attempt.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from tempfile import TemporaryFile
from typing import Any

import structlog

from storage.leases import Clock
from storage.models import Models
from storage.refits import RefitRow, Refits
from storage.types import Audit, ModelRow
from tsad.config import Config
from tsad.rows import EPOCH

THREADS = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
"""The stream keeps its cores."""
AN_HOUR = timedelta(hours=1)
"""The history is written by the hour."""
SECRET = {"kafka", "http", "api", "log"}
"""What a fit does not need to know of the configuration."""


def request_of(config: Config, stream: str, now: int, step: str, detail: Mapping[str, Any]) -> dict[str, Any]:
    """What a process is asked: `step` ("fit" or "shadow") of `stream`. Of the cluster it knows where it may have to
    read topics."""
    told = json.loads(config.model_dump_json(exclude=SECRET))
    if config.of(stream).from_kafka:
        told["kafka"] = config.kafka.whole()
    return {"config": told, "stream": stream, "now": now, "step": step, "detail": detail}


class Child:
    """One request at work."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._out, self._err = TemporaryFile(), TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tsad.background"], stdin=subprocess.PIPE, stdout=self._out, stderr=self._err,
            start_new_session=True, env=THREADS | os.environ,
        )  # fmt: skip
        self._said: dict[str, Any] | None = None
        try:
            if self._process.stdin is not None:  # stays open: its end is ours
                self._process.stdin.write(json.dumps(request).encode() + b"\n")
                self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended already, and its exit code says how

    @property
    def process(self) -> int:
        """Its number."""
        return self._process.pid

    def answer(self) -> dict[str, Any] | None:
        """What it said, or how it ended without a word; None while it works."""
        code = self._process.poll()
        if code is not None and self._said is None:
            self._said = self._found(code)
            self._close()
        return self._said

    def _found(self, code: int) -> dict[str, Any]:
        said = self._lines(self._out)
        if code == 0 and said:
            found: dict[str, Any] = json.loads(said[-1])
            return found
        how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        return {"failed": ": ".join([f"its process {how}", *self._lines(self._err)[-1:]])}

    def wait(self) -> None:
        """Until it has ended."""
        self._process.wait()

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._close()

    def _lines(self, file: Any) -> list[str]:
        file.seek(0)
        return [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]

    def _close(self) -> None:
        for file in (self._out, self._err, self._process.stdin):
            if file is not None:
                file.close()


class Refitter:
    """The refits of one stream, as far as this process does them. `clock`: the wall clock."""

    def __init__(self, stream: str, config: Config, refits: Refits, models: Models, clock: Clock, owner: str) -> None:
        self._stream, self._config, self._refits, self._models = stream, config, refits, models
        self._clock, self._owner = clock, owner
        self._every = timedelta(microseconds=(config.of(stream).refit or 0) // 1000)
        self._shadow = timedelta(microseconds=config.of(stream).shadow // 1000)
        self._step = timedelta(microseconds=config.of(stream).step / 1000)
        self._log = structlog.get_logger()
        self._work: tuple[RefitRow, Child] | None = None

    @property
    def child(self) -> Child | None:
        """The process at work."""
        return self._work[1] if self._work else None

    def tend(self, active: str, lacking: Callable[[], bool] = lambda: False) -> None:
        """Begin what is due, and take down what has ended; `active` is the version in force. Where that is `lacking`
        something the first fit is due at once."""
        if self._work is None:
            taken = self._refits.take(self._stream, self._owner, self._every, self._shadow, lacking)
            if taken is not None:
                self._begin(taken, active)
            return
        taken, child = self._work
        answer = child.answer()
        if answer is not None:
            self._end(taken, answer)
            self._work = None

    def close(self) -> None:
        """Break off what is at work: it is due again at once."""
        if self._work is not None:
            taken, child = self._work
            self._work = None
            child.kill()
            self._refits.release(taken)

    def _end(self, taken: RefitRow, answer: dict[str, Any]) -> None:
        if taken.step == "fit":
            self._fitted(taken, answer)
        else:
            self._judged(taken, answer)

    def _begin(self, taken: RefitRow, active: str) -> None:
        now = self._clock()
        if taken.step == "fit":
            taken = replace(taken, detail={"beside": active, "begun": now.isoformat()})
        clock = (now - EPOCH) // timedelta(microseconds=1) * 1000
        request = request_of(self._config, self._stream, clock, taken.step, taken.detail)
        self._log.info("refit begins" if taken.step == "fit" else "shadow is judged", stream=self._stream)
        try:
            self._work = taken, Child(request)
        except OSError as error:  # no process, no memory
            self._end(taken, {"failed": f"no process could be started: {error}"})

    def _fitted(self, taken: RefitRow, answer: dict[str, Any]) -> None:
        """Of a fit comes a candidate, or nothing, and then the next attempt is a period later."""
        now = self._clock()
        if "failed" in answer:
            self._nothing(taken, "failed", answer["failed"], answer.get("wanting", 0))
            return
        version = answer["model"]["version"]
        known = {row.version: row.state for row in self._models.listing(self._stream)}
        if version in known:
            self._nothing(taken, "same", f"it is version {version} again, which is {known[version]}")
            return
        until = now + self._shadow
        detail = taken.detail | {name: answer[name] for name in ("model", "through", "columns", "anew")}
        following = replace(taken, step="shadow", next_at=until, version=version, detail=detail)
        figures = answer["figures"]
        told = {"attempt": taken.epoch, "outcome": "candidate", "version": version, **figures}
        meta = {"refit": figures | {"shadow_until": until.isoformat()}}
        candidate = ModelRow(self._stream, **answer["model"], created_at=now, meta=meta)
        if self._refits.ended(taken, following, Audit("refit", now, detail=told), candidate):
            self._log.info("candidate fitted", stream=self._stream, version=version, **figures)

    def _nothing(self, taken: RefitRow, outcome: str, reason: str, wanting: int = 0) -> None:
        """No candidate. Where only slots are `wanting` the next attempt comes when these have passed."""
        told = {"attempt": taken.epoch, "outcome": outcome, "reason": reason}
        passed = self._clock() + max(wanting * self._step, AN_HOUR)
        following = replace(
            taken, version=None, detail={}, next_at=min(passed, taken.next_at) if wanting else taken.next_at
        )
        if self._refits.ended(taken, following, Audit("refit", self._clock(), detail=told)):
            self._log.warning("no candidate", stream=self._stream, reason=reason, next_attempt=str(following.next_at))

    def _judged(self, taken: RefitRow, answer: dict[str, Any]) -> None:
        now = self._clock()
        begun = datetime.fromisoformat(taken.detail["begun"])
        following = replace(taken, step="fit", next_at=max(begun + self._every, now), version=None, detail={})
        refused = f"it could not be judged: {answer['failed']}" if "failed" in answer else answer["refused"]
        figures = answer.get("figures", {})
        decision = self._refits.judged(taken, following, figures, refused)
        if decision is not None:
            self._log.info("shadow judged", stream=self._stream, version=taken.version, decision=decision, **figures)


class Refitters:
    """The refits of every stream that this process runs."""

    def __init__(self, config: Config, models: Models, refits: Refits, clock: Clock, owner: str) -> None:
        self._config, self._models, self._refits, self._clock, self._owner = config, models, refits, clock, owner
        self._held: dict[str, Refitter] = {}

    def of(self, stream: str) -> Refitter:
        """What fits one stream again."""
        if stream not in self._held:
            parts = (self._config, self._refits, self._models, self._clock, self._owner)
            self._held[stream] = Refitter(stream, *parts)
        return self._held[stream]

    def tend(self, stream: str, active: str, lacking: Callable[[], bool]) -> None:
        """`Refitter.tend`, where the stream is fitted again at all."""
        if self._config.of(stream).refit is not None:
            self.of(stream).tend(active, lacking)

    def close(self) -> None:
        """Break off what is at work."""
        for refitter in self._held.values():
            refitter.close()
