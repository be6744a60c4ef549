"""Data flow one way: imports follow the order of the rooms, without a circle; `import itm_jax` brings nothing heavy."""

import ast
import subprocess
import sys

from support.paths import ROOT

from itm_jax.__main__ import COMMANDS

PACKAGE = ROOT / "itm_jax"
# A module may import from its own room and from those before it. Rooms in one tuple may import one another.
ORDER = [
    ("__init__", "structs", "errors", "files", "terminal"),
    ("buckets",),
    ("config",),
    ("devices",),
    ("modules",),
    ("losses", "metrics", "scoring"),
    ("pretrained",),
    ("vision",),
    ("data",),
    ("models",),
    ("runs",),
    ("evaluation",),
    ("training",),
    ("checks",),
    ("testing",),
    ("cli",),
    ("tables", "viz"),
    ("web",),
    ("hub",),
    ("search",),
    ("bench",),
    ("demo",),  # a page around a loaded model: nothing but its command needs it
    ("main", "check", "convert", "reproduce", "visualize", "cache", "extract", "export"),
    ("__main__",),
]
PLACE = {room: k for k, rooms in enumerate(ORDER) for room in rooms}


def name_of(path):
    """The dotted name of a module of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def imports(path, *, everywhere):
    """The modules of the package that a file imports, at its top or everywhere in it."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "itm_jax":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                name = whole if whole in MODULES else node.module
                yield "itm_jax.__init__" if name == "itm_jax" else name
        elif isinstance(node, ast.Import):
            yield from ("itm_jax.__init__" for alias in node.names if alias.name == "itm_jax")


def room(name):
    return name.split(".")[1]


def test_imports_follow_the_order_of_the_rooms():
    up = [
        f"{name} imports {other}"
        for name, path in MODULES.items()
        for other in imports(path, everywhere=True)
        if PLACE[room(other)] > PLACE[room(name)] and room(name) != "__init__"  # which hands on lazily
    ]
    assert not up


def test_no_module_imports_itself_through_others():
    graph = {name: set(imports(path, everywhere=False)) - {name} for name, path in MODULES.items()}
    while leaves := [name for name, wanted in graph.items() if not wanted & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert not graph


def test_the_root_holds_few_modules():
    commands = {module.split(".")[1] for module, _ in COMMANDS.values()}
    assert len([path for path in PACKAGE.glob("*.py") if path.stem not in commands]) <= 6


def test_importing_the_package_is_light_and_hands_on_what_a_notebook_needs():
    script = (
        "import sys, itm_jax\n"
        "heavy = {'jax', 'flax', 'matplotlib', 'ml_collections', 'numpy', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert set(itm_jax.__all__) <= set(dir(itm_jax))\n"
        "config = itm_jax.quickstart()\n"
        "assert 'jax' not in sys.modules\n"
        "assert callable(itm_jax.train) and callable(itm_jax.evaluate) and callable(itm_jax.open_run)\n"
        "assert callable(itm_jax.build) and config.data.source == 'scenes'\n"
        "try:\n    itm_jax.nothing\nexcept AttributeError as e:\n    assert 'nothing' in str(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_pictures_leaves_the_backend_of_a_notebook_alone():
    script = (
        "import matplotlib, sys\n"
        "matplotlib.use('svg')\n"
        "import itm_jax.viz.report, itm_jax.viz.alignment, itm_jax.viz.curves, itm_jax.tables.picture\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert matplotlib.get_backend() == 'svg'\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
