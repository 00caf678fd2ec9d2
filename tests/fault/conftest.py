"""The fixtures of tests/api/service.py."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "api"))

from service import kill_later, service, start_service  # noqa: E402, F401
