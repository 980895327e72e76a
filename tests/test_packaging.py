"""What an import loads, who may import whom, one name for an op in every layer, one version everywhere."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import medkernels
from tests import wheel_smoke
from tests.foreign import Foreign

ROOT = Path(__file__).resolve().parent.parent
DOMAINS = sorted(path.parent.name for path in (ROOT / "csrc").glob("*/bindings.cpp"))
#: Ops that are plain array expressions, in any framework and on any device, and so have no kernel.
WITHOUT_KERNEL = {
    ("topology", "betti_curve"),
    ("topology", "persistence_entropy"),
    ("topology", "persistence_image"),
    ("topology", "sliding_window"),
}


def public_ops() -> list[tuple[str, str]]:
    """(domain, op) of every public op; classes, which hold what ops give or take, are none."""
    modules = {domain: importlib.import_module(f"medkernels.{domain}") for domain in DOMAINS}
    return [
        (domain, op)
        for domain, module in modules.items()
        for op in sorted(module.__all__)
        if not isinstance(getattr(module, op), type)
    ]


def installed_packages_loaded(statement: str) -> set[str]:
    """Top-level packages from site-packages that a fresh interpreter has loaded after `statement`."""
    code = f"""
import json, sys, sysconfig
before = set(sys.modules)
{statement}
place = sysconfig.get_path("purelib")
files = {{name: getattr(module, "__file__", None) for name, module in sys.modules.items()}}
new = {{name for name, file in files.items() if name not in before and (file or "").startswith(place)}}
print(json.dumps(sorted(name.partition(".")[0] for name in new)))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd="/")
    return set(json.loads(done.stdout))


def test_import_loads_numpy_and_nothing_else() -> None:
    assert installed_packages_loaded("import medkernels") <= {"medkernels", "numpy"}


@pytest.mark.parametrize(
    "statement",
    [
        "import medkernels.zoo; medkernels.zoo.list_systems()",
        "import medkernels.cli",
        "import medkernels as mk, numpy as np; x = np.ones((1, 1, 2)); "
        "mk.render.ellipses(x, x, x[..., 0], x, x[0], (4, 4))",
        "import medkernels as mk, numpy as np; x = mk.topology.vietoris_rips(np.eye(4)); "
        "mk.topology.persistence_image(x), mk.topology.wasserstein_matrix(x)",
    ],
    ids=["zoo", "cli", "render with NumPy", "topology with NumPy"],
)
def test_frameworks_are_loaded_only_when_needed(statement: str) -> None:
    assert not installed_packages_loaded(statement) & {
        "torch",
        "triton",
        "jax",
        "jaxlib",
        "cupy",
        "lightning_fabric",
        "scipy",
    }


def test_the_loaded_packages_are_seen() -> None:
    """The checks above would notice another package."""
    assert "packaging" in installed_packages_loaded("import packaging")


def test_import_contracts() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("domain", "op"), public_ops())
def test_one_op_one_name_in_every_layer(domain: str, op: str) -> None:
    kernel = [f"csrc/{domain}/{op}.h", f"csrc/{domain}/{op}.cpp"]
    layers = [
        f"python/medkernels/{domain}/{op}.py",
        f"tests/{domain}/test_{op}.py",
        f"tests/reference/{op}.py",
    ]
    if (domain, op) not in WITHOUT_KERNEL:
        layers += kernel
    assert [path for path in layers if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize(("domain", "op"), public_ops())
def test_every_op_is_documented(domain: str, op: str) -> None:
    """In the reference, and with an example that the doctests run."""
    assert f"medkernels.{domain}" in (ROOT / f"docs/api/{domain}.md").read_text()
    function = getattr(importlib.import_module(f"medkernels.{domain}"), op)
    assert all(part in function.__doc__ for part in ("Parameters", "Returns", "Raises", ">>> "))


def test_the_wheel_check_calls_every_op() -> None:
    assert set(wheel_smoke.CALLS) == set(public_ops())


def test_wheel_check_with_numpy() -> None:
    wheel_smoke.try_numpy()


def test_wheel_check_with_torch() -> None:
    wheel_smoke.try_torch()


@pytest.mark.parametrize(("domain", "op"), public_ops())
def test_every_op_takes_what_speaks_dlpack(domain: str, op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And gives results in kind."""
    call = wheel_smoke.CALLS[domain, op]
    wanted = call(np.array)
    plain = wheel_smoke.plain
    monkeypatch.setattr(wheel_smoke, "plain", lambda each: plain(getattr(each, "array", each)))
    found = call(lambda values: Foreign(np.array(values)))
    assert isinstance(found, Foreign)
    assert np.array_equal(found.array, wanted)


def test_one_version() -> None:
    declared = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert declared is not None
    assert newest is not None
    assert declared[1] == newest[1] == medkernels.__version__


def test_every_dependency_is_pinned() -> None:
    """constraints.txt holds one exact version of every package that an extra or the build names."""
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    project = (ROOT / "pyproject.toml").read_text().split("[project.scripts]")[0]
    named = re.findall(r'"([A-Za-z0-9_.-]+)(?:\[[a-z,]+\])?>=', project)
    assert len(named) > 20
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in named} - pinned == set()
