"""One daemon for all tests of a module, where starting one for each would only take time."""
import pytest

import harness


@pytest.fixture(scope="module")
def module_daemon(tmp_path_factory):
    daemon = harness.Daemon(tmp_path_factory.mktemp("daemon") / "data")
    yield daemon
    daemon.stop()
