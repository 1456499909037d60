import numpy as np
import pytest

from detectors.sentence import sentence

CALM = np.full(16, 0.2, np.float32)


def say(
    series,
    *,
    names=("cpu_r",),
    values=(1.0,),
    lower=0.1,
    upper=0.32,
    votes=("forecast", "subspace", "vote"),
    texts=None,
):
    observed = np.stack([np.asarray(series, np.float32), *[CALM] * (len(names) - 1)], axis=1)
    band = [np.full(len(names), edge, np.float32) for edge in (lower, upper)]
    return sentence(
        names, np.array(values), observed=observed, lower=band[0], upper=band[1], votes=votes, texts=texts or {}
    )


def ending(*last):
    return np.concatenate([CALM[: 16 - len(last)], last]).astype(np.float32)


def test_a_rise_with_a_follower_and_three_votes():
    assert (
        say(ending(0.93), names=("cpu_r", "disk_q", "net"), values=(2.0, 0.9, 0.1))
        == "cpu_r rose to 0.93, usual range 0.1 to 0.32; disk_q followed; forecast, subspace and vote agree."
    )


@pytest.mark.parametrize(
    ("series", "says"),
    [
        (ending(0.02), "cpu_r fell to 0.02, usual range 0.1 to 0.32"),
        (ending(0.9, 0.2), "cpu_r reached 0.9, usual range 0.1 to 0.32"),
        (ending(-0.5, 0.2), "cpu_r dropped to -0.5, usual range 0.1 to 0.32"),
        (ending(0.2), "cpu_r stood still at 0.2, usual range 0.1 to 0.32"),
        (ending(0.25, 0.15), "cpu_r at 0.15 moved out of step with its peers, usual range 0.1 to 0.32"),
        ([*[np.nan] * 15, 0.2], "cpu_r has only one value, 0.2, usual range 0.1 to 0.32"),
        (ending(np.nan), "cpu_r is missing"),
        (np.full(16, np.nan), "cpu_r is missing"),
    ],
)
def test_what_the_strongest_channel_did(series, says):
    assert say(series).startswith(says + "; ")


def test_an_excursion_long_past_is_not_what_happened():
    assert say([0.9, *CALM[1:]]).startswith("cpu_r stood still")


def test_a_constant_channel_that_moves_has_one_usual_value():
    assert say(ending(3.0), lower=1.0, upper=1.0).startswith("cpu_r rose to 3, usually 1;")


def test_an_unknown_range_is_not_invented():
    assert say(ending(0.9), lower=np.nan, upper=np.nan).startswith("cpu_r at 0.9 moved out of step with its peers;")


@pytest.mark.parametrize(
    ("votes", "says"),
    [
        ((), "no detector is beyond its own threshold, all together are."),
        (("vote",), "vote alone says so."),
        (("forecast", "vote"), "forecast and vote agree."),
    ],
)
def test_who_agrees(votes, says):
    assert say(ending(0.9), votes=votes).endswith(says)


def test_at_most_two_followers_and_only_those_that_pushed():
    names, values = ("a", "b", "c", "d", "e"), (4.0, 3.0, -3.5, 2.0, 1.9)
    assert "; b and d followed; " in say(ending(0.9), names=names, values=values)
    assert "followed" not in say(ending(0.9), names=names, values=(4.0, 0.9, 0.1, -4.0, 0.0))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("log.lines", "14 log lines"),
        ("log.new", "14 log lines never seen before"),
        ("log.other", "14 log lines of rare templates"),
        ("log.rare", "14 log lines that the history hardly knows"),
        ("log.sequence", "14 nats of surprise in the order of log lines"),
        ("log.severity.error", "14 log lines of severity error"),
        ("log.template.3", "14 log lines of template.3"),
    ],
)
def test_log_features_are_counts_of_lines(name, says):
    assert say(ending(14), names=(name,), lower=0, upper=2).startswith(f"{says} in a slot, usual range 0 to 2; ")


def test_a_template_is_called_by_its_text():
    new = say(ending(14), names=("log.new",), lower=0, upper=0, texts={"log.new": "disk <NUM> full"})
    assert new.startswith('14 log lines never seen before ("disk <NUM> full") in a slot')
    texts = {"log.template.3": "connection to <*> lost"}
    assert say(ending(14), names=("log.template.3",), lower=0, upper=0, texts=texts).startswith(
        '14 log lines "connection to <*> lost" in a slot, usually 0; '
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.523456, "0.523"), (1234.5, "1,234"), (123456789.0, "123,456,792"), (2.5e12, "2.5e+12"), (-4000.0, "-4,000")],
)
def test_numbers_are_short(value, written):
    assert f" to {written}," in say(ending(value))
