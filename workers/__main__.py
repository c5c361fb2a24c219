"""`python -m workers worker|beat|flower`, with Celery's and Flower's options."""

from __future__ import annotations

import sys

from workers.celery_command import main

if __name__ == "__main__":
    main(sys.argv[1:])
