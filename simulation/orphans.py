"""For processes that must not outlive the one that started them, kill -9 included."""

import multiprocessing
import os
import threading


def end_with_the_parent() -> None:
    """To be called in a process that ``multiprocessing`` has started: it ends when its parent has, however that came.

    Without it a worker whose parent was killed would wait for work for ever.
    """

    def watch() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
