"""Nothing of the library runs code from a user's file: what could do so does not stand in the code (SECURITY.md)."""

import ast

import pytest
from support.paths import ROOT

FILES = sorted(
    path for folder in ("itm_jax", "configs", "launch", "notebooks") for path in (ROOT / folder).rglob("*.py")
)
ALLOWED = {("itm_jax/vision/torch_file.py", "pickle.Unpickler")}  # known files alone, and only tensors are built
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "runpy.run_path",
    "marshal.loads",
    "marshal.load",
    "yaml.load",
    "dill.load",
    "joblib.load",
    "shelve.open",
}
UNPICKLERS = {"pickle", "marshal", "shelve", "dill", "joblib"}
WHOLE = UNPICKLERS | {name.partition(".")[0] for name in CALLS} | {"torch"}


def name_of(node):
    """`a.b.c` of a name or an attribute; "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}".lstrip(".")
    return ""


def findings(tree):
    """What a file does that could run code from data."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from (name for base in node.bases if (name := name_of(base)).startswith("pickle."))
        if isinstance(node, ast.ImportFrom) and node.module in UNPICKLERS:
            yield f"names from {node.module}"
        if isinstance(node, ast.ImportFrom):
            yield from (name for a in node.names if (name := f"{node.module}.{a.name}") in CALLS)
        if isinstance(node, ast.Import):  # under another name its calls would not be found
            yield from (f"{a.name} as {a.asname}" for a in node.names if a.asname and a.name in WHOLE)
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        keywords = {keyword.arg: getattr(keyword.value, "value", "unknown") for keyword in node.keywords}
        if (
            (isinstance(node.func, ast.Name) and name in BUILTINS)
            or name in CALLS
            or (name.startswith("pickle.") and not name.endswith("Error"))
        ):
            yield name
        if keywords.get("shell") or keywords.get("allow_pickle") or keywords.get("trust_remote_code"):
            yield f"{name} with {sorted(keywords)}"
        if name in ("np.load", "numpy.load") and len(node.args) > 2:
            yield f"{name} with a third argument, which is allow_pickle"
        if name == "torch.load" and keywords.get("weights_only") is not True:
            yield "torch.load without weights_only=True"
        if name.endswith((".extractall", ".unpack_archive")):
            yield name


def test_no_code_is_run_from_files():
    found = set()
    for path in FILES:
        place = path.relative_to(ROOT).as_posix()
        found |= {(place, what) for what in findings(ast.parse(path.read_text()))}
    assert found == ALLOWED


@pytest.mark.parametrize(
    "line",
    [
        "eval(text)",
        "exec(compile(text, 'x', 'exec'))",
        "pickle.load(file)",
        "import pickle as p",
        "from os import system",
        "from yaml import load",
        "subprocess.getoutput(line)",
        "runpy.run_path(path)",
        "np.load(path, None, True)",
        "class A(pickle.Unpickler): pass",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(line, shell=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "archive.extractall(folder)",
        "os.system(line)",
        "from pickle import loads",
        "np.load(path, allow_pickle=flag)",
    ],
)
def test_the_search_finds_what_it_looks_for(line):
    assert list(findings(ast.parse(line)))


@pytest.mark.parametrize(
    "line", ["model.eval()", "re.compile(text)", "np.load(path)", "torch.load(p, weights_only=True)"]
)
def test_the_search_leaves_the_rest_alone(line):
    assert not list(findings(ast.parse(line)))
