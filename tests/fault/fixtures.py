"""The fixtures of tests/api/service.py, for the tests here. (A conftest.py would hide the one of tests/api from those who
import it by name.)"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "api"))

from service import is_alive, kill_later, service, start_daemon, start_service  # noqa: E402, F401
