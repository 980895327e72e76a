"""ASR from a folder to a report, saved and loaded; attributes and trees."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import immunohistochemistry

from medkernels import zoo
from medkernels.zoo.asr.attributes import (
    attribute_names,
    axial_mean_std,
    case_attributes,
    cell_tables,
    describe_attribute,
    standard_form,
)
from medkernels.zoo.asr.data import from_arrays
from medkernels.zoo.asr.model import ASR, Ellipses
from medkernels.zoo.asr.splits import split_patches
from medkernels.zoo.asr.standin import CLASSES, stand_in
from medkernels.zoo.asr.system import ASRSystem, check_spacings
from medkernels.zoo.asr.tree import draw_tree, learn_tree, load_tree, macro_f1

QUICK = {"max_epochs": 2, "batch_size": 2, "progress": False, "tensorboard": False}


def test_three_scales_give_the_36_attributes():
    names = attribute_names((8, 16, 32))
    assert len(names) == len(set(names)) == 36
    assert names[:4] == ["mean_w_8", "std_w_8", "mean_h_8", "std_h_8"]
    assert describe_attribute("mean_phi_32") == "mean of direction of the long axis, rad, at scale 32"
    torch.manual_seed(0)
    explanation = ASR().eval().explain(torch.rand(2, 3, 64, 64))
    tables = cell_tables(explanation)
    values = dict(zip(names, case_attributes(tables), strict=True))
    axes = explanation.scales[1].axes.detach().double().amax(dim=-1)
    assert values["mean_w_16"] == pytest.approx(axes.mean().item(), rel=1e-6)
    assert values["std_w_16"] == pytest.approx(axes.std(correction=0).item(), rel=1e-5)
    assert values["mean_g_32"] == pytest.approx(explanation.scales[2].colors[..., 1].mean().item(), rel=1e-5)


def test_one_ellipse_has_one_description():
    base = (5.0, 2.0, 0.4)
    ways = [base, (5.0, 2.0, 0.4 + math.pi), (2.0, 5.0, 0.4 - math.pi / 2), (2.0, 5.0, 0.4 + math.pi / 2)]
    scale = Ellipses(
        centers=torch.zeros(1, 4, 2),
        axes=torch.tensor([[way[:2] for way in ways]]),
        angles=torch.tensor([[way[2] for way in ways]]),
        colors=torch.full((1, 4, 3), 0.5),
        opacity=torch.ones(1, 4),
    )
    form = standard_form(scale)
    assert torch.allclose(form[0, :, :3], torch.tensor(base).expand(4, 3), atol=1e-5)


def test_directions_are_averaged_as_directions():
    mean, spread = axial_mean_std(np.array([0.05, math.pi - 0.05]))
    assert min(mean, math.pi - mean) == pytest.approx(0.0, abs=1e-9)
    assert spread == pytest.approx(0.05, rel=0.01)
    assert axial_mean_std(np.full(5, 1.2)) == pytest.approx((1.2, 0.0), abs=1e-6)
    assert axial_mean_std(np.array([0.0, math.pi / 2]))[1] > 1


@pytest.fixture(scope="module")
def learned():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    features = rng.normal(size=(90, 36))
    features[:, 5] += 3 * (labels == 1)
    features[:, 20] -= 4 * (labels == 2)
    names = attribute_names((8, 16, 32))
    return learn_tree(features, labels, names, CLASSES), features, labels


def test_tree_agrees_with_scikit_learn(learned):
    from sklearn.tree import DecisionTreeClassifier

    tree, features, labels = learned
    peer = DecisionTreeClassifier(max_depth=4, min_samples_leaf=3, random_state=0).fit(features, labels)
    fresh = np.random.default_rng(1).normal(size=(200, 36)) * 3
    assert np.array_equal(tree.predict(fresh), peer.predict(fresh))
    assert macro_f1(labels, tree.predict(features)) > 0.9


def test_tree_survives_json(learned):
    tree, features, _ = learned
    again = load_tree(json.loads(json.dumps(tree.export())))
    assert again == tree
    assert np.array_equal(again.predict(features), tree.predict(features))


def test_tree_is_drawn_with_its_questions_in_words(learned):
    tree = learned[0]
    texts = [text.get_text() for text in draw_tree(tree).axes[0].texts]
    assert tree.used()
    for name in tree.used():
        assert any(describe_attribute(name).split(", at")[0] in text for text in texts)
    assert sum(text == "yes" for text in texts) == sum(text == "no" for text in texts) > 0


def test_macro_f1_by_hand():
    assert macro_f1(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])) == pytest.approx((2 / 3 + 4 / 5) / 2)


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"variant": "best"}, "variant"),
        ({"spacings": [16, 8]}, "spacings"),
        ({"spacings": []}, "spacings"),
        ({"spacings": [1, 8]}, "spacings"),
        ({"spacings": [8.5]}, "spacings"),
        ({"composition": "under"}, "composition"),
        ({"kind": "mae"}, "kind"),
        ({"price": -1.0}, "price"),
        ({"area": float("nan")}, "area"),
        ({"tau": 0.0}, "tau"),
        ({"refine_steps": -1}, "refine_steps"),
        ({"patch": 0}, "patch"),
    ],
)
def test_bad_options_are_named(config, error):
    with pytest.raises(ValueError, match=error):
        zoo.create("asr", **config)


def test_spacings_become_a_tuple():
    assert check_spacings([8, 14, 48]) == (8, 14, 48)


def test_cases_are_split_and_never_torn():
    labels = np.repeat([0, 1], 10)
    patches = from_arrays(np.zeros((20, 3, 8, 8)), labels)
    split = split_patches(patches, seed=0)
    parts = [set(split[name]) for name in ("train", "valid", "held_out")]
    assert [len(part) for part in parts] == [14, 2, 4]
    assert set.union(*parts) == set(range(20))
    assert set(split["learn"]) == parts[0] | parts[1]


def test_a_single_patch_can_be_trained_on():
    split = split_patches(from_arrays(np.zeros((1, 3, 8, 8))), seed=0)
    assert {name: part.tolist() for name, part in split.items()} == {
        "train": [0],
        "valid": [0],
        "held_out": [],
        "learn": [0],
    }


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Six cases of two classes, cut from one image, and a bad file."""
    root = tmp_path_factory.mktemp("slides")
    image = immunohistochemistry()
    for name, left in (("gland", 0), ("stroma", 384)):
        (root / name).mkdir()
        for number in range(6):
            top = 64 * number
            Image.fromarray(image[top : top + 128, left : left + 128]).save(root / name / f"{number}.png")
    (root / "stroma" / "torn.jpg").write_bytes(b"\xff\xd8\xff nothing")
    return root


@pytest.fixture(scope="module")
def trained(slides, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    system = zoo.create("asr", patch=64, max_patches=4)
    return system, system.fit(slides, run, seed=1, **QUICK), run


def test_fit_on_a_folder_writes_everything(trained):
    system, done, run = trained
    assert done.rank == 0
    for name in ("metrics.json", "attributes.csv", "report.html", "metrics.csv", "model/model.safetensors"):
        assert (run / name).stat().st_size > 0, name
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics == done.metrics
    assert metrics["cases"] == 12
    assert metrics["patches"] == 48
    assert metrics["skipped_files"] == 1
    assert 0 <= metrics["held_out"]["macro_f1"] <= 1
    assert metrics["held_out"]["mse"] > 0
    page = done.report.read_text()
    for word in ("torn.jpg", "Tree", "Attributes", "held_out macro_f1", "scale 14 px"):
        assert word in page, word
    rows = list(csv.reader((run / "attributes.csv").open()))
    assert rows[0] == ["case", *system.attribute_names]
    assert len(rows) == 13


def test_saved_system_predicts_the_same(trained, slides, tmp_path):
    system, done, _ = trained
    again = zoo.system_class("asr").from_pretrained(done.model)
    first, second = system.predict(slides), again.predict(slides)
    assert first["classes"] == second["classes"]
    assert set(first["classes"]) <= {"gland", "stroma"}
    assert np.allclose(first["attributes"], second["attributes"])
    assert first["attributes"].shape == (12, 36)
    assert again.evaluate(slides) == pytest.approx(system.evaluate(slides))


def test_prediction_is_written_as_tables_and_pictures(trained, slides, tmp_path):
    system = ASRSystem.from_pretrained(trained[1].model)
    system.refine_steps = 20
    result = system.predict(slides, tmp_path / "out")
    for name in ("ellipses.csv", "attributes.csv", "patches.csv", "outlines-0000.png"):
        assert name in result["files"]
        assert (tmp_path / "out" / name).exists()
    rows = list(csv.DictReader((tmp_path / "out" / "ellipses.csv").open()))
    assert len(rows) == len(result["ellipses"]["x"]) > 0
    assert {row["scale"] for row in rows} <= {"8", "14", "48"}
    assert {row["case"] for row in rows} <= set(result["cases"])
    assert len(list(csv.reader((tmp_path / "out" / "patches.csv").open()))) == 49
    cases = list(csv.DictReader((tmp_path / "out" / "attributes.csv").open()))
    assert [row["class"] for row in cases] == result["classes"]


def test_ellipses_are_listed_in_image_coordinates(trained):
    image = torch.from_numpy(immunohistochemistry()[:128, :128]).permute(2, 0, 1)[None].float() / 255
    system = ASRSystem.from_pretrained(trained[1].model)
    system.refine_steps = 20
    patches = from_arrays(image.numpy())
    table = system.predict(patches)["ellipses"]
    moved = system.predict(
        type(patches)(**{**vars(patches), "corners": patches.corners + np.array([100, 1000])})
    )["ellipses"]
    assert len(table["x"]) > 0
    assert np.allclose(moved["x"] - table["x"], 1000)
    assert np.allclose(moved["y"] - table["y"], 100)


def test_pictures_without_classes_train_without_a_tree(tmp_path):
    system = zoo.create("asr", variant="published", spacings=[8, 16, 24])
    done = system.fit(from_arrays(stand_in(6)[0]), tmp_path, **QUICK)
    assert system.tree is None
    assert "macro_f1" not in done.metrics["train"]
    assert "Decision tree" not in done.report.read_text()
    again = ASRSystem.from_pretrained(done.model)
    assert again.predict(stand_in(2)[0])["classes"] is None
    assert again.spacings == (8, 16, 24)
    assert again.module.composition == "union"


def test_evaluation_on_unknown_classes_is_an_error(trained):
    data = from_arrays(np.zeros((2, 3, 64, 64)), [0, 1], ["gland", "bone"])
    with pytest.raises(ValueError, match="no class bone"):
        trained[0].evaluate(data)


def test_crop_larger_than_the_patch_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="crop"):
        zoo.create("asr").fit(from_arrays(np.zeros((2, 3, 16, 16))), tmp_path, crop=17, **QUICK)


@pytest.mark.slow
def test_acceptance_on_the_stand_in(tmp_path):
    from medkernels.zoo.asr.acceptance import compare

    result = compare(0, tmp_path)
    assert result["asr_macro_f1"] >= 0.55
    assert result["asr_macro_f1"] >= result["baseline_macro_f1"] + 0.12
