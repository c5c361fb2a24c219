"""Python loads this by itself where this folder is on PYTHONPATH: a process whose main thread hangs from SIGXCPU on.

Its other threads go on, as those of a worker that waits for a lock for ever do.
"""

from __future__ import annotations

import signal
import threading

signal.signal(signal.SIGXCPU, lambda *_: threading.Event().wait())
