"""specular from a folder to masks, cleaned frames and a report, saved and loaded, also from the shell."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest

from medkernels import cli, zoo
from medkernels.zoo.engine import System
from medkernels.zoo.specular.images import read_image, read_mask, write_png
from medkernels.zoo.specular.inpainting import inpaint
from medkernels.zoo.specular.matching import MatchSettings
from medkernels.zoo.specular.model import Detector
from medkernels.zoo.specular.pairs import synthetic_pair
from medkernels.zoo.specular.pictures import FALSE, FOUND, MISSED, close_ups, enlarge, overlay, side_by_side
from medkernels.zoo.specular.standin import stand_in
from medkernels.zoo.specular.system import Specular
from medkernels.zoo.specular.video_files import read_frames, write_video

GRID = {"delta": [25, 15], "patch_share": [Detector.patch_share, 0.0]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six annotated frames, one without a mask, one file that is none."""
    root = tmp_path_factory.mktemp("clinic")
    for number, (rgb, truth) in enumerate(stand_in(6, 3)):
        write_png(root / "Original" / f"{number}.png", rgb)
        write_png(root / "Ground Truth" / f"{number}.png", truth)
    write_png(root / "Original" / "alone.png", rgb)
    (root / "Original" / "notes.txt").touch()
    return root


@pytest.fixture(scope="module")
def fitted(folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    system = zoo.create("specular", inpainting="blend", max_share=0.006)
    return system, system.fit(folder, run, grid=GRID, progress=False), run


def test_fit_on_a_folder_writes_everything(fitted):
    system, done, run = fitted
    assert isinstance(system, System)
    assert done.rank == 0
    assert dict(done.skipped) == {"notes.txt": "no picture, by its name", "alone.png": "no mask of that name"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics == done.metrics
    assert (metrics["tried"], metrics["chosen_on"], metrics["judged_on"], metrics["held_out"]) == (
        4,
        4,
        2,
        True,
    )
    assert metrics["settings"]["max_share"] == 0.006  # was not in the grid
    with (run / "settings.csv").open() as file:
        tried = list(csv.DictReader(file))
    assert len(tried) == 4
    f1 = [float(row["f1"]) for row in tried]
    assert f1 == sorted(f1, reverse=True)
    for name, value in metrics["settings"].items():
        assert float(tried[0][name]) == value
        assert getattr(system.detector, name) == value
    with (run / "frames.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "specular"]
    assert len(rows) == 2
    assert np.mean([float(row["f1"]) for row in rows]) == pytest.approx(
        metrics["scores"]["specular"]["macro"]["f1"]
    )
    page = done.report.read_text()
    for word in (
        "best threshold",
        "MSER, our areas",
        "notes.txt",
        "patch_share",
        "had no part in the choice",
    ):
        assert word in page, word
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert {path.name for path in done.model.iterdir()} == {"README.md", "config.json", "state.json"}


def test_a_saved_system_does_the_same(fitted, folder, tmp_path):
    system, done, _ = fitted
    again = zoo.system_class("specular").from_pretrained(done.model)
    assert again.config == system.config
    assert again.config["inpainting"] == "blend"
    first, second = system.predict(folder), again.predict(folder, tmp_path)
    assert first["names"] == second["names"] == [*(f"{i}.png" for i in range(6)), "alone.png"]
    assert first["highlights"] == second["highlights"]
    for name, mask, cleaned in zip(first["names"], first["masks"], first["cleaned"], strict=True):
        rgb = read_image(folder / "Original" / name)
        assert np.array_equal(mask, system.detector(rgb))
        assert np.array_equal(cleaned, inpaint(rgb, mask, method="blend"))
        assert np.array_equal(read_mask(tmp_path / "masks" / name), mask)
        assert np.array_equal(read_image(tmp_path / "cleaned" / name), cleaned)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["frames"] == 7
    assert metrics["annotated"] == 6
    assert metrics["share"] == pytest.approx(np.mean([mask.mean() for mask in first["masks"]]))
    assert all(value > 0 for value in metrics["frames_per_second"].values())
    judged = again.evaluate(folder)
    assert judged["macro_f1"] == pytest.approx(metrics["macro"]["f1"])
    assert judged["micro_jaccard"] == pytest.approx(metrics["micro"]["jaccard"])
    assert judged["macro_f1"] > judged["macro_f1 of best threshold"] + 0.1
    assert (judged["frames"], judged["skipped"]) == (6, 2)
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == first["names"]
    assert rows[-1]["f1"] == ""
    assert np.mean([float(row["f1"]) for row in rows[:-1]]) == pytest.approx(judged["macro_f1"])
    assert set(second["files"]) == {path.name for path in tmp_path.iterdir()}
    assert "Close-up of" in (tmp_path / "report.html").read_text()


def test_arrays_in_arrays_out():
    frames = stand_in(2)
    system = Specular(grow=0)
    mask, cleaned = system.clean(frames[0].rgb)
    found = system.predict([frame.rgb for frame in frames])
    assert np.array_equal(found["masks"][0], mask)
    assert np.array_equal(found["cleaned"][0], cleaned)
    assert np.array_equal(cleaned[~mask], frames[0].rgb[~mask])
    assert found["files"] == []
    assert "macro" not in found["metrics"]
    assert system.evaluate(frames)["frames"] == 2
    dark = system.predict(np.zeros((20, 30, 3), np.uint8))
    assert (dark["highlights"], dark["share"]) == ([0], [0.0])


def test_frames_of_a_sequence_are_matched(tmp_path):
    views = [synthetic_pair(np.random.default_rng(number)) for number in range(2)]
    frames = [views[0].first, np.zeros_like(views[0].first), views[0].second, views[1].first, views[1].second]
    for number, rgb in enumerate(frames):
        write_png(tmp_path / "in" / f"{number}.png", rgb)
    system = Specular(apart=2, matching={"model": "homography", "max_features": 800})
    system.save_pretrained(tmp_path / "model")
    again = Specular.from_pretrained(tmp_path / "model")
    assert again.matching == system.matching == MatchSettings(model="homography", max_features=800)
    found = again.predict(tmp_path / "in", tmp_path / "out")
    rows = found["matches"]
    assert [(row["first"], row["second"]) for row in rows] == [("0.png", "2.png"), ("2.png", "4.png")]
    direct = system.match(frames[0], frames[2])
    assert rows[0]["inliers"] == direct.inliers.sum() > 50
    assert rows[1]["inliers"] < 20  # frames of other tissue
    gap = direct.matrix / direct.matrix[2, 2] - views[0].homography / views[0].homography[2, 2]
    assert np.abs(gap[:2, :2]).max() < 0.05
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["matched"] == 2
    assert metrics["inliers_a_match"] == pytest.approx(np.mean([row["inliers"] for row in rows]))
    with (tmp_path / "out" / "matches.csv").open() as file:
        assert [int(row["inliers"]) for row in csv.DictReader(file)] == [row["inliers"] for row in rows]
    for number in (1, 2):
        assert read_image(tmp_path / "out" / "matches" / f"{number:04d}.png").size
    assert "Frames 2 apart" in (tmp_path / "out" / "report.html").read_text()
    assert Specular(apart=1).predict(frames[:1])["matches"] == []


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Twelve frames, without loss, of one that moves by two pixels a frame; and the frames."""
    path = tmp_path_factory.mktemp("video") / "in.mkv"
    wide = stand_in(1, 8, (80, 140))[0].rgb
    frames = [np.ascontiguousarray(wide[:, 2 * i : 2 * i + 110]) for i in range(12)]
    write_video(path, frames, 10.0)
    return path, frames


def test_a_video_becomes_a_video(video, tmp_path):
    path, frames = video
    system = Specular(apart=6)
    found = system.predict(path, tmp_path)
    assert found["names"] == [f"frame {i:06d}" for i in range(12)]
    assert [(row["first"], row["second"]) for row in found["matches"]] == [("frame 000000", "frame 000006")]
    cleaned = list(read_frames(tmp_path / "cleaned" / "in.mkv"))
    assert len(cleaned) == 12
    for number, (rgb, after) in enumerate(zip(frames, cleaned, strict=True)):
        mask = read_mask(tmp_path / "masks" / f"frame {number:06d}.png")
        assert np.array_equal(mask, system.detector(rgb))
        assert np.array_equal(after, inpaint(rgb, mask))
    shares = [system.detector(rgb).mean() for rgb in frames]
    assert found["share"] == pytest.approx(shares)
    assert found["metrics"]["share"] == pytest.approx(np.mean(shares))
    page = (tmp_path / "report.html").read_text()
    assert "How much of each frame is marked" in page
    assert "cleaned/in.mkv" in found["files"]
    assert {name.split("/")[0] for name in found["files"]} == {path.name for path in tmp_path.iterdir()}
    rates = found["metrics"]["frames_per_second"]
    assert rates["detection"] > rates["detection_and_inpainting"] > 0
    assert rates["with_files"] > 0


def test_videos_that_cannot_be_used(video, tmp_path):
    with pytest.raises(ValueError, match="out_dir: a video needs a folder"):
        Specular().predict(video[0])
    (tmp_path / "torn.mp4").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is no video that OpenCV can read"):
        Specular().predict(tmp_path / "torn.mp4", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Specular().predict(tmp_path / "absent.mp4", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_stay_apart(tmp_path):
    rgb = stand_in(1)[0].rgb[:40, :50]
    for name in ("a.png", "A.bmp", "a.jpeg", "sub/a.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        write_png(tmp_path / "in" / "x.png", rgb)
        (tmp_path / "in" / "x.png").rename(tmp_path / "in" / name)
    found = Specular().predict(tmp_path / "in", tmp_path / "out")
    masks = tmp_path / "out" / "masks"
    written = [path.relative_to(masks).as_posix() for path in masks.rglob("*.png")]
    assert len(written) == len(found["names"]) == 4
    assert len({name.lower() for name in written}) == len(written)


def test_results_among_the_frames_are_no_frames(tmp_path):
    for number, frame in enumerate(stand_in(2)):
        write_png(tmp_path / f"{number}.png", frame.rgb)
    first = Specular().predict(tmp_path, tmp_path / "out")
    again = Specular().predict(tmp_path, tmp_path / "out")
    assert again["names"] == first["names"] == ["0.png", "1.png"]
    assert again["skipped"] == []
    with pytest.raises(ValueError, match="out_dir must be another folder than that of the frames"):
        Specular().predict(tmp_path, tmp_path)
    assert not (tmp_path / "masks").exists()


def test_results_beside_annotated_frames(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "clinic")
    for _ in range(2):
        found = Specular().predict(tmp_path / "clinic", tmp_path / "clinic" / "results")
        assert (found["metrics"]["frames"], found["metrics"]["annotated"]) == (7, 6)


def test_without_readable_frames_nothing_is_written(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"want frames, found none \(a.png: cannot identify"):
        Specular().predict(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"delta": 0}, "delta must be a whole number"),
        ({"max_share": 2}, "max_share must"),
        ({"inpainting": "paint"}, "inpainting must be navier-stokes or blend, not 'paint'"),
        ({"grow": -1}, "grow must"),
        ({"matching": {"speed": 3}}, "matching: want options out of features, model, ratio, .*, got 'speed'"),
        ({"matching": 3}, "matching: want options by name"),
        ({"matching": {"ratio": 2.0}}, "ratio must be at most 1"),
        ({"apart": -1}, "apart must be a whole number of at least 0, got -1"),
        ({"apart": 1.0}, "apart must"),
    ],
)
def test_bad_options_are_named(config, error):
    with pytest.raises(ValueError, match=error):
        zoo.create("specular", **config)


def test_bad_options_of_fit_are_named(folder, tmp_path):
    with pytest.raises(ValueError, match=r"held_out must lie in \[0, 1\), got 1"):
        Specular().fit(folder, tmp_path, held_out=1)
    with pytest.raises(ValueError, match="grid: want settings"):
        Specular().fit(folder, tmp_path, grid={"speed": [1]})
    with pytest.raises(ValueError, match="want frames with masks"):
        Specular().fit(folder / "Original", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_frame_is_chosen_on_and_judged(tmp_path):
    done = Specular().fit(stand_in(1), tmp_path, grid={"delta": [20]}, progress=False)
    assert (done.metrics["chosen_on"], done.metrics["judged_on"], done.metrics["held_out"]) == (1, 1, False)
    assert "the frames they were chosen on" in done.report.read_text()


def test_the_command_line(folder, tmp_path, capsys):
    line = f"zoo fit specular --data {folder} --run-dir {tmp_path / 'run'} --set held_out=0 --quiet --seed 1"
    assert cli.main([*line.split(), "--set", 'grid={"delta": [20, 30]}', "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["metrics"]["tried"] == 2
    told = f"--model {tmp_path / 'run' / 'model'} --data {folder} --json"
    assert cli.main(f"zoo evaluate specular {told}".split()) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 6
    # Without a saved system: nothing has to be learned first.
    frame = folder / "Original" / "1.png"
    line = f"zoo predict specular --data {frame} --set delta=30 --out {tmp_path / 'out'}"
    assert cli.main(line.split()) == 0
    rgb = read_image(frame)
    assert np.array_equal(read_mask(tmp_path / "out" / "masks" / "1.png"), Detector(delta=30)(rgb))
    told = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert told["names"] == ["1.png"]
    assert not (tmp_path / "out" / "predictions.npz").exists()
    assert str(tmp_path / "out" / "report.html") in capsys.readouterr().out.split()


def test_overlays_show_what_is_right_and_wrong():
    rgb = np.full((2, 3, 3), 100, np.uint8)
    mask = np.array([[1, 1, 0], [0, 0, 0]], bool)
    truth = np.array([[1, 0, 1], [0, 0, 0]], bool)
    found = overlay(rgb, mask, truth)
    colors = [np.rint(100 + 0.75 * (np.array(color) - 100)) for color in (FOUND, FALSE, MISSED)]
    assert np.array_equal(found[0], colors)
    assert (found[1] == 100).all()
    assert np.array_equal(overlay(rgb, mask)[0, :2], [colors[0]] * 2)
    assert (rgb == 100).all()
    assert side_by_side([found, found]).shape == (2, 10, 3)
    assert enlarge(found, 10).shape == (6, 9, 3)
    assert enlarge(np.zeros((900, 8, 3), np.uint8)).shape == (900, 8, 3)


def test_close_ups_show_where_highlights_are():
    rgb, truth = stand_in(1)[0]
    windows = close_ups(rgb, rgb, truth)
    assert len(windows) == 2
    assert all(window.shape == windows[0].shape for window in windows)
    assert close_ups(rgb, rgb, np.zeros_like(truth)) == []
    single = np.zeros((9, 200), bool)
    single[4, 199] = True
    assert len(close_ups(np.zeros((9, 200, 3), np.uint8), np.zeros((9, 200, 3), np.uint8), single)) == 1
