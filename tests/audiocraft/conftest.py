"""Caches of their own for these tests; the libraries read where they are when they are imported."""

import os
import tempfile
from pathlib import Path

CACHES = Path(tempfile.mkdtemp(prefix="caches"))
os.environ |= {"HF_HOME": str(CACHES / "hf"), "TORCH_HOME": str(CACHES / "torch"), "HF_HUB_OFFLINE": "1"}
