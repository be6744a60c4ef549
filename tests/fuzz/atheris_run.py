"""Lets Atheris, which sees which lines of the library an input reaches, change the files of one reader.

    python -m venv venv-fuzz && venv-fuzz/bin/pip install -e '.[test,images,search,parity]' atheris
    PYTHONPATH=tests nice -n 10 venv-fuzz/bin/python -m fuzz.atheris_run TARGET -max_total_time=60

An input is the number of a file of the target, as one byte, and the content of that file. The other files are the
seed. Every finding is printed once, and the run goes on; what Atheris keeps is in a temporary folder.
"""

import json
import os
import pathlib
import random
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["itm_jax"]):
    import itm_jax  # noqa: F401
    from fuzz import limits
    from fuzz.cases import Folder
    from fuzz.mutate import mutate
    from fuzz.run import MEMORY
    from fuzz.targets import TARGETS


def main():
    """Runs the target that the command line names; further flags are those of libFuzzer."""
    name, flags = sys.argv[1], sys.argv[2:]
    target = TARGETS[name]
    root = pathlib.Path(
        tempfile.mkdtemp(prefix=f"itm_jax_atheris_{name}_", dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
    )
    os.environ |= {"MPLCONFIGDIR": str(root), "XDG_CACHE_HOME": str(root), "HF_HOME": str(root), "HF_HUB_OFFLINE": "1"}
    os.environ |= {"JAX_COMPILATION_CACHE_DIR": str(root), "PYTHONWARNINGS": "ignore"}
    limits.install(root)
    folder, seen = Folder(target, root), set()
    with atheris.instrument_imports(include=["itm_jax"]):  # the readers import their modules late
        for _ in range(2):
            folder.run({x: target.files[x] for x in target.names}, seconds=60)
    kept = root / "kept"
    kept.mkdir()
    for k, file in enumerate(target.names):
        (kept / f"seed{k}").write_bytes(bytes([k % 256]) + target.files[file])

    def file_of(data):
        return target.names[(data[0] if data else 0) % len(target.names)]

    def change(data, most, seed):
        """Half of the changes are those of `mutate`, which knows the forms; the others are libFuzzer's own."""
        rng = random.Random(seed)
        if not data or rng.random() < 0.5:
            return atheris.Mutate(data, most)
        return (data[:1] + mutate(rng, file_of(data), data[1:], [target.files[file_of(data)]]))[:most]

    def once(data):
        file = file_of(data)
        changes = {file: data[1:]}
        found = folder.run(target.repair(random.Random(len(data)), changes) if target.repair else changes)
        if found and found[1] not in seen:
            seen.add(found[1])
            keep = root / f"finding{len(seen)}"
            keep.write_bytes(data)
            print(
                "\x1e"
                + json.dumps({"target": name, "file": file, "kept": str(keep), "signature": found[1], "text": found[2]})
            )
            sys.stdout.flush()

    atheris.Setup([sys.argv[0], str(kept), "-timeout=0", "-rss_limit_mb=4096", *flags], once, custom_mutator=change)
    with limits.memory_limit(target.megabytes):
        atheris.Fuzz()


if __name__ == "__main__":
    main()
