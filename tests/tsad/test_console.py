import io
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from tsad.console import Bars, heeding, interruptible, peak_memory
from tsad.runner import Progress


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_is_final(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with redirect_stderr(io.StringIO()) as said, pytest.raises(KeyboardInterrupt), interruptible() as stopping:
        assert not stopping()
        os.kill(os.getpid(), number)
        assert stopping()
        os.kill(os.getpid(), number)
    assert "stopping after this step" in said.getvalue()
    assert signal.getsignal(number) is before


def test_signals_are_as_before_behind_the_block() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as stopping:
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    assert not stopping()


def test_a_fit_ends_at_its_next_stage() -> None:
    told: list[tuple[str, int, int]] = []
    asked = iter([False, True])
    heed = heeding(lambda *stage: told.append(stage), lambda: next(asked))
    heed("one", 0, 2)
    with pytest.raises(KeyboardInterrupt):
        heed("two", 1, 2)
    assert told == [("one", 0, 2)]


def drawn(quiet: bool = False) -> tuple[str, str]:
    """Standard output and error of a fit and a run."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        with Bars(quiet) as bars:
            bars.count("read s")(120)
            bars.stages("fit s")("fit vote", 1, 2)
            tell = bars.standing("s")
            tell(Progress(rows=5, alerts=1, missing_slots=7))
            bars.done()
        return out.getvalue(), err.getvalue()


def test_bars_are_on_standard_error_and_say_what_goes_on() -> None:
    out, err = drawn()
    assert out == ""
    for part in ("read s", "120/120", "fit s: fit vote", "s: 1 alert, 7 slots to the first model", "5/5"):
        assert part in err
    assert drawn(quiet=True) == ("", "")


def test_peak_memory_is_not_that_of_the_parent() -> None:
    held = bytearray(300 << 20)
    code = "from tsad.console import peak_memory; print(peak_memory())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(said.stdout) < len(held) < peak_memory()


def test_peak_memory_is_in_bytes() -> None:
    assert 20 << 20 < peak_memory() < 1 << 40
