"""mrd_flow: FCS files and tables in, FCS files out, markers, gates, splits."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from flowio import FlowData
from flowutils import transforms
from hypothesis import given, settings
from hypothesis import strategies as st

from medkernels.zoo.mrd_flow.cohort import gather, split, stream
from medkernels.zoo.mrd_flow.data import Reading, check_markers, list_files, read_sample, read_table
from medkernels.zoo.mrd_flow.fcs import Table, add_columns, read_fcs, write_fcs
from medkernels.zoo.mrd_flow.markers import HIGH, LOW, MARKERS, find_channel
from medkernels.zoo.mrd_flow.raw_files import CHANNELS, write_raw
from medkernels.zoo.mrd_flow.sample import Sample
from medkernels.zoo.mrd_flow.standin import MOVED, stand_in

ALL = Reading(tuple(marker for marker, _ in CHANNELS))


def test_a_raw_file_is_compensated_and_scaled_back(tmp_path):
    made = stand_in(1)[0]
    write_raw(tmp_path / "a.fcs", made)
    assert FlowData(tmp_path / "a.fcs").version == "3.1"
    read = read_sample(tmp_path / "a.fcs", tmp_path, ALL)
    inside = ((made.features > LOW) & (made.features < HIGH)).all(axis=1)
    assert read.name == "a.fcs"
    assert read.events == len(made) == 1500
    assert len(read) > 1200
    assert set(np.flatnonzero(inside)) >= set(read.rows) - {int(i) for i in np.flatnonzero(~inside)}
    assert np.allclose(read.features, made.features[read.rows], atol=2e-4)
    assert np.array_equal(read.labels, made.labels[read.rows])
    spoiled = read_sample(tmp_path / "a.fcs", tmp_path, Reading(ALL.markers, scaling="none", clean=False))
    assert spoiled.features.max() > 1000


def test_compensation_is_that_of_flowutils(tmp_path):
    from flowutils.compensate import compensate

    rng = np.random.default_rng(0)
    values = rng.uniform(10, 5e4, (50, 3))
    matrix = np.eye(3) + 0.1 * rng.random((3, 3))
    spill = "3,A,B,C," + ",".join(f"{value:.17g}" for value in matrix.ravel())
    write_fcs(tmp_path / "a.fcs", values, ["A", "B", "C"], ["CD19", "", "CD10"], {"spillover": spill})
    table = read_fcs(tmp_path / "a.fcs", scaling="logicle")
    expected = transforms.logicle(
        compensate(values.astype(np.float32).astype(float), matrix, [0, 1, 2]), None
    )
    assert np.allclose(table.values, 4.5 * expected, atol=1e-5)
    assert table.names == ("A", "B", "C")
    assert table.markers == ("CD19", "B", "CD10")


def test_time_scatter_and_gates_are_not_put_on_the_logicle_scale(tmp_path):
    values = np.array([[100, 0, 65536, 1], [300, 131072, 65536, 0], [500, 262144, 65536, 1]])
    write_fcs(tmp_path / "a.fcs", values, ["Time", "FSC-A", "SSC-A", "Blast CD10+"], [""] * 4, {})
    table = read_fcs(tmp_path / "a.fcs", scaling="logicle")
    assert np.allclose(table.values[:, 0], [0, 2.25, 4.5])
    assert np.allclose(table.values[:, 1], [0, 2.25, 4.5])
    assert np.allclose(table.values[:, 2], 1.125)
    assert table.values[:, 3].tolist() == [1, 0, 1]


def test_columns_are_added_and_the_rest_of_the_file_stays(tmp_path):
    write_raw(tmp_path / "a.fcs", stand_in(1)[0])
    marks = np.arange(1500, dtype=np.float32) % 2
    add_columns(tmp_path / "a.fcs", tmp_path / "b.fcs", {"MRD_BLAST": marks})
    before, after = FlowData(tmp_path / "a.fcs"), FlowData(tmp_path / "b.fcs")
    assert after.pnn_labels == [*before.pnn_labels, "MRD_BLAST"]
    assert after.pns_labels[:-1] == before.pns_labels
    assert np.array_equal(after.as_array()[:, :-1], before.as_array())
    assert np.array_equal(after.as_array()[:, -1], marks)
    assert after.text["spillover"] == before.text["spillover"]


def integer_file(path):
    """An FCS 2.0 file of 16-bit integers: one channel on a logarithmic scale, one with a gain of 2."""
    values = np.array([[0, 512], [256, 256], [512, 0], [1023, 1023]], ">u2")
    text = (
        "/$BEGINDATA/512/$ENDDATA/527/$BYTEORD/4,3,2,1/$DATATYPE/I/$MODE/L/$NEXTDATA/0/$PAR/2/$TOT/4"
        "/$P1B/16/$P1E/4,1/$P1R/1024/$P1N/FL1/$P1S/CD19/$P2B/16/$P2E/0,0/$P2G/2/$P2R/1024/$P2N/FSC-A/"
    )
    header = f"FCS2.0    {58:8d}{58 + len(text) - 1:8d}{512:8d}{527:8d}{0:8d}{0:8d}"
    path.write_bytes((header + text).ljust(512).encode() + values.tobytes())


def test_integers_on_logarithmic_scales(tmp_path):
    integer_file(tmp_path / "a.fcs")
    table = read_fcs(tmp_path / "a.fcs", scaling="none")
    assert np.allclose(table.values[:, 0], [1, 10, 100, 10 ** (4 * 1023 / 1024)])
    assert np.allclose(table.values[:, 1], [256, 128, 0, 511.5])
    scaled = read_fcs(tmp_path / "a.fcs", scaling="logicle").values
    assert np.allclose(scaled[:, 1], 4.5 * np.array([512, 256, 0, 1023]) / 1024)
    assert scaled[:, 0].max() == pytest.approx(4.5, abs=0.01)
    add_columns(tmp_path / "a.fcs", tmp_path / "b.fcs", {"MRD_BLAST": np.zeros(4, np.float32)})
    assert np.allclose(read_fcs(tmp_path / "b.fcs", scaling="logicle").values[:, :2], scaled, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2000), st.binary(max_size=12), st.booleans())
def test_damaged_files_are_refused_and_nothing_worse(tmp_path_factory, place, dirt, torn):
    folder = tmp_path_factory.mktemp("damaged", numbered=True)
    write_raw(folder / "a.fcs", stand_in(1, events=20)[0])
    content = (folder / "a.fcs").read_bytes()
    (folder / "a.fcs").write_bytes(content[:place] + dirt + (b"" if torn else content[place + len(dirt) :]))
    skipped = []
    read = list(stream(folder, ALL, skipped))
    assert len(read) + len(skipped) == 1


@pytest.mark.parametrize(
    ("spill", "error"),
    [
        ("2,A,B,1,0,0", "spill-over"),
        ("1,Z,1", "spill-over"),
        ("2,A,B,1,1,1,1", "ingular"),
        ("x", "spill-over"),
    ],
)
def test_spill_over_that_cannot_be_undone(spill, error, tmp_path):
    write_fcs(tmp_path / "a.fcs", np.ones((4, 2)), ["A", "B"], ["", ""], {"spillover": spill})
    with pytest.raises(ValueError, match=error):
        read_fcs(tmp_path / "a.fcs", scaling="logicle")


def test_markers_are_found_by_stain_name_and_word():
    names = ("FSC-A", "FL1-A", "FL2-A", "FL3-A", "CD200")
    table = Table(np.zeros((1, 5), np.float32), names, ("FSC-A", "CD19 PE-Cy7", "fsc w", "CD10", "CD200"))
    found = {marker: find_channel(table, marker) for marker in MARKERS}
    expected = {"FSC-A": 0, "FSC-W": 2, "CD10": 3, "CD19": 1}
    assert found == {marker: expected.get(marker) for marker in MARKERS}
    assert find_channel(table, "FL2-A") == 2


def test_tables_gates_and_missing_markers(tmp_path):
    rows = ["1,2", "2,3", "0.001,2", "nan,1", "3,3", "2,4.4999"]
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        file.write("\n".join(["CD19,CD10", *rows]))
    labels = ["blast a;Blast b;intact", "1;0;1", "0;0;1", "1;0;1", "1;0;1", "0;1;0", "0;1;1"]
    (tmp_path / "a.labels.csv").write_text("\n".join(labels))
    assert [file.name for file in list_files(tmp_path)] == ["a.csv.gz"]
    sample = read_sample(tmp_path / "a.csv.gz", tmp_path, Reading(("CD10", "CD45", "CD19")))
    assert sample.rows.tolist() == [0, 1]
    assert sample.features.tolist() == [[2, 0, 1], [3, 0, 2]]
    assert sample.labels.tolist() == [1, 0]
    assert sample.events == 6
    loose = read_sample(tmp_path / "a.csv.gz", tmp_path, Reading(("CD10",), ("CD19",), clean=False))
    assert loose.rows.tolist() == [0, 1, 2, 5]
    assert loose.space.ravel().tolist() == pytest.approx([1, 2, 0.001, 2])
    with pytest.raises(ValueError, match="none of the markers CD3; it has CD19, CD10"):
        read_sample(tmp_path / "a.csv.gz", tmp_path, Reading(("CD3",)))


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({"a.csv": ""}, "no events"),
        ({"a.csv": "CD19,CD10\n"}, "no events"),
        ({"a.csv": "CD19,CD10\n1,x\n"}, "could not convert"),
        ({"a.csv": "CD19,CD10\n1,2\n3\n"}, "columns"),
        ({"a.csv": "CD19\n100\n"}, "are its values scaled"),
        ({"a.csv": "CD19,blast\n1,2\n"}, "column 'blast': want 0 or 1"),
        ({"a.csv": "CD19\n1\n", "a.labels.csv": "blast\n1\n0\n"}, "has 2 rows, but the sample has 1 events"),
        ({"a.csv": "CD19\n1\n", "a.labels.csv": "tumour\n1\n"}, "no column whose name begins with 'blast'"),
        ({"a.csv.gz": "not packed"}, "not a readable table"),
        ({"a.fcs": "FCS3.1"}, "not a readable FCS file"),
    ],
)
def test_unusable_samples_are_named_with_the_reason(files, error, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    skipped = []
    assert list(stream(tmp_path, Reading(("CD19",)), skipped)) == []
    assert len(skipped) == 1
    with pytest.raises(ValueError, match=error):
        raise ValueError(skipped[0][1])


def test_folders_without_samples(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder or file"):
        list_files(tmp_path / "absent")
    with pytest.raises(ValueError, match="holds no samples"):
        list_files(tmp_path)
    (tmp_path / "a.csv").write_text("CD19\n1\n2\n")
    with pytest.raises(ValueError, match=r"no sample can be trained on .*a\.csv: nothing tells"):
        gather(tmp_path, Reading(("CD19",)), tmp_path / "kept", progress=False)


def test_samples_kept_on_disk_follow_their_files(tmp_path):
    data, kept = tmp_path / "data", tmp_path / "kept"
    for number, sample in enumerate(stand_in(2)):
        write_raw(data / "train" / f"{number}.fcs", sample)
    first, skipped = gather(data, ALL, kept, progress=False)
    assert not skipped
    assert [sample.part for sample in first] == ["train", "train"]
    assert isinstance(first[0].features, np.memmap)
    direct = read_sample(data / "train" / "1.fcs", data, ALL)
    assert np.array_equal(first[1].features, direct.features)
    assert (first[1].name, first[1].events) == (direct.name, direct.events) == ("train/1.fcs", 1500)
    places = set(kept.iterdir())
    gather(data, ALL, kept, progress=False)
    assert set(kept.iterdir()) == places
    write_raw(data / "train" / "1.fcs", stand_in(1, 5)[0])
    again, _ = gather(data, ALL, kept, progress=False)
    assert len(set(kept.iterdir())) == 3
    assert not np.array_equal(again[1].features, first[1].features)


def test_splits():
    samples = [Sample(f"{i:02d}", np.zeros((1, 2), np.float32)) for i in range(20)]
    parts = split(samples, 0)
    assert {name: len(group) for name, group in parts.items()} == {"train": 10, "valid": 5, "test": 5}
    assert sorted(sample.name for group in parts.values() for sample in group) == [s.name for s in samples]
    named = [Sample(s.name, s.features, part="train" if i < 9 else "test") for i, s in enumerate(samples)]
    assert {name: len(group) for name, group in split(named, 0).items()} == {
        "train": 6,
        "valid": 3,
        "test": 11,
    }
    assert [len(group) for group in split(samples[:1], 0).values()] == [1, 0, 0]
    assert [len(group) for group in split(samples[:2], 0).values()] == [1, 1, 0]


def test_the_stand_in_repeats_and_hides():
    one, many, hidden = stand_in(1)[0], stand_in(3)[0], stand_in(1, hidden=True)[0]
    assert np.array_equal(one.features, many.features)
    assert 0.01 <= one.labels.mean() <= 0.3
    assert hidden.features.shape == (1500, 7)
    assert np.array_equal(hidden.space, one.features)
    assert np.array_equal(hidden.features, np.delete(one.features, MOVED, axis=1))


def test_bad_samples_and_markers():
    good = np.zeros((3, 2), np.float32)
    with pytest.raises(TypeError, match="float32"):
        Sample("a", good.astype(float))
    with pytest.raises(ValueError, match="labels of sample a: want 3 values"):
        Sample("a", good, np.zeros(2, np.int8))
    with pytest.raises(ValueError, match="space of sample a: want 3 rows"):
        Sample("a", good, space=good[:2])
    for names in ([], ["CD19", "CD19"], [""], [3]):
        with pytest.raises(ValueError, match="markers: want different names"):
            check_markers("markers", names)


def test_a_table_with_tabs(tmp_path):
    (tmp_path / "a.tsv").write_text("\ufeffFSC-A\tCD19, PE\n1\t2\n")
    table = read_table(tmp_path / "a.tsv")
    assert table.names == ("FSC-A", "CD19, PE")
    assert table.values.tolist() == [[1, 2]]
