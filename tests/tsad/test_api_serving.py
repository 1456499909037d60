"""The port of `tsad serve`."""

import socket

import pytest

from tsad.api.serving import listening


def test_the_second_half_of_an_answer_does_not_wait_for_the_first_to_be_acknowledged() -> None:
    with listening("127.0.0.1", 0) as heard, socket.create_connection(heard.getsockname()):
        served, _ = heard.accept()
        with served:
            assert served.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_that_is_taken_is_named() -> None:
    with listening("127.0.0.1", 0) as heard:
        port = heard.getsockname()[1]
        with pytest.raises(OSError, match=rf"api\.bind = 127\.0\.0\.1:{port}: "):
            listening("127.0.0.1", port)
