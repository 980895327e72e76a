"""Persistence of a cohort: series to diagrams to matrices of distances, on many processes, resumable."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from medkernels import _checks
from medkernels._backends import BackendError
from medkernels.distributed import _archive, _tasks
from medkernels.distributed._plan import TILE, Plan, checked, default_chunk
from medkernels.distributed._running import CohortError, Task, check_client, cluster, progress_bar, run
from medkernels.distributed._source import Load, Source

if TYPE_CHECKING:
    from distributed import Client

#: Failures that a message spells out.
_TOLD = 3


class Cohort:
    """Results of `persistence_cohort`, from a Zarr store; nothing is read before it is asked for.

    Attributes
    ----------
    path : str
        Of the store.
    subjects, rois, dims : int
        N subjects, R series each, diagrams in dimensions 0 .. dims - 1.
    options : mapping
        What the diagrams were computed with: ``dimension``, ``delay``, ``max_dim``, ``metric``,
        ``threshold``.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.path = plan.path
        self.subjects, self.rois, self.dims = plan.subjects, plan.rois, plan.dims
        self.options: Mapping[str, Any] = plan.diagram_options

    def __repr__(self) -> str:
        return f"Cohort({self.path!r}, subjects={self.subjects}, rois={self.rois}, dims={self.dims})"

    def diagrams(self, subject: int) -> list[list[npt.NDArray[Any]]]:
        """Diagrams of one subject.

        Parameters
        ----------
        subject
            From 0 to N - 1.

        Returns
        -------
        list
            For each of the R series a list of `dims` diagrams [n, 2], as
            :func:`medkernels.topology.vietoris_rips` returns them.

        Raises
        ------
        ValueError
            If there is no such subject, or its diagrams are not in the store yet.
        """
        number = _checks.check_count("subject", subject, 0, self.subjects - 1)
        chunk, place = divmod(number, self._plan.chunk)
        rois = _archive.read_diagrams(self._plan, chunk, slice(0, self.rois))
        return [roi[place] for roi in rois]

    @property
    def roi_matrices(self) -> Any:
        """Zarr array [N, dims, R, R] float64: distances between the series of each subject.

        NaN where they are not computed yet.
        """
        return self._matrices("roi")

    @property
    def subject_matrices(self) -> Any:
        """Zarr array [R, dims, N, N] float64: distances between the subjects for each series.

        NaN where they are not computed yet.
        """
        return self._matrices("subject")

    def _matrices(self, name: str) -> Any:
        try:
            return _archive.array(self.path, f"{name}_matrices")
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"store {self.path} has no {name} matrices: call persistence_cohort with matrices=({name!r},)"
            ) from error


def persistence_cohort(
    series: Any,
    store: str | Path,
    *,
    dimension: int = 3,
    delay: int = 1,
    max_dim: int = 2,
    metric: str = "euclidean",
    threshold: float | None = None,
    order: float = 1,
    ground: float = 2,
    essential: str = "match",
    matrices: Collection[str] = ("roi", "subject"),
    load: Load | None = None,
    client: Client | bool | None = None,
    chunk: int | None = None,
    tile: int | None = None,
    retries: int = 2,
    verify: bool = True,
    progress: bool = True,
) -> Cohort:
    """Compute persistence diagrams and Wasserstein distances of all time series of a cohort, with Dask.

    Every series is embedded (`medkernels.topology.sliding_window`), its persistence computed
    (`medkernels.topology.vietoris_rips`), and diagrams compared (`medkernels.topology.wasserstein_matrix`)
    within each subject and, series by series, between the subjects. Results go to a Zarr store chunk by
    chunk. After a call that was stopped, in whatever way, the same call does what is missing.

    Parameters
    ----------
    series
        [N, R, T]: N subjects with R series of T samples, in any unit; an array of NumPy, Zarr or Dask, a
        memory map, or anything else that gives its slices as numbers. Or a list with one item a subject:
        arrays [R, T] or names of ``.npy`` files, which the workers read; T may then differ. float32 is
        computed in float32, anything else in float64.
    store
        Folder or URL of the Zarr store, which all workers must reach by this name. Created if missing.
    dimension, delay
        Of the embedding.
    max_dim, metric, threshold
        As for `medkernels.topology.vietoris_rips`.
    order, ground, essential
        As for `medkernels.topology.wasserstein`.
    matrices
        Which distances to compute: ``"roi"``, between the series of each subject; ``"subject"``, between the
        subjects for each series; both, or none. They can be added in a later call.
    load
        With a list: a function that turns an item into an array [R, T]. It runs on the workers.
    client
        A `dask.distributed.Client` of any cluster. By default a cluster on this machine with one process for
        each core, closed at the end; a script then needs the guard ``if __name__ == "__main__":``, as for
        everything in Python that starts processes. False computes in this process.
    chunk
        Subjects of a task, which is what a killed worker loses at most. By default about 512 series.
    tile
        Subjects on a side of a block of a matrix over subjects. A task of that step compares two blocks for
        eight series. By default 128.
    retries
        How often a task is run again after an error that may pass, such as one of the file system. Bad input
        is not tried again.
    verify
        When a call goes on from an earlier one, read all series again and compare them with those that the
        stored diagrams are of. False trusts the caller, where reading takes long.
    progress
        Show progress bars if the error stream is a terminal.

    Returns
    -------
    Cohort
        The results, read from the store when asked for.

    Raises
    ------
    ValueError, TypeError
        For options that the ops refuse, series of the wrong shape, a store that holds something else, or that
        was begun with other options or other series.
    CohortError
        After all other chunks are done (or ten have failed): some could not be computed, for example because
        of NaN in a subject. The message names the subjects.
    medkernels.BackendError
        If Dask, Zarr or Rich is not installed.

    Notes
    -----
    The work is N R diagrams in `max_dim` + 1 dimensions, N R^2 / 2 distances between series, and R N^2 / 2
    between subjects, each as costly as the op says. The calling process holds the series of at most two
    chunks for each thread of the cluster, a worker one chunk, or the diagrams of two blocks of subjects.
    Results are the same bits for any client, chunk and tile. On a cluster of your own each task uses as many
    threads as `medkernels.get_num_threads` says there; Dask starts its workers with ``OMP_NUM_THREADS=1``,
    which suits one worker thread for each core.

    The store is a Zarr group of ``counts`` [N, R, dims] (bars of each diagram, -1 where missing),
    ``bars/<chunk>`` [n, 2] (all bars of a chunk, ordered by series, subject and dimension), ``digests`` [N]
    (of the series), ``roi_matrices`` [N, dims, R, R] and ``subject_matrices`` [R, dims, N, N] (NaN where
    missing). It is valid at any moment: what tells that a chunk is there is written last.

    The chain is that of "Leveraging Persistent Homology for Differential Diagnosis of Mild Cognitive
    Impairment" (ICPR 2024).

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import medkernels as mk
    >>> series = np.random.default_rng(0).normal(size=(3, 4, 30))  # 3 subjects, 4 regions, 30 samples
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = folder.name + "/cohort.zarr"
    >>> cohort = mk.distributed.persistence_cohort(series, path, max_dim=1, client=False)
    >>> cohort.roi_matrices.shape, cohort.subject_matrices.shape
    ((3, 2, 4, 4), (4, 2, 3, 3))
    >>> components, loops = cohort.diagrams(0)[2]  # of subject 0, region 2
    >>> components.shape
    (28, 2)
    >>> folder.cleanup()
    """
    _require("dask", "distributed", "rich", "zarr")
    check_client(client)
    _checks.check_count("retries", retries, 0)
    source = Source(series, load)
    path = _archive.local_path(store)
    known = _archive.settings(path) or {}
    plan = checked(
        Plan(
            path=path,
            subjects=source.subjects,
            rois=source.rois,
            dtype=source.dtype,
            dimension=dimension,
            delay=delay,
            max_dim=max_dim,
            metric=metric,
            threshold=threshold,
            order=order,
            ground=ground,
            essential=essential,
            chunk=known.get("chunk", default_chunk(source.subjects, source.rois)) if chunk is None else chunk,
            tile=known.get("tile", TILE) if tile is None else tile,
        ),
        matrices,
    )
    if source.samples <= (plan.dimension - 1) * plan.delay:
        raise ValueError(
            f"series must have more than {(plan.dimension - 1) * plan.delay} samples for "
            f"dimension={plan.dimension} and delay={plan.delay}, but T = {source.samples}"
        )
    _archive.prepare(plan)
    _compute(plan, source, client, retries=retries, verify=verify, progress=progress)
    return open_cohort(path)


def open_cohort(store: str | Path) -> Cohort:
    """Open the results of `persistence_cohort`, finished or not.

    Parameters
    ----------
    store
        Folder or URL of the Zarr store.

    Returns
    -------
    Cohort
        The results, read from the store when asked for.

    Raises
    ------
    ValueError, TypeError
        If `store` is no path or holds no cohort.
    medkernels.BackendError
        If Zarr is not installed.

    Notes
    -----
    Reads the store's attributes and nothing else.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import medkernels as mk
    >>> series = np.random.default_rng(0).normal(size=(2, 3, 30))
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = folder.name + "/cohort.zarr"
    >>> made = mk.distributed.persistence_cohort(series, path, max_dim=1, matrices=(), client=False)
    >>> cohort = mk.distributed.open_cohort(path)
    >>> len(cohort.diagrams(1))
    3
    >>> folder.cleanup()
    """
    _require("zarr")
    path = _archive.local_path(store)
    found = _archive.settings(path)
    if found is None:
        raise ValueError(f"store {path} holds no cohort")
    sizes = {name: found[name] for name in ("subjects", "rois", "dtype", "chunk", "tile")}
    options = {name: found[name] for name in ("dimension", "delay", "max_dim", "metric", "threshold")}
    # Nothing is compared from here on: the options of distances do not matter.
    plan = Plan(path=path, **sizes, **options, order=1, ground=2, essential="match")
    return Cohort(plan)


def _compute(
    plan: Plan, source: Source, client: Client | bool | None, *, retries: int, verify: bool, progress: bool
) -> None:
    """Bring the store from whatever state it is in to the one that `plan` asks for."""
    stored = _archive.chunks_with_diagrams(plan)
    chunks = sorted(set(range(plan.chunks)) - set(stored))
    if plan.roi and not _archive.is_complete(plan, "roi_matrices"):
        chunks = list(range(plan.chunks))
    tiles = plan.tiles * (plan.tiles + 1) // 2 * len(plan.roi_groups)
    if not plan.subject or _archive.is_complete(plan, "subject_matrices"):
        tiles = 0
    if client is None and not chunks and not tiles:
        client = False  # to look at the series again no cluster is started
    with cluster(client, max(len(chunks), tiles)) as used:
        if client is None:
            plan = replace(plan, threads=1)  # the cluster has a process for each core

        def do(text: str, function: Any, todo: Iterable[Task], total: int) -> None:
            with progress_bar(progress, text, total) as advance:
                calls = (Task(label, (function, plan, *arguments)) for label, arguments in todo)
                failures = run(used, _tasks.attempt, calls, retries=retries, advance=advance)
            if failures:
                raise _error(plan, failures)

        if verify:
            do("comparing series", _tasks.check_chunk, _chunks(plan, source, stored), len(stored))
        do("diagrams", _tasks.compute_chunk, _chunks(plan, source, chunks), len(chunks))
        if plan.roi:
            _archive.set_complete(plan, "roi_matrices")
        do("distances between subjects", _tasks.compute_tiles, _tiles(plan) if tiles else (), tiles)
        if plan.subject:
            _archive.set_complete(plan, "subject_matrices")


def _chunks(plan: Plan, source: Source, numbers: Iterable[int]) -> Iterator[Task]:
    for number in numbers:
        chosen = plan.chunk_of(number)
        yield Task(_named(chosen), (number, source.part(chosen), source.load))


def _tiles(plan: Plan) -> Iterator[Task]:
    for rois in plan.roi_groups:
        for row in range(plan.tiles):
            for column in range(row, plan.tiles):
                pair = f"{_named(plan.tile_of(row))} and {_named(plan.tile_of(column))}"
                yield Task(f"series {rois.start} to {rois.stop - 1} of {pair}", (rois, row, column))


def _named(subjects: slice) -> str:
    if subjects.stop - subjects.start == 1:
        return f"subject {subjects.start}"
    return f"subjects {subjects.start} to {subjects.stop - 1}"


def _error(plan: Plan, failures: dict[str, BaseException]) -> Exception:
    """What to raise for failed tasks: other series than before are a wrong argument."""
    for error in failures.values():
        if isinstance(error, _tasks.OtherSeriesError):
            return ValueError(str(error))
    told = [f"{label}: {type(error).__name__}: {error}" for label, error in list(failures.items())[:_TOLD]]
    more = f" (and {len(failures) - _TOLD} more)" if len(failures) > _TOLD else ""
    return CohortError(
        f"{'; '.join(told)}{more}. What was done is in {plan.path}; the same call goes on from there.",
        failures,
    )


def _require(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendError(
            f"medkernels.distributed needs {', '.join(missing)}: pip install 'medkernels[distributed]'"
        )
