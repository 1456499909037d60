"""A process of the local engine: a task comes as a JSON line on standard input, its answer goes as one to standard
output. It ends when its parent does, however that ends, and goes before its parent where memory is short.
"""

import json
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from tsad.engines.tasks import LOG_FORM, perform
from tsad.logs import configure

READY = "ready"
"""Its first line."""
OUT_OF_MEMORY = "500"
"""Before a server or a driver, after what is done in the background."""


def _listen(tasks: SimpleQueue[str]) -> None:
    """Take tasks in, also while one is at work: the end of standard input is the end of the parent."""
    for line in sys.stdin:
        tasks.put(line)
    os._exit(1)


def _own_output() -> int:
    """Answers have a line of their own; what a task prints goes to standard error."""
    answers = os.dup(1)
    os.dup2(2, 1)
    return answers


def main() -> None:
    """Do what comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    with suppress(OSError):  # Linux only
        Path("/proc/self/oom_score_adj").write_text(OUT_OF_MEMORY)
    configure("json" if os.environ.get(LOG_FORM) == "json" else "console")
    tasks: SimpleQueue[str] = SimpleQueue()
    with os.fdopen(_own_output(), "w", encoding="utf-8") as answers:
        print(READY, file=answers, flush=True)
        threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
        while True:
            print(json.dumps(perform(*json.loads(tasks.get()))), file=answers, flush=True)


if __name__ == "__main__":
    main()
