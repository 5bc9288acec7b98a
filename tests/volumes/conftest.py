"""Two worker processes for all tests of volumes: to start one takes two seconds of a processor."""

import pytest

from unconv.volumes.engine.pools import DaskPool


class Workers:
    """A pool of two workers of this machine, started when it is first asked for."""

    def __init__(self):
        self._pool = None

    @property
    def pool(self):
        """The pool, which a test may not close."""
        if self._pool is None:
            self._pool = DaskPool(2)
        self._pool._client.wait_for_workers(2, timeout=120)  # one may have been killed
        return self._pool

    @property
    def cluster(self):
        return self.pool._cluster

    def lose(self):
        """Close the scheduler; the next test starts another one."""
        self._pool._cluster.close()

    def close(self):
        if self._pool is not None:
            self._pool.close()
        self._pool = None


@pytest.fixture(scope="session")
def workers():
    pytest.importorskip("distributed")
    found = Workers()
    yield found
    found.close()
