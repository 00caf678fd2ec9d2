"""Fixtures for every folder of tests: a daemon, or a way to start several (harness.py)."""

import pytest

from harness import Daemon


@pytest.fixture
def start_daemon(tmp_path):
    started = []

    def start(*flags, data_dir=None, **options):
        daemon = Daemon(data_dir or tmp_path / "data", *flags, **options)
        started.append(daemon)
        return daemon

    yield start
    for daemon in started:
        if daemon.is_up:
            daemon.stop()
        else:
            assert "Sanitizer" not in daemon.log and "runtime error" not in daemon.log, daemon.log


@pytest.fixture
def daemon(start_daemon):
    return start_daemon()
