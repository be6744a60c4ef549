"""Where the repository and the real data are."""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
F8K = pathlib.Path(os.environ.get("ITM_JAX_F8K", ROOT.parent / "shared" / "data" / "f8k"))
