"""The documents say what is so, and the code is laid out as they say."""

import ast
import graphlib
import json
import re
import subprocess
import sys

import pytest
from support import ROOT
from support.documents import DOCUMENTS, blocks, run_python

import packnet_tf

PACKAGE = ROOT / "packnet_tf"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
MODULES = sorted(PACKAGE.rglob("*.py"))
# A module that outgrows it has more than one concept.
MOST_LINES = 350

# Flags of other programs that the documents name.
FOREIGN_FLAGS = {
    "dist",  # pytest-xdist
    "all",
    "build-arg",
    "check",
    "allow_version_labels_for_unavailable_models",
    "dir",
    "fix",
    "gpus",
    "flagfile",
    "help",
    "helpfull",
    "logdir",
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "no-deps",
    "output",
    "port",
    "rest_api_port",
    "rm",
    "saved-model",
    "wheel-dir",
}

# Prints the flags of every app and benchmark, and their defaults.
FLAGS_PROGRAM = """
import json, pathlib, runpy, sys
from absl import flags

found = {}
NO_APPS = "__init__ process run_flags task_app usage flags_table".split()

def look_at(folder, keep=()):
    for file in sorted(pathlib.Path(folder).glob("*.py")):
        if file.stem in NO_APPS:
            continue
        path = list(sys.path)
        runpy.run_path(str(file))
        sys.path[:] = path
        by_module = flags.FLAGS.flags_by_module_dict()
        own = [
            flag
            for module in ("<run_path>", "apps.run_flags")
            for flag in by_module.get(module, ())
        ]
        found[file.name] = {flag.name: flag.default for flag in own}
        for flag in own:
            if flag.name not in keep:
                delattr(flags.FLAGS, flag.name)

sys.path.insert(0, ".")
look_at("benchmarks")
from apps import run_flags
look_at("apps", keep=["workdir"])
print(json.dumps(found))
"""


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


def imports_of(path, known):
    """Returns the modules of the package that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(a.name for a in node.names if a.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return found


@pytest.fixture(scope="module")
def app_flags():
    """Flags by app and name, with their defaults."""
    answer = subprocess.run(
        [sys.executable, "-c", FLAGS_PROGRAM],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


# The documents.


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_and_named_files_exist(path):
    text = path.read_text()
    missing = [
        target
        for target in re.findall(
            # Links are in the prose; calls in the code look like them.
            r"\]\(([^)#:]+?)(?:#[^)]*)?\)",
            re.sub(r"```.*?```", "", text, flags=re.DOTALL),
        )
        if not (path.parent / target).exists()
    ]
    missing += [
        target
        for target in re.findall(
            r"\b((?:apps|benchmarks|tests|recipes)/\w+\.py)\b", text
        )
        if not (ROOT / target).exists()
    ]
    assert not missing


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_flags_in_documents_exist(path, app_flags):
    text = path.read_text()
    everywhere = FOREIGN_FLAGS.union(*app_flags.values())
    named = set(re.findall(r"(?<![\w-])--([a-z][\w-]*)", text))
    assert not named - everywhere
    # In a command, the flags have to be those of that very app.
    for line in "".join(blocks(path, "sh")).splitlines():
        app = re.match(r"python (?:apps|benchmarks)/(\w+\.py)", line)
        if app:
            given = set(re.findall(r" --(\w+)", line))
            assert not given - set(app_flags[app[1]]) - FOREIGN_FLAGS, line


def test_table_of_flags_is_what_the_apps_define():
    answer = subprocess.run(
        [sys.executable, "-m", "apps.flags_table"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == (ROOT / "docs" / "flags.md").read_text()


def test_public_names_are_documented():
    text = "".join(path.read_text() for path in DOCUMENTS)
    names = [*packnet_tf.__all__, *packnet_tf.layers.__all__]
    assert not [n for n in names if not re.search(rf"\b{n}\b", text)]


@pytest.mark.parametrize(
    "page, printed",
    [
        ("python", ["kernel"]),
        ("any_network", ["binary_accuracy", "(8, 4)", "(8, 2)"]),
        ("report", ["0.625 0.0"]),
    ],
)
def test_python_blocks_of_a_page_run(page, printed, tmp_path):
    pytest.importorskip("sklearn")
    shown = run_python(ROOT / "docs" / f"{page}.md", tmp_path)
    assert not [text for text in printed if text not in shown]


# The layout of the code.


def packages():
    """Returns the packages in the order of the table: the lowest first."""
    text = ARCHITECTURE.read_text()
    table = text[text.index("| package |") :].split("\n\n")[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.M)


def package_of(module):
    return module.split(".")[1]


def test_the_table_has_every_package():
    found = {
        path.stem
        if path.parent == PACKAGE
        else path.relative_to(PACKAGE).parts[0]
        for path in MODULES
    }
    assert len(packages()) == len(set(packages()))
    assert set(packages()) == found - {"__init__"}


def test_packages_import_only_from_those_above_them():
    order = packages()
    known = {module_name(path) for path in MODULES}
    wrong = []
    for path in set(MODULES) - {PACKAGE / "__init__.py"}:
        name = module_name(path)
        for other in imports_of(path, known) - {"packnet_tf"}:
            if order.index(package_of(other)) > order.index(package_of(name)):
                wrong.append(f"{name} imports {other}")
    assert not wrong


def test_no_imports_go_in_a_circle():
    known = {module_name(path) for path in MODULES}
    graph = {module_name(path): imports_of(path, known) for path in MODULES}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("folder", ["apps", "benchmarks"])
def test_nothing_in_the_package_imports_the_apps(folder):
    pattern = re.compile(rf"^\s*(from|import) {folder}\b", re.M)
    assert not [p for p in MODULES if pattern.search(p.read_text())]


def test_files_are_short():
    everything = [
        path
        for folder in ("packnet_tf", "apps", "benchmarks", "tests")
        for path in (ROOT / folder).rglob("*.py")
    ]
    lengths = {p: len(p.read_text().splitlines()) for p in everything}
    assert not {str(p): n for p, n in lengths.items() if n > MOST_LINES}


def test_no_assert_outside_tests():
    files = [
        *MODULES,
        *ROOT.glob("apps/*.py"),
        *ROOT.glob("benchmarks/*.py"),
        *ROOT.glob("recipes/*.py"),
    ]
    assert not [
        f"{path.name}:{node.lineno}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]


def test_bundled_files_are_installed_with_the_package():
    setup = (ROOT / "setup.py").read_text()
    assert 'package_data={"packnet_tf.data": ["files/*"]}' in setup
    assert (PACKAGE / "data/files/fashion_mnist_subset.npz").is_file()
