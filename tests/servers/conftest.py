"""pytest collects nothing here, unless `make test-servers` runs it."""

import os

from tests.servers.run import COLLECT

collect_ignore_glob = [] if os.environ.get(COLLECT) else ["*"]
