"""One daemon for all tests of a module, where starting one for each would only take time."""
import importlib.util
import pathlib

import pytest

# By its path: other directories have a conftest.py too.
_spec = importlib.util.spec_from_file_location("api_harness", pathlib.Path(__file__).with_name("conftest.py"))
harness = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(harness)


@pytest.fixture(scope="module")
def module_daemon(tmp_path_factory):
    daemon = harness.Daemon(tmp_path_factory.mktemp("daemon") / "data")
    yield daemon
    daemon.stop()
