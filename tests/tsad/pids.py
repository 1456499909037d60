"""What a process of a test does with a socket: it says its number to whoever asks."""

import os
from socket import socket


def tell(heard: socket) -> None:
    """Until it is ended."""
    while True:
        line, _ = heard.accept()
        with line:
            line.sendall(str(os.getpid()).encode())


def leave(heard: socket) -> None:
    """As `tell`, once, and then end wrongly."""
    line, _ = heard.accept()
    with line:
        line.sendall(str(os.getpid()).encode())
    os._exit(3)
