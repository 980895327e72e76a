"""Systems are found by name, without loading what is not asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from medkernels import zoo


@pytest.fixture
def toy() -> Iterator[type]:
    """A system of the caller's own, taken out again afterwards."""

    @zoo.register("toy_system", title="A toy", paper="None", number=99)
    class Toy:
        def __init__(self, width: int = 3) -> None:
            self.width = width

    yield Toy
    del zoo._REGISTERED["toy_system"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo folder with systems that are written by the test."""
    monkeypatch.setattr(zoo, "_FOLDER", tmp_path)
    monkeypatch.setattr(zoo, "__path__", [str(tmp_path)])
    monkeypatch.setattr(zoo, "_REGISTERED", {})
    return tmp_path


def add(folder: Path, name: str, code: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").touch()
    (folder / name / "system.py").write_text(code)
    (folder / name / "card.md").write_text(f"# The card of {name}\n")


def test_listing_loads_nothing_heavy() -> None:
    code = (
        "import sys; from medkernels import zoo; names = zoo.list_systems(); "
        "heavy = {'torch', 'lightning_fabric', 'matplotlib', 'huggingface_hub'} & sys.modules.keys(); "
        "assert names == sorted(names) and 'engine' not in names, names; assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_report_needs_no_torch() -> None:
    code = (
        "import sys; from medkernels.zoo.engine import Report; Report('x'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_applying_a_system_loads_no_trainer() -> None:
    code = (
        "import sys; from medkernels.zoo.engine import HubSystem, fit; "
        "assert not {'lightning_fabric', 'tensorboard'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_system_of_the_package_is_complete() -> None:
    for name in zoo.list_systems():
        info = zoo.system_info(name)
        assert info.name == name
        assert info.title
        assert info.paper
        assert zoo.card(name).startswith("# ")
        for method in ("fit", "predict", "evaluate", "demo", "save_pretrained", "from_pretrained"):
            assert callable(getattr(zoo.system_class(name), method)), (name, method)


def test_a_system_of_ones_own(toy: type) -> None:
    assert "toy_system" in zoo.list_systems()
    assert zoo.system_class("toy_system") is toy
    assert zoo.create("toy_system", width=7).width == 7
    assert zoo.system_info("toy_system").number == 99
    assert zoo.register("toy_system", title="Anew", paper="None")(toy) is toy  # a reload is no conflict


def test_names_are_unique_identifiers(toy: type) -> None:
    with pytest.raises(ValueError, match=r"'toy_system' is already held by .*Toy"):
        zoo.register("toy_system", title="Another", paper="None")(type("Another", (), {}))
    with pytest.raises(ValueError, match="must be a Python identifier such as 'asr', got 'my-system'"):
        zoo.register("my-system", title="Another", paper="None")


@pytest.mark.parametrize("function", [zoo.card, zoo.create, zoo.system_class, zoo.system_info])
def test_unknown_names_get_a_suggestion(function: object, toy: type) -> None:
    with pytest.raises(ValueError, match="there is no system 'Toy_sistem'; did you mean 'toy_system'"):
        function("Toy_sistem")  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"there is no system 'zzzzzz'; there are: .*toy_system"):
        function("zzzzzz")  # type: ignore[operator]


def test_unknown_options_get_a_suggestion(toy: type) -> None:
    with pytest.raises(TypeError, match="system 'toy_system' has no option 'widht'; did you mean 'width'"):
        zoo.create("toy_system", widht=3)


def test_options_of_a_system_with_mixins_are_checked(toy: type) -> None:
    from medkernels.zoo.engine import HubSystem

    class Mixed(HubSystem, toy):  # type: ignore[misc, valid-type]
        def __init__(self, width: int = 3) -> None:
            self.width = width

    zoo._REGISTERED["toy_system"] = replace(zoo.system_info("toy_system"), system=Mixed)
    assert zoo.create("toy_system", width=5).width == 5
    with pytest.raises(TypeError, match="system 'toy_system' has no option 'widht'; did you mean 'width'"):
        zoo.create("toy_system", widht=3)


def test_a_system_is_loaded_when_asked_for(package: Path) -> None:
    code = (
        "from medkernels.zoo import register\n@register('late', title='t', paper='p')\nclass Late:\n  pass\n"
    )
    add(package, "late", code)
    try:
        assert zoo.list_systems() == ["late"]
        assert zoo.card("late") == "# The card of late\n"
        assert "medkernels.zoo.late.system" not in sys.modules
        assert zoo.system_class("late").__name__ == "Late"
    finally:
        for name in [name for name in sys.modules if name.startswith("medkernels.zoo.late")]:
            del sys.modules[name]


def test_a_missing_library_is_named(package: Path) -> None:
    add(package, "poor", "import no_such_library\n")
    with pytest.raises(ImportError, match=r"'poor' needs no_such_library; .*pip install 'medkernels\[zoo\]'"):
        zoo.create("poor")


def test_a_folder_that_registers_nothing_is_named(package: Path) -> None:
    add(package, "silent", "")
    with pytest.raises(ImportError, match=r"silent/system\.py registers no class under the name 'silent'"):
        zoo.create("silent")
