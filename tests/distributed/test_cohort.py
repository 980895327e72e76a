"""Values, inputs, options and stores; in this process unless the cluster is what is tested."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import zarr
from distributed import Client

import medkernels as mk
from medkernels.distributed import CohortError, open_cohort, persistence_cohort
from medkernels.distributed._plan import ROIS_OF_A_TASK, default_chunk
from medkernels.distributed._running import TASKS_OF_A_THREAD
from tests.distributed import jobs


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that is complete."""
    path = tmp_path_factory.mktemp("finished") / "c"
    persistence_cohort(jobs.make_series(), path, client=False, **jobs.CUT)
    return path


def test_values_are_those_of_the_ops(tmp_path: Path) -> None:
    rois = ROIS_OF_A_TASK + 1
    series = jobs.make_series(rois=rois, dtype="float32")
    options: dict[str, Any] = {"order": 2, "ground": np.inf}
    cohort = persistence_cohort(series, tmp_path / "c", client=False, delay=2, **jobs.CUT, **options)
    assert (cohort.subjects, cohort.rois, cohort.dims) == (5, rois, 2)
    assert repr(cohort) == f"Cohort('{tmp_path / 'c'}', subjects=5, rois={rois}, dims=2)"
    diagrams = [
        [mk.topology.vietoris_rips(mk.topology.sliding_window(row, delay=2), max_dim=1) for row in subject]
        for subject in series
    ]
    for i, subject in enumerate(diagrams):
        for j, dims in enumerate(subject):
            for k, bars in enumerate(dims):
                found = cohort.diagrams(i)[j][k]
                assert found.dtype == np.float32
                assert np.array_equal(found, bars)
    for i in range(5):
        for k in range(2):
            wanted = mk.topology.wasserstein_matrix([diagrams[i][j][k] for j in range(rois)], **options)
            assert np.array_equal(cohort.roi_matrices[i, k], wanted)
    for j in range(rois):
        for k in range(2):
            wanted = mk.topology.wasserstein_matrix([diagrams[i][j][k] for i in range(5)], **options)
            assert np.array_equal(cohort.subject_matrices[j, k], wanted)


def test_a_cluster_gives_the_same_bits(client: Client, tmp_path: Path, expected: dict[str, Any]) -> None:
    cohort = persistence_cohort(jobs.make_series(), tmp_path / "c", client=client, **jobs.CUT)
    assert jobs.results(cohort) == expected
    assert jobs.results(open_cohort(tmp_path / "c")) == expected
    loaded = client.run(lambda: {"torch", "jax", "scipy"} & set(__import__("sys").modules))
    assert not any(loaded.values())


@pytest.mark.parametrize("cut", [{"chunk": 5, "tile": 128}, {"chunk": 1, "tile": 3}, {}], ids=str)
def test_the_cut_does_not_matter(tmp_path: Path, expected: dict[str, Any], cut: dict[str, int]) -> None:
    cohort = persistence_cohort(jobs.make_series(), tmp_path / "c", client=False, max_dim=1, **cut)
    assert jobs.results(cohort) == expected


@pytest.mark.parametrize("kind", ["zarr", "dask", "memmap", "nested", "paths", "arrays", "load"])
def test_inputs(tmp_path: Path, expected: dict[str, Any], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    series = jobs.make_series()
    subjects = jobs.save_subjects(tmp_path, series)
    monkeypatch.chdir(tmp_path)
    np.save("all.npy", series)
    load = None
    given: Any
    if kind == "zarr":
        given = zarr.open_array("series.zarr", mode="w", shape=series.shape, chunks=(2, 3, 24), dtype="f8")
        given[:] = series
    elif kind == "dask":
        given = dask.array.from_array(series, chunks=(2, 2, 24))
    elif kind == "memmap":
        given = np.load("all.npy", mmap_mode="r")
    elif kind == "nested":
        given = series.tolist()
    elif kind == "paths":
        given = ["0.npy", *(Path(f"{number}.npy") for number in range(1, 5))]
    elif kind == "arrays":
        given = tuple(series)
    else:
        given, load = subjects, jobs.read_subject
    cohort = persistence_cohort(given, "c.zarr", load=load, client=False, **jobs.CUT)
    assert jobs.results(cohort) == expected


def test_subjects_may_differ_in_length(tmp_path: Path) -> None:
    series = [jobs.make_series(1, samples=n)[0] for n in (24, 30, 24, 17, 24)]
    cohort = persistence_cohort(series, tmp_path / "c", client=False, **jobs.CUT)
    assert [len(cohort.diagrams(i)[0][0]) for i in range(5)] == [22, 28, 22, 15, 22]
    assert np.isfinite(cohort.subject_matrices[:]).all()


def test_integers_are_computed_in_float64(tmp_path: Path) -> None:
    series = (10 * jobs.make_series()).round().astype(np.int16)
    cohort = persistence_cohort(series, tmp_path / "c", client=False, matrices=(), **jobs.CUT)
    wanted = mk.topology.vietoris_rips(mk.topology.sliding_window(series[1, 2].astype(float)))
    assert np.array_equal(cohort.diagrams(1)[2][1], wanted[1])
    assert cohort.diagrams(1)[2][1].dtype == np.float64


def test_threshold_and_essential_bars(tmp_path: Path) -> None:
    """Under a threshold loops may never die; without a match they are left out."""
    options: dict[str, Any] = {"threshold": 1.0, "metric": "chebyshev", "client": False, **jobs.CUT}
    series = jobs.make_series(samples=60)
    kept = persistence_cohort(series, tmp_path / "a", **options).subject_matrices[:]
    dropped = persistence_cohort(series, tmp_path / "b", essential="drop", **options).subject_matrices[:]
    assert np.isinf(kept).any()
    assert np.isfinite(dropped).all()
    assert open_cohort(tmp_path / "a").options["threshold"] == 1.0


def test_matrices_can_be_added(tmp_path: Path, expected: dict[str, Any]) -> None:
    series = jobs.make_series()
    first = persistence_cohort(series, tmp_path / "c", client=False, matrices=(), **jobs.CUT)
    with pytest.raises(ValueError, match="no roi matrices"):
        _ = first.roi_matrices
    before = _files(tmp_path / "c")
    persistence_cohort(series, tmp_path / "c", client=False, matrices=("roi",), max_dim=1)
    last = persistence_cohort(series, tmp_path / "c", client=False, matrices=["subject"], max_dim=1)
    assert jobs.results(last) == expected
    after = _files(tmp_path / "c")
    assert {name: after[name] for name in before} == before


def test_a_finished_cohort_is_not_computed_again(tmp_path: Path, expected: dict[str, Any]) -> None:
    subjects = jobs.save_subjects(tmp_path, jobs.make_series())
    options: dict[str, Any] = {"load": jobs.read_subject, "client": False, **jobs.CUT}
    # The first subject is read once more by each call, for its shape.
    for verify, reads in ((True, [2, 1, 1, 1, 1]), (True, [4, 2, 2, 2, 2]), (False, [5, 2, 2, 2, 2])):
        cohort = persistence_cohort(subjects, tmp_path / "c", verify=verify, **options)
        assert jobs.results(cohort) == expected
        assert [subject.reads for subject in subjects] == reads


@pytest.mark.parametrize(
    "other",
    [
        {"dimension": 4},
        {"max_dim": 0},
        {"order": 2},
        {"threshold": 3.0},
        {"chunk": 3},
        {"tile": 3},
        {"subjects": 4},
    ],
    ids=str,
)
def test_other_options_are_refused(finished: Path, other: dict[str, Any]) -> None:
    before = _files(finished)
    series = jobs.make_series()
    (name,) = other
    if name == "subjects":
        series, other = series[: other[name]], {}
    with pytest.raises(ValueError, match=rf"begun with {name}=.* now {name} is"):
        persistence_cohort(series, finished, client=False, **{**jobs.CUT, **other})
    assert _files(finished) == before


def test_other_series_are_refused(finished: Path) -> None:
    """Before anything is computed from them."""
    before = _files(finished)
    series = jobs.make_series()
    series[3, 1, 7] += 1e-12
    with pytest.raises(ValueError, match=r"series\[3\] is not what store"):
        persistence_cohort(series, finished, client=False, **jobs.CUT)
    assert _files(finished) == before


def test_foreign_stores_are_refused(tmp_path: Path) -> None:
    series = jobs.make_series()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    zarr.open_group(tmp_path / "group", mode="w").create_group("mine")
    zarr.open_array(tmp_path / "array", mode="w", shape=(3,), dtype="f8")
    zarr.open_group(tmp_path / "later", mode="w").attrs["medkernels"] = {"format": 99, "version": "9.9"}
    for name in ("file", "folder", "group", "array", "later"):
        before = _files(tmp_path)
        with pytest.raises(ValueError, match=rf"^store .*{name} .*: "):
            persistence_cohort(series, tmp_path / name, client=False, **jobs.CUT)
        with pytest.raises(ValueError, match=f"^store .*{name} "):
            open_cohort(tmp_path / name)
        assert _files(tmp_path) == before
    (tmp_path / "empty").mkdir()
    persistence_cohort(series, tmp_path / "empty", client=False, matrices=(), **jobs.CUT)


def test_a_bad_subject_does_not_stop_the_others(tmp_path: Path, expected: dict[str, Any]) -> None:
    series = jobs.make_series()
    good = series[2, 1, 5]
    series[2, 1, 5] = np.nan
    with pytest.raises(CohortError, match=r"subjects 2 to 3: .*series\[2\] holds NaN .* row 1") as caught:
        persistence_cohort(series, tmp_path / "c", client=False, **jobs.CUT)
    assert list(caught.value.failures) == ["subjects 2 to 3"]
    part = open_cohort(tmp_path / "c")
    assert len(part.diagrams(4)) == 3
    with pytest.raises(ValueError, match="does not hold"):
        part.diagrams(3)
    assert np.isnan(part.roi_matrices[2:4]).all()
    series[2, 1, 5] = good
    cohort = persistence_cohort(series, tmp_path / "c", client=False, **jobs.CUT)
    assert jobs.results(cohort) == expected


def test_work_ends_after_many_failures(tmp_path: Path) -> None:
    subjects = jobs.save_subjects(tmp_path, jobs.make_series(30, 1))
    for subject in subjects[1:]:
        np.save(subject.path, np.full((1, 24), np.inf))
    with pytest.raises(CohortError, match=r"subject 1: .*\(and 7 more\)"):
        persistence_cohort(subjects, tmp_path / "c", load=jobs.read_subject, client=False, chunk=1)
    assert [s.reads for s in subjects] == [2] + [1] * 10 + [0] * 19


def test_retries(tmp_path: Path, expected: dict[str, Any]) -> None:
    subjects = jobs.save_subjects(tmp_path, jobs.make_series())
    subjects[3].beside("fail").touch()
    options: dict[str, Any] = {"load": jobs.read_subject, "client": False, **jobs.CUT}
    with pytest.raises(CohortError, match=r"subjects 2 to 3: OSError: the file server is busy"):
        persistence_cohort(subjects, tmp_path / "c", retries=0, **options)
    subjects[3].beside("fail").touch()
    assert jobs.results(persistence_cohort(subjects, tmp_path / "c", retries=1, **options)) == expected


class Watched:
    """An array that notes how far the reading of its slices is ahead of what is stored."""

    def __init__(self, series: Any, store: Path) -> None:
        self.series, self.store = series, store
        self.shape = series.shape
        self.taken = self.ahead = 0

    def __getitem__(self, chosen: slice) -> Any:
        self.taken += 1
        if (self.store / "counts").exists():
            done = int((zarr.open_array(self.store, path="counts", mode="r")[:, 0, 0] >= 0).sum())
            self.ahead = max(self.ahead, self.taken - done)
        return self.series[chosen]


def test_few_tasks_wait_at_a_time(client: Client, tmp_path: Path) -> None:
    series = Watched(jobs.make_series(40, 1), tmp_path / "c")
    persistence_cohort(series, tmp_path / "c", client=client, chunk=1, matrices=(), max_dim=0)
    assert series.taken == 41  # each, and the first for its shape
    assert series.ahead <= 2 * TASKS_OF_A_THREAD + 1


GOOD = np.zeros((2, 2, 9))


@pytest.mark.parametrize(
    ("error", "match", "given"),
    [
        (ValueError, "series must have shape", {"series": np.zeros((2, 9))}),
        (ValueError, "series must hold at least one subject", {"series": np.zeros((0, 2, 9))}),
        (ValueError, "series must hold at least one subject", {"series": []}),
        (ValueError, "series must hold at least one series", {"series": np.zeros((2, 0, 9))}),
        (ValueError, "series must have more than 2 samples", {"series": np.zeros((2, 2, 2))}),
        (ValueError, r"series\[0\] must have shape \[R, T\]", {"series": [np.zeros(9)]}),
        (TypeError, "series must be an array", {"series": "series.npy"}),
        (TypeError, "series must be an array of numbers", {"series": np.full((2, 2, 9), "a")}),
        (TypeError, "array of numbers", {"series": np.zeros((2, 2, 9), complex)}),
        (FileNotFoundError, "missing.npy", {"series": ["missing.npy"]}),
        (CohortError, r"series\[1\] has 3 series of float64, but", {"series": [GOOD[0], np.zeros((3, 9))]}),
        (CohortError, r"series\[1\] has 2 .* float32, but", {"series": [GOOD[0], GOOD[1].astype("f4")]}),
        (ValueError, "dimension", {"dimension": 0}),
        (TypeError, "delay", {"delay": 1.5}),
        (ValueError, "max_dim", {"max_dim": 7}),
        (ValueError, "metric", {"metric": "cosine"}),
        (ValueError, "threshold", {"threshold": -1}),
        (ValueError, "order", {"order": 0.5}),
        (ValueError, "ground", {"ground": 3}),
        (ValueError, "essential", {"essential": "keep"}),
        (ValueError, "matrices must be one of", {"matrices": ("pr",)}),
        (TypeError, "matrices must be a tuple", {"matrices": "roi"}),
        (ValueError, "chunk", {"chunk": 0}),
        (TypeError, "tile", {"tile": "8"}),
        (ValueError, "retries", {"retries": -1}),
        (TypeError, "store must be", {"store": 3}),
        (TypeError, "client must be", {"client": "tcp://here"}),
        (TypeError, "client must be", {"client": True}),
        (ValueError, "load is for a list", {"load": np.load}),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, (str, dict)) else "",
)
def test_bad_arguments(tmp_path: Path, error: type[Exception], match: str, given: dict[str, Any]) -> None:
    arguments = {"series": GOOD, "store": tmp_path / "c", "client": False, **given}
    with pytest.raises(error, match=match):
        persistence_cohort(**arguments)
    assert error is CohortError or not (tmp_path / "c").exists()


@pytest.mark.parametrize("subject", [-1, 5])
def test_subjects_that_are_not_there(finished: Path, subject: int) -> None:
    with pytest.raises(ValueError, match="subject must be from 0 to 4"):
        open_cohort(finished).diagrams(subject)


def test_default_chunk() -> None:
    assert default_chunk(2000, 160) == 3
    assert default_chunk(60, 12) == 4
    assert default_chunk(3, 12) == 1
    assert default_chunk(5000, 1000) == 1


def test_missing_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "zarr" else find(name))
    with pytest.raises(mk.BackendError, match=r"needs zarr: pip install 'medkernels\[distributed\]'"):
        persistence_cohort(GOOD, tmp_path / "c", client=False)


def test_import_loads_neither_dask_nor_zarr() -> None:
    code = (
        "import sys, medkernels as mk; mk.distributed.persistence_cohort; "
        "sys.exit(sorted({'dask', 'distributed', 'zarr', 'rich', 'torch'} & set(sys.modules)) or None)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    persistence_cohort(GOOD, tmp_path / "a", client=False)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("TTY_INTERACTIVE", "1")
    persistence_cohort(GOOD, tmp_path / "b", client=False, progress=False)
    assert capsys.readouterr().err == ""
    persistence_cohort(GOOD, tmp_path / "c", client=False)
    shown = capsys.readouterr().err
    assert "diagrams" in shown
    assert "distances between subjects" in shown


def _files(folder: Path) -> dict[str, int]:
    """When each file was written."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
