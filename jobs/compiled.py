"""Where Numba keeps what it compiles."""

import os
from pathlib import Path


def keep_compiled_apart(output_folder: Path, place: str) -> None:
    """Give Numba a folder of this worker's own for what it compiles, kept from one start to the next.

    Two processes that fill one folder at the same time can leave code in it that crashes whoever loads it, for good.

    Parameters
    ----------
    output_folder : Path
        The folder lies in it, or in NUMBA_CACHE_DIR where that is set.
    place : str
        The same for the worker's successor, and no other's.
    """
    kept = Path(os.environ.get("NUMBA_CACHE_DIR") or output_folder / ".numba")
    os.environ["NUMBA_CACHE_DIR"] = str((kept / place).absolute())
