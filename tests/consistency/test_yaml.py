"""Recipe YAML: each key is used, each used key exists, each number explained.

The files are parsed to nodes only, so nothing they name is built.
"""

import ast
import csv
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?")
REFERENCE = re.compile(r"<([A-Za-z_]\w*)")
MAPPING = "tag:yaml.org,2002:map"
# Methods of the dictionary and namespace that hparams come in.
METHODS = {"get", "items", "keys", "values", "update", "copy", "__dict__"}


def recipe_yamls(root):
    """All YAML files of recipes, sorted."""
    return sorted(
        path
        for path in (root / "recipes").glob("**/*.yaml")
        if "results" not in path.relative_to(root).parts
    )


def compose(path):
    """Root node of a YAML file."""
    node = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    assert isinstance(node, yaml.MappingNode), f"{path} is not a mapping"
    return node


def entries(node):
    """Value nodes of a mapping node by key."""
    return {key.value: value for key, value in node.value}


def all_nodes(node):
    """A node and everything below it."""
    yield node
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from all_nodes(key)
            yield from all_nodes(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from all_nodes(item)


def base_of(path):
    """The file that a YAML file overrides, or None."""
    base = entries(compose(path)).get("base")
    return path.parent / base.value if base is not None else None


def effective_entries(path):
    """Top-level entries of a YAML file laid over those of its bases."""
    base = base_of(path)
    below = effective_entries(base) if base else {}
    own = entries(compose(path))
    own.pop("base", None)
    return laid_over(own, below)


def laid_over(own, below):
    """Entries of a mapping laid over those of another, at any depth."""
    merged = {**below, **own}
    for key in own.keys() & below.keys():
        both = isinstance(below[key], yaml.MappingNode)
        # A value with a tag of its own (!new:...) replaces the whole node.
        if both and own[key].tag == MAPPING and own[key].value:
            parts = laid_over(entries(own[key]), entries(below[key]))
            merged[key] = yaml.MappingNode(
                below[key].tag,
                [(yaml.ScalarNode("", name), x) for name, x in parts.items()],
            )
    return merged


def references(path):
    """Keys that `!ref` and `!copy` of a YAML file and its bases name."""
    base = base_of(path)
    names = references(base) if base else set()
    for node in all_nodes(compose(path)):
        if node.tag in ("!ref", "!copy"):
            names |= {*REFERENCE.findall(str(node.value))}
    return names


def is_hparams(node):
    """Whether an expression is `hparams`, `self.hparams`, `brain.hparams`."""
    return (isinstance(node, ast.Name) and node.id == "hparams") or (
        isinstance(node, ast.Attribute) and node.attr == "hparams"
    )


def hparams_access(node):
    """The key expression if a node reads or writes a key of hparams."""
    if isinstance(node, ast.Attribute) and is_hparams(node.value):
        return ast.Constant(node.attr) if node.attr not in METHODS else None
    if isinstance(node, ast.Subscript) and is_hparams(node.value):
        return node.slice
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Name) and node.func.id == "getattr":
        return node.args[1] if is_hparams(node.args[0]) else None
    if isinstance(node.func, ast.Attribute) and is_hparams(node.func.value):
        return node.args[0] if node.func.attr == "get" else None
    return None


def used_hparams(source):
    """Keys of hparams that Python code reads; those it assigns do not count.

    Returns the keys and, for keys put together by an f-string, patterns.
    """
    used, assigned, patterns = set(), set(), set()
    for node in ast.walk(ast.parse(source)):
        key = hparams_access(node)
        if isinstance(key, ast.JoinedStr):
            parts = [
                re.escape(part.value)
                if isinstance(part, ast.Constant)
                else ".+"
                for part in key.values
            ]
            patterns.add("".join(parts))
        elif isinstance(key, ast.Constant):
            stored = isinstance(getattr(node, "ctx", None), ast.Store)
            (assigned if stored else used).add(key.value)
    return used - assigned, patterns


def imported_modules(root, source):
    """Files of the project's package that Python code imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
            names.add(node.module)
    files = set()
    for name in names:
        if name.split(".")[0] == "speechbrain_ext":
            path = root.joinpath(*name.split("."))
            files |= {path.with_suffix(".py"), path / "__init__.py"}
    return {path for path in files if path.is_file()}


def recipe_code(root, script):
    """Sources of a recipe: its script, what that imports, and its brains.

    Modules further down take arguments, not hparams.
    """
    sources, queue = {}, {script}
    while queue:
        path = queue.pop()
        sources[path] = path.read_text("utf-8")
        queue |= {
            found
            for found in imported_modules(root, sources[path])
            if path == script or "brains" in found.parts
        } - sources.keys()
    return sources


def run_option_names():
    """Options that SpeechBrain's Brain takes out of hparams by itself."""
    from dataclasses import fields

    from speechbrain.core import RunOptions

    return {field.name for field in fields(RunOptions)}


def registered_scripts(root, folder):
    """Names of scripts by those of the YAML files of a folder."""
    found = {}
    for registry in sorted((root / "tests" / "recipes").glob("*.csv")):
        with registry.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                if root / Path(row["Hparam_file"]).parent == folder:
                    name = Path(row["Hparam_file"]).name
                    found[name] = Path(row["Script_file"]).name
    return found


def scripts_for(root, path):
    """Scripts that a YAML file is for, the registered one first.

    Beside an experiment.py, all others that no YAML file has for its own.
    """
    registered = registered_scripts(root, path.parent)
    own = path.with_name(registered.get(path.name, "experiment.py"))
    if own.name != "experiment.py":
        return [own]
    taken = set(registered.values()) | {own.name}
    others = sorted(path.parent.glob("*.py"))
    return [own, *(script for script in others if script.name not in taken)]


def sources(root, path):
    """Code that a YAML file is for."""
    found = {}
    for script in scripts_for(root, path):
        found |= recipe_code(root, script)
    return list(found.values())


def orphan_keys(root, path, also_used=frozenset()):
    """Top-level keys that nothing uses."""
    used, patterns = references(path) | set(also_used), set()
    for source in sources(root, path):
        keys, dynamic = used_hparams(source)
        used |= keys
        patterns |= dynamic
    return sorted(
        key
        for key in entries(compose(path)).keys() - {"base"} - used
        # `__set_seed: !apply:...` acts by being loaded.
        if not key.startswith("__")
        and not any(re.fullmatch(pattern, key) for pattern in patterns)
    )


def ghost_keys(root, path):
    """Keys that are used but that the file does not have."""
    used, scripts = references(path), scripts_for(root, path)
    for source in recipe_code(root, scripts[0]).values():
        used |= used_hparams(source)[0]
    # Others run trained models too, whose hparams are not the recipe's.
    for script in scripts[1:]:
        used |= used_hparams(script.read_text("utf-8"))[0]
    return sorted(used - effective_entries(path).keys())


def unknown_overrides(node, base, prefix=""):
    """Keys of an overriding mapping that its base does not have."""
    known = entries(base)
    faults = []
    for key, value in entries(node).items():
        if key not in known:
            faults.append(prefix + key)
        # A value with a tag of its own (!new:...) replaces the whole node.
        elif value.tag == MAPPING and isinstance(known[key], yaml.MappingNode):
            faults += unknown_overrides(value, known[key], f"{prefix}{key}.")
    return faults


def override_faults(path):
    """Keys of a file with a base that the base does not have."""
    own = compose(path)
    own.value = [(k, v) for k, v in own.value if k.value != "base"]
    base = yaml.MappingNode("", [])
    base.value = [
        (yaml.ScalarNode("", key), value)
        for key, value in effective_entries(base_of(path)).items()
    ]
    return unknown_overrides(own, base)


def duplicate_keys(path):
    """Keys that a mapping of the file has twice."""
    faults = []
    for node in all_nodes(compose(path)):
        if isinstance(node, yaml.MappingNode):
            seen = [key.value for key, _ in node.value]
            faults += {key for key in seen if seen.count(key) > 1}
    return sorted(faults)


def unexplained_numbers(path):
    """Lines with a number but no comment on them or right above them."""
    lines = path.read_text("utf-8").splitlines()
    faults = []
    for node in all_nodes(compose(path)):
        if not isinstance(node, yaml.ScalarNode) or node.style is not None:
            continue
        if not NUMBER.fullmatch(node.value):
            continue
        number = node.start_mark.line
        above = lines[number - 1].lstrip() if number else ""
        if "#" not in lines[number] and not above.startswith("#"):
            faults.append(f"line {number + 1}: {lines[number].strip()}")
    return list(dict.fromkeys(faults))


YAMLS = recipe_yamls(ROOT)
by_file = pytest.mark.parametrize(
    "path", YAMLS, ids=[path.relative_to(ROOT).as_posix() for path in YAMLS]
)


def test_there_are_recipes():
    assert YAMLS


@by_file
def test_no_orphan_keys(path):
    assert orphan_keys(ROOT, path, run_option_names()) == []


@by_file
def test_no_ghost_keys(path):
    assert ghost_keys(ROOT, path) == []


@by_file
def test_no_duplicate_keys(path):
    assert duplicate_keys(path) == []


@by_file
def test_overrides_exist_in_base(path):
    if base_of(path) is None:
        own_script = scripts_for(ROOT, path)[0].name != "experiment.py"
        assert path.name == "params.yaml" or own_script, "it has no base"
    else:
        assert override_faults(path) == []


@by_file
def test_numbers_are_explained(path):
    # An override means what the number in its base means.
    if base_of(path) is None:
        assert unexplained_numbers(path) == []


GOOD_YAML = """\
seed: 1986 # any integer
lr: 1e-3 # per step
__set_seed: !apply:seed_everything [!ref <seed>]
# channels
sizes: [16, 32]
opt: !name:torch.optim.AdamW
  lr: !ref <lr> * 2
"""
GOOD_SCRIPT = """\
from speechbrain_ext.brains.demo import DemoBrain
DemoBrain(opt=hparams["opt"])
"""
GOOD_BRAIN = "class DemoBrain:\n    def f(self):\n        self.hparams.sizes\n"


@pytest.fixture
def tree(tmp_path):
    """A project whose one recipe is in good order; returns its params.yaml."""
    recipe = tmp_path / "recipes" / "Corpus" / "task"
    recipe.mkdir(parents=True)
    (recipe / "params.yaml").write_text(GOOD_YAML)
    (recipe / "mini.yaml").write_text("base: params.yaml\nopt:\n  lr: 1\n")
    (recipe / "experiment.py").write_text(GOOD_SCRIPT)
    brains = tmp_path / "speechbrain_ext" / "brains"
    brains.mkdir(parents=True)
    (brains / "demo.py").write_text(GOOD_BRAIN)
    return recipe / "params.yaml"


def root_of(path):
    return path.parents[3]


def test_good_tree_has_no_faults(tree):
    root, mini = root_of(tree), tree.with_name("mini.yaml")
    assert recipe_yamls(root) == [mini, tree]
    for path in (tree, mini):
        assert orphan_keys(root, path) == []
        assert ghost_keys(root, path) == []
        assert duplicate_keys(path) == []
    assert override_faults(mini) == []
    assert unexplained_numbers(tree) == []


def test_a_yaml_may_be_for_another_script(tree):
    root, own = root_of(tree), tree.with_name("other.yaml")
    own.write_text("extent: 3 # of it\n")
    own.with_name("other.py").write_text('print(hparams["extent"])\n')
    assert orphan_keys(root, own) == []  # all scripts count beside a recipe
    assert "sizes" in ghost_keys(root, own)
    registry = root / "tests" / "recipes"
    registry.mkdir(parents=True)
    folder = "recipes/Corpus/task"
    (registry / "Corpus.csv").write_text(
        f"Script_file,Hparam_file\n{folder}/other.py,{folder}/other.yaml\n"
    )
    assert orphan_keys(root, own) == ghost_keys(root, own) == []
    assert ghost_keys(root, tree) == []


def test_base_of_a_base(tree):
    """An override of an override knows the keys of all of them."""
    more = tree.with_name("more.yaml")
    more.write_text("base: mini.yaml\nopt: {weight_decay: 1}\n")
    assert override_faults(more) == ["opt.weight_decay"]
    tree.write_text(GOOD_YAML + "  weight_decay: 0 # none\n")
    assert override_faults(more) == []


def test_orphan_is_found(tree):
    tree.write_text(GOOD_YAML + "left_over: True\n")
    assert orphan_keys(root_of(tree), tree) == ["left_over"]


def test_run_option_is_no_orphan(tree):
    tree.write_text(GOOD_YAML + "precision: fp32\n")
    assert orphan_keys(root_of(tree), tree, run_option_names()) == []


@pytest.mark.parametrize(
    "use",
    [
        "hparams['gone']",
        "brain.hparams.gone",
        "hparams.get('gone')",
        "getattr(brain.hparams, 'gone', None)",
    ],
)
def test_ghost_in_script_is_found(tree, use):
    tree.with_name("experiment.py").write_text(GOOD_SCRIPT + use + "\n")
    assert ghost_keys(root_of(tree), tree) == ["gone"]
    mini = tree.with_name("mini.yaml")
    assert ghost_keys(root_of(tree), mini) == ["gone"]


def test_key_from_an_f_string_is_used(tree):
    tree.write_text(GOOD_YAML + "head_lr: True\ntail_wd: True\n")
    script = tree.with_name("experiment.py")
    script.write_text(GOOD_SCRIPT + "getattr(brain.hparams, f'{part}_lr')\n")
    assert orphan_keys(root_of(tree), tree) == ["tail_wd"]


def test_ghost_in_brain_and_in_reference_is_found(tree):
    brain = root_of(tree) / "speechbrain_ext" / "brains" / "demo.py"
    brain.write_text(GOOD_BRAIN + "        self.hparams.sizs\n")
    tree.write_text(GOOD_YAML + "opt2: !ref <optt>\n")
    assert ghost_keys(root_of(tree), tree) == ["optt", "sizs"]


def test_unknown_override_is_found(tree):
    mini = tree.with_name("mini.yaml")
    mini.write_text("base: params.yaml\nsede: 1\nopt:\n  rl: 1\n")
    assert override_faults(mini) == ["sede", "opt.rl"]
    mini.write_text("base: params.yaml\nopt: !name:torch.optim.SGD\n  rl: 1\n")
    assert override_faults(mini) == []


def test_duplicate_is_found(tree):
    tree.write_text(GOOD_YAML + "seed: 2 # again\n")
    assert duplicate_keys(tree) == ["seed"]


def test_unexplained_number_is_found(tree):
    tree.write_text("a: 1 # s\n# Hz\nb: 2.5\nc: [1, 2]\nd: 1e-3\ne: x1\n")
    assert unexplained_numbers(tree) == ["line 4: c: [1, 2]", "line 5: d: 1e-3"]
