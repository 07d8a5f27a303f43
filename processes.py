"""Starting a module of ours in a Python process of its own."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def command(module: str, *arguments: object) -> list[str]:
    """The command line that runs a module.

    It stays in our folder, where relative paths mean what they mean to us; -P: and imports nothing from there.

    Parameters
    ----------
    module : str
        By its full name.
    *arguments : object
    """
    return [sys.executable, "-P", "-m", module, *map(str, arguments)]


def environment(**settings: str) -> dict[str, str]:
    """The environment of such a process: ours, with some settings, and with our modules to be found.

    Parameters
    ----------
    **settings : str
    """
    import_from = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | settings | {"PYTHONPATH": import_from}
