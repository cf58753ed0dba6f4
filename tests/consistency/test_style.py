"""What the code must not contain, and who may import whom."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ["speechbrain_ext", "data_prep"]
CODE = [*LIBRARY, "recipes", "benchmarks", "docs"]
TEXTS = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".cff", ".csv", ""}
# Put together here, so that this file does not contain what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.}/])/(work|home|root|tmp/w)" + r"/\w")
REGISTRY_HOST = re.compile(r"pypi\.org|python" + r"hosted|npmjs\.")
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")

# Module prefix -> import prefixes that it must not contain, even inside
# functions.
FORBIDDEN_IMPORTS = {
    "data_prep": [
        "torch",
        "torchaudio",
        "transformers",
        "speechbrain",
        "recipes",
        "speechbrain_ext.brains",
        "speechbrain_ext.encoders",
        "speechbrain_ext.heads",
        "speechbrain_ext.inference",
    ],
    "speechbrain_ext": ["recipes", "tests", "benchmarks"],
    "speechbrain_ext.encoders": ["data_prep"],
    "speechbrain_ext.heads": ["data_prep"],
    "speechbrain_ext.losses": ["data_prep"],
    "speechbrain_ext.metrics": ["data_prep", "torch", "speechbrain"],
    "speechbrain_ext.inference": [
        "data_prep",
        "speechbrain",
        "speechbrain_ext.brains",
    ],
    # SpeechBrain takes seconds to import; the command line does without.
    "speechbrain_ext.cli": ["speechbrain", "speechbrain_ext.brains"],
    "speechbrain_ext.audio": ["speechbrain"],
    "speechbrain_ext.formats": ["speechbrain", "torch"],
    "speechbrain_ext.frames": ["speechbrain"],
    "speechbrain_ext.notes": ["speechbrain", "torch"],
    "recipes": ["tests", "benchmarks"],
}
# Methods that SpeechBrain's Brain declares and documents; ours override them.
BRAIN_HOOK = re.compile(
    r"on_\w+|compute_(forward|objectives)|(fit|evaluate)_batch|"
    r"init_optimizers|zero_grad"
)


def python_files(root, folders):
    """Python files of some folders."""
    return sorted(
        path
        for folder in folders
        for path in (root / folder).rglob("*.py")
        if "results" not in path.relative_to(root).parts
    )


def dotted(node):
    """Name of an expression such as `a.b.c`; "" for any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        front = dotted(node.value)
        return f"{front}.{node.attr}" if front else ""
    return ""


def keyword(call, name):
    """Constant value of a keyword argument, or None."""
    for argument in call.keywords:
        if argument.arg == name and isinstance(argument.value, ast.Constant):
            return argument.value.value
    return None


def call_smell(call):
    """What is wrong with a call, or None."""
    name = dotted(call.func)
    if name == "hasattr" and call.args:
        if dotted(call.args[0]).split(".")[-1] == "hparams":
            return "a key of hparams exists or does not: no hasattr"
    elif name in ("sys.path.append", "sys.path.insert"):
        return "sys.path is not changed: install the package"
    elif name in ("torchaudio.load", "torchaudio.save", "torchaudio.info"):
        return "torchaudio's I/O is gone: use speechbrain_ext.audio"
    elif name in ("pickle.load", "pickle.loads", "joblib.load"):
        return "unpickling runs whatever a file says"
    elif name == "torch.load" and keyword(call, "weights_only") is not True:
        return "torch.load without weights_only=True unpickles"
    elif name in ("np.load", "numpy.load") and keyword(call, "allow_pickle"):
        return "numpy.load with allow_pickle=True unpickles"
    elif name in ("eval", "exec"):
        return f"{name} runs whatever a string says"
    return None


def smells(source):
    """Bad habits in Python code, as (line, sentence)."""
    tree = ast.parse(source)
    found = []
    compared = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for part in ast.walk(node)
    }
    for node in ast.walk(tree):
        smell = None
        if isinstance(node, ast.Call):
            smell = call_smell(node)
        elif isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc
            name = dotted(
                raised.func if isinstance(raised, ast.Call) else raised
            )
            if name in ("Exception", "BaseException"):
                smell = f"raise {name}: use a class of speechbrain_ext.errors"
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.fullmatch(r"cuda(:\d+)?", node.value)
            and id(node) not in compared
        ):
            smell = "a device is the caller's choice"
        if smell:
            found.append((node.lineno, smell))
    for node in tree.body:
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and dotted(call.func) in (
            "warnings.filterwarnings",
            "warnings.simplefilter",
            "filterwarnings",
            "simplefilter",
        ):
            found.append((node.lineno, "warnings silenced for everybody"))
    return sorted(found)


def code_faults(root):
    """Smells of the whole tree, as file:line: sentence."""
    faults = []
    for path in python_files(root, CODE):
        place = path.relative_to(root).as_posix()
        for line, smell in smells(path.read_text("utf-8")):
            # The command line names the devices to choose from.
            if place.endswith("/cli.py") and "device" in smell:
                continue
            faults.append(f"{place}:{line}: {smell}")
    return faults


def text_faults(root):
    """Paths of one machine, registry hosts and unfinished work in any text."""
    folders = [*CODE, "tests", "pretrained", ".ci"]
    files = [path for path in root.iterdir() if path.is_file()]
    for folder in folders:
        files += (root / folder).rglob("*")
    faults = []
    for path in sorted(files):
        parts = path.relative_to(root).parts
        if (
            not path.is_file()
            or path.suffix not in TEXTS
            or {"__pycache__", "results", ".git"} & {*parts}
        ):
            continue
        for number, line in enumerate(
            path.read_text("utf-8", errors="replace").splitlines(), start=1
        ):
            for pattern in (MACHINE_PATH, REGISTRY_HOST, UNFINISHED):
                if pattern.search(line):
                    faults.append(f"{'/'.join(parts)}:{number}: {line.strip()}")
    return faults


def parameters(function):
    """Names of a function's parameters without self and cls."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    names = [argument.arg for argument in named]
    names += [a.arg for a in (arguments.vararg, arguments.kwarg) if a]
    return [name for name in names if name not in ("self", "cls")]


def own_nodes(function):
    """Nodes of a function without those of functions inside it."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            continue
        yield node
        yield from own_nodes(node)


def function_fault(function):
    """What a function's docstring lacks, or None."""
    decorators = {dotted(node) for node in function.decorator_list}
    if {
        "property",
        "cached_property",
        "functools.cached_property",
    } & decorators:
        return None if ast.get_docstring(function) else "no docstring"
    if any(name.endswith((".setter", "overload")) for name in decorators):
        return None
    doc = ast.get_docstring(function)
    if not doc:
        return "no docstring"
    if parameters(function) and not has_section(doc, "Arguments"):
        return "no Arguments section"
    nodes = list(own_nodes(function))
    yields = any(isinstance(n, ast.Yield | ast.YieldFrom) for n in nodes)
    returns = not yields and any(
        isinstance(n, ast.Return)
        and n.value is not None
        and not (isinstance(n.value, ast.Constant) and n.value.value is None)
        for n in nodes
    )
    # A function without parameters may say it all in one sentence.
    wants_returns = parameters(function) and returns
    if wants_returns and not has_section(doc, "Returns"):
        return "no Returns section"
    if yields and not (
        has_section(doc, "Yields") or has_section(doc, "Returns")
    ):
        return "no Yields section"
    return None


def has_section(doc, title):
    """Whether a docstring has a section with an underlined title."""
    return re.search(rf"(?m)^{title}\n-{{3,}}$", doc) is not None


def class_fault(node):
    """What a class's docstring lacks, or None."""
    doc = ast.get_docstring(node)
    if not doc:
        return "no docstring"
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            inner = ast.get_docstring(item) or ""
            if parameters(item) and not has_section(
                doc + "\n\n" + inner, "Arguments"
            ):
                return "no Arguments section"
    decorators = [
        dotted(d.func if isinstance(d, ast.Call) else d)
        for d in node.decorator_list
    ]
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
    if (
        any(name.split(".")[-1] == "dataclass" for name in decorators)
        and fields
        and not (
            has_section(doc, "Arguments") or has_section(doc, "Attributes")
        )
    ):
        return "no Arguments section"
    return None


def docstring_faults(root):
    """Public functions, classes and methods of the library, badly described."""
    faults = []
    for path in python_files(root, LIBRARY):
        place = path.relative_to(root).as_posix()
        tree = ast.parse(path.read_text("utf-8"))
        scopes = [(tree, "")]
        for scope, prefix in scopes:
            for node in scope.body:
                name = getattr(node, "name", "_")
                if name.startswith("_"):
                    continue
                fault = None
                if isinstance(node, ast.ClassDef):
                    fault = class_fault(node)
                    scopes.append((node, f"{name}."))
                elif isinstance(node, ast.FunctionDef):
                    if prefix and BRAIN_HOOK.fullmatch(name):
                        continue
                    fault = function_fault(node)
                if fault:
                    faults.append(f"{place}: {prefix}{name}: {fault}")
    return faults


def module_name(root, path):
    """Dotted name of a file."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(source, module):
    """Names that Python code imports anywhere, as (line, dotted name)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            front = module.split(".")[: -node.level] if node.level else []
            source_name = ".".join([*front, *filter(None, [node.module])])
            for alias in node.names:
                yield node.lineno, f"{source_name}.{alias.name}"


def within(name, prefix):
    """Whether a dotted name is a prefix or lies below it."""
    return name == prefix or name.startswith(prefix + ".")


def import_faults(root):
    """Imports against the direction of the dependencies."""
    faults = []
    for path in python_files(root, CODE):
        module = module_name(root, path)
        banned = {
            name
            for prefix, names in FORBIDDEN_IMPORTS.items()
            if within(module, prefix)
            for name in names
        }
        for line, name in imports(path.read_text("utf-8"), module):
            if any(within(name, prefix) for prefix in banned):
                faults.append(f"{module}:{line}: imports {name}")
    return faults


def test_no_smells():
    assert python_files(ROOT, LIBRARY)
    assert code_faults(ROOT) == []


def test_no_machine_paths_and_nothing_unfinished():
    assert text_faults(ROOT) == []


def test_everything_public_is_described():
    assert docstring_faults(ROOT) == []


def test_dependencies_point_one_way():
    assert import_faults(ROOT) == []


def test_command_line_starts_without_heavy_libraries():
    heavy = "speechbrain transformers matplotlib pretty_midi music21 librosa"
    code = (
        "import sys, speechbrain_ext.cli\n"
        f"print(*sorted(set({heavy.split()!r}) & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip() == ""


@pytest.mark.parametrize(
    "line",
    [
        "hasattr(self.hparams, 'x')",
        "raise Exception('no')",
        "raise Exception",
        "sys.path.append('..')",
        "torchaudio.load(path)",
        "device = 'cuda'",
        "model.to('cuda:0')",
        "warnings.filterwarnings('ignore')",
        "pickle.load(stream)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
    ],
)
def test_smell_is_found(line):
    ((number, _),) = smells("import os\n" + line)
    assert number == 2


@pytest.mark.parametrize(
    "line",
    [
        "hasattr(stream, 'read')",
        "raise AudioError('no')",
        "raise",
        "torch.load(path, weights_only=True)",
        "np.load(path)",
        "pinned = device.type == 'cuda'",
        "def f():\n    warnings.simplefilter('ignore')",
        "words = 'cuda or cpu'",
    ],
)
def test_good_habit_is_no_smell(line):
    assert smells(line) == []


def put(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_smells_are_found_in_the_tree(tmp_path):
    put(tmp_path, "recipes/X/task/experiment.py", "import os\neval('1')\n")
    put(tmp_path, "speechbrain_ext/cli.py", "CHOICES = ['cpu', 'cuda']\n")
    (fault,) = code_faults(tmp_path)
    assert fault.startswith("recipes/X/task/experiment.py:2: eval")


@pytest.mark.parametrize(
    "text",
    [
        "see /wo" + "rk/main",
        "'/ho" + "me/me/x.wav'",
        "`/" + "root/x`",
        "x = 1  # TO" + "DO: two",
        "pip install -i https://py" + "pi.org/simple",
    ],
)
def test_unwanted_text_is_found(tmp_path, text):
    put(tmp_path, "tests/unit/test_x.py", "\n" + text)
    (fault,) = text_faults(tmp_path)
    assert fault.startswith("tests/unit/test_x.py:2: ")


@pytest.mark.parametrize(
    "text", ["net/work/x", "{data_root}/work/x", "./root/x"]
)
def test_wanted_text_is_left_alone(tmp_path, text):
    put(tmp_path, "README.md", text)
    assert text_faults(tmp_path) == []


ARGUMENTS = "\n\n    Arguments\n    ---------\n    x : int\n    "
RETURNS = "\n    Returns\n    -------\n    int\n    "


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("def f():\n    pass", "f: no docstring"),
        ("def f(x):\n    '''Do.'''", "f: no Arguments section"),
        (f"def f(x):\n    '''Do.{ARGUMENTS}'''", None),
        (
            f"def f(x):\n    '''Do.{ARGUMENTS}'''\n    return 1",
            "f: no Returns section",
        ),
        (f"def f(x):\n    '''Do.{ARGUMENTS}{RETURNS}'''\n    return 1", None),
        ("def f():\n    '''Do.'''\n    yield 1", "f: no Yields section"),
        ("def f():\n    '''Return one.'''\n    return 1", None),
        ("def _f(x):\n    return x", None),
        ("class A:\n    pass", "A: no docstring"),
        (
            "class A:\n    '''An A.'''\n    def __init__(self, x): 1",
            "A: no Arguments section",
        ),
        (
            "@dataclass(frozen=True)\nclass A:\n    '''An A.'''\n    x: int",
            "A: no Arguments section",
        ),
        (
            "class A:\n    '''An A.'''\n    def f(self, x):\n        '''Do.'''",
            "A.f: no Arguments section",
        ),
        (
            "class A:\n    '''An A.'''\n"
            "    @property\n    def f(self):\n        '''One.'''\n"
            "        return 1",
            None,
        ),
        ("class A(Brain):\n    '''A.'''\n    def on_fit_start(self): 1", None),
    ],
)
def test_docstring_rule(tmp_path, source, fault):
    put(tmp_path, "data_prep/x.py", source)
    expected = [] if fault is None else [f"data_prep/x.py: {fault}"]
    assert docstring_faults(tmp_path) == expected


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("data_prep/x.py", "import torch.nn"),
        ("data_prep/x.py", "def f():\n    from speechbrain_ext import brains"),
        ("data_prep/mini/x.py", "from speechbrain_ext.encoders.ssl import E"),
        ("speechbrain_ext/encoders/x.py", "from data_prep import manifest"),
        ("speechbrain_ext/inference/x.py", "import recipes.X"),
        ("speechbrain_ext/inference/x.py", "from ..brains import y"),
        ("speechbrain_ext/cli.py", "import speechbrain as sb"),
    ],
)
def test_import_against_the_direction_is_found(tmp_path, file, source):
    put(tmp_path, file, source)
    assert len(import_faults(tmp_path)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("data_prep/x.py", "from speechbrain_ext.notes import Note"),
        ("speechbrain_ext/inference/x.py", "from speechbrain_ext import audio"),
        ("speechbrain_ext/brains/x.py", "import speechbrain as sb"),
        ("speechbrain_ext/cli.py", "from data_prep import CORPORA"),
    ],
)
def test_import_along_the_direction_is_fine(tmp_path, file, source):
    put(tmp_path, file, source)
    assert import_faults(tmp_path) == []
