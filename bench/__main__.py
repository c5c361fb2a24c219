"""The whole report: the comparison with dlt and the bare script, and how the costs grow. `make bench`.

    python -m bench

About twelve minutes. The other benchmarks are run by their names; see docs/performance/measurements.md.
"""

from __future__ import annotations

import subprocess
import sys

PARTS = ("bench.compare", "bench.growth", "bench.report")


def main() -> int:
    """Run the parts, each in a process of its own."""
    for part in PARTS:
        done = subprocess.run([sys.executable, "-m", part], check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
