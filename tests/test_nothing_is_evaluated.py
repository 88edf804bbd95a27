"""Nothing received is unpickled, evaluated or run by a shell: the shipped code has no call that could.

What looks like one, and is allowed, stands in `ALLOWED` with its reason. A call that goes away takes its line along.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
MODULES: Final = frozenset(
    {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle"}
)
"""Loading what was written by these runs what stands in it."""
CALLS: Final = frozenset({"eval", "exec", "compile", "__import__", "execfile"})
METHODS: Final = frozenset(
    {
        *("os.system", "os.popen", "os.spawnl", "os.spawnv", "os.execv", "os.execl"),
        *("os.execve", "os.execle", "os.execvp", "os.execvpe", "os.execlp", "os.execlpe", "os.spawnvp", "os.spawnlp"),
        *("subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell"),
        *("tempfile.mktemp", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "pandas.read_pickle"),
        *("importlib.import_module", "import_module", "runpy.run_path", "runpy.run_module", "code.interact"),
        *("logging.config.listen", "numpy.core.multiarray.fromstring", "types.FunctionType", "types.CodeType"),
    }
)
ALLOWED: Final = {
    ("client/task.py", "importlib.import_module"): "the task that this client's own operator names by --task",
    ("client/task.py", "exec_module"): "the same, given as a file",
    ("fedtier_cli/main.py", "importlib.import_module"): "a command's module, by a table of our own",
    (
        "fedtier_cli/pictures.py",
        "importlib.import_module",
    ): "one module of ours, which needs Matplotlib",
    ("fedtier_cli/convert_command.py", "importlib.import_module"): "one module of ours, which needs torch",
    ("fedtier_cli/split_command.py", "importlib.import_module"): "one module of ours, which needs boto3",
    ("fedtier_cli/deploying/ansible_run.py", "importlib.import_module"): "ansible-runner, by its name",
    ("fedtier_cli/deploying/terraform_run.py", "importlib.import_module"): "python-terraform, by its name",
    ("fedtier_cli/tethered.py", "os.execvp"): "a process of a run, by a command line of our own",
    ("fedtier_cli/tethered.py", "runpy.run_module"): "the same, for a fedtier command",
    ("master_aggregator/event_messages.py", "import_module"): "TensorBoard's message classes, by names of our own",
}


@dataclass(frozen=True)
class Found:
    """A call or an import that is not for received data."""

    what: str
    line: int


def shipped() -> list[Path]:
    """Return the Python files that we ship, and the scripts beside them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = [name.rstrip("*") for name in settings["tool"]["setuptools"]["packages"]["find"]["include"]]
    folders = [ROOT / name for name in (*packages, "scripts", "examples")]
    return sorted([*ROOT.glob("*.py"), *(path for folder in folders for path in folder.rglob("*.py"))])


def dangers(source: str) -> Iterator[Found]:
    """Yield what the source does that could run what it was given."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Found(a.name, node.lineno) for a in node.names if a.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            yield from _imported(node)
        elif isinstance(node, ast.Call):
            yield from _called(node)


def _imported(node: ast.ImportFrom) -> Iterator[Found]:
    module = node.module or ""
    if module.partition(".")[0] in MODULES:
        yield Found(module, node.lineno)
    # A name that is called without its module would not be known by it.
    for alias in node.names:
        if f"{module}.{alias.name}" in METHODS and alias.name not in METHODS:
            yield Found(f"{module}.{alias.name}", node.lineno)


def _called(node: ast.Call) -> Iterator[Found]:
    name = _dotted(node.func)
    last = name.rpartition(".")[2]
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    if name in CALLS or name in METHODS or last == "exec_module":
        yield Found("exec_module" if last == "exec_module" else name, node.lineno)
    if name in {"torch.load", "load"} and not _is(keywords.get("weights_only"), True):
        yield Found("torch.load without weights_only=True", node.lineno)
    if "allow_pickle" in keywords and not _is(keywords["allow_pickle"], False):
        yield Found("allow_pickle", node.lineno)
    if "shell" in keywords and not _is(keywords["shell"], False):
        yield Found("a shell", node.lineno)
    if last == "extractall":
        yield Found("extractall", node.lineno)


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_the_shipped_code_has_no_way_to_run_what_it_is_given() -> None:
    files = shipped()
    assert {"fedtier", "client", "worker_aggregator", "master_aggregator", "fedtier_cli"} <= {
        path.relative_to(ROOT).parts[0] for path in files
    }
    found = {
        (str(path.relative_to(ROOT)), danger.what): danger.line
        for path in files
        for danger in dangers(path.read_text())
    }
    new = [f"{path}:{line}: {what}" for (path, what), line in sorted(found.items()) if (path, what) not in ALLOWED]
    assert new == []
    assert ALLOWED.keys() <= found.keys(), "what is not there any more is not allowed any more"


@pytest.mark.parametrize(
    "source",
    [
        *(
            "import pickle",
            "import pickle as p",
            "from pickle import loads",
            "import xml, marshal",
            "import dill.source",
        ),
        *("eval(text)", "exec(text)", "compile(text, '', 'exec')", "__import__(text)", "loader.exec_module(m)"),
        *("os.system(text)", "from os import system", "tempfile.mktemp()", "from tempfile import mktemp"),
        *("subprocess.run(text, shell=True)", "Popen(text, shell=chosen)", "yaml.load(text)"),
        *("torch.load(path)", "torch.load(path, weights_only=False)", "torch.load(path, weights_only=chosen)"),
        *("np.load(path, allow_pickle=True)", "np.save(path, a, allow_pickle=1)", "archive.extractall(folder)"),
        *("importlib.import_module(text)", "from importlib import import_module\nimport_module(text)"),
    ],
)
def test_each_danger_is_seen(source: str) -> None:
    assert list(dangers(source))


@pytest.mark.parametrize(
    "source",
    [
        *(
            "re.compile(text)",
            "model.eval()",
            "torch.load(path, weights_only=True)",
            "np.load(path, allow_pickle=False)",
        ),
        *("subprocess.run([text], shell=False)", "json.loads(text)", "yaml.safe_load(text)", "tempfile.mkstemp()"),
    ],
)
def test_what_is_no_danger_is_not_seen(source: str) -> None:
    assert not list(dangers(source))
