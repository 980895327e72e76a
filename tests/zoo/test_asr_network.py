"""The ASR network: cells, ellipses, losses, refinement, and the published renderer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from medkernels.render import ellipses
from medkernels.zoo.asr.encoder import Encoder, at_cells, cell_centers
from medkernels.zoo.asr.losses import Objective, objective, pixel_error, reconstruction_metrics
from medkernels.zoo.asr.model import ASR, CODE, ConvAutoencoder
from medkernels.zoo.asr.pictures import appearances, outlines, pick
from medkernels.zoo.asr.refine import refine
from medkernels.zoo.asr.standin import CLASSES, MEAN_COLOR, stand_in
from medkernels.zoo.asr.volume import VolumeASR, Volumes, judge_volume, reconstruction_loss, synthetic_volume
from tests.reference.grid_sample_renderer import ellipses as grid_sample_ellipses


def random_ellipses(generator, count=23, batch=2, side=40):
    def rand(*shape):
        return torch.rand(*shape, generator=generator)

    return (
        rand(batch, count, 2) * side,
        rand(batch, count, 2) * 8 + 1,
        rand(batch, count) * 6,
        rand(batch, count, 3),
        rand(batch, 3),
    )


@pytest.mark.parametrize("composition", ["union", "over"])
@pytest.mark.parametrize("opacity", [0.995, "each"])
def test_published_renderer_draws_the_same(composition, opacity):
    generator = torch.Generator().manual_seed(0)
    scene = random_ellipses(generator)
    strength = torch.rand(2, 23, generator=generator) * 0.9 if opacity == "each" else opacity
    ours = ellipses(*scene, (36, 44), composition=composition, opacity=strength)
    published = grid_sample_ellipses(*scene, (36, 44), composition=composition, opacity=strength, chunk=7)
    assert (ours - published).abs().max() < 5e-3


def test_published_renderer_is_off_by_the_jump_at_the_cut_off_at_most():
    scene = [torch.tensor(values) for values in ([[[24.3, 20.1]]], [[[6.0, 3.0]]], [[0.7]])]
    scene += [torch.ones(1, 1, 3), torch.zeros(1, 3)]
    gap = (ellipses(*scene, (40, 48)) - grid_sample_ellipses(*scene, (40, 48))).abs().max()
    assert 1e-3 < gap < 2.6e-3


def test_cell_centers_lie_between_the_pixels_of_a_cell():
    centers = cell_centers((2, 3), 8, torch.zeros(()))
    assert centers.tolist() == [[3.5, 3.5], [11.5, 3.5], [19.5, 3.5], [3.5, 11.5], [11.5, 11.5], [19.5, 11.5]]


def test_cells_of_another_size_read_the_latent_where_they_lie():
    # A latent that holds its own position must give the positions of the cells back.
    stride, spacing, size = 4, 6, (24, 36)
    places = cell_centers((6, 9), stride, torch.zeros(())).T.reshape(1, 2, 6, 9)
    read = at_cells(places, spacing, stride, size)
    wanted = cell_centers((4, 6), spacing, torch.zeros(())).T.reshape(1, 2, 4, 6)
    assert torch.allclose(read, wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("spacings", "size", "grids"),
    [
        ((8, 16, 32), (256, 256), [(32, 32), (16, 16), (8, 8)]),
        ((8, 16, 24), (48, 48), [(6, 6), (3, 3), (2, 2)]),
        ((5, 14, 48), (50, 70), [(10, 14), (4, 5), (2, 2)]),
        ((2,), (7, 9), [(4, 5)]),
    ],
)
def test_encoder_gives_one_latent_cell_for_each_cell(spacings, size, grids):
    encoder = Encoder(3, spacings, blocks=2, top_down=True)
    latents = encoder(torch.rand(2, 3, *size))
    assert [tuple(latent.shape[2:]) for latent in latents] == grids
    assert [latent.shape[1] for latent in latents] == encoder.widths


def test_published_network_has_fixed_centers_and_bounded_axes():
    torch.manual_seed(0)
    model = ASR()
    picture, explanation = model(torch.rand(2, 3, 256, 256))
    assert picture.shape == (2, 3, 256, 256)
    assert [scale.angles.shape[1] for scale in explanation.scales] == [1024, 256, 64]
    for spacing, scale in zip((8, 16, 32), explanation.scales, strict=True):
        grid = 256 // spacing
        assert torch.equal(scale.centers[1], cell_centers((grid, grid), spacing, scale.centers))
        assert scale.axes.min() >= 0.1 * spacing
        assert scale.axes.max() <= spacing
        assert scale.opacity.unique().tolist() == pytest.approx([0.995])
    assert int(model.steps) == 1


def test_free_centers_stay_in_reach_of_their_cell():
    torch.manual_seed(0)
    model = ASR((8, 16), offsets=True, fading=True)
    for parameter in model.parameters():
        parameter.data *= 20
    explanation = model.eval().explain(torch.rand(1, 3, 32, 32))
    for spacing, scale in zip((8, 16), explanation.scales, strict=True):
        grid = 32 // spacing
        moved = scale.centers[0] - cell_centers((grid, grid), spacing, scale.centers)
        assert moved.abs().max() <= spacing / 2 + 1e-4
        assert moved.abs().max() > 0.1
        assert scale.opacity.max() < 1


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    image = torch.rand(2, 3, 48, 48)
    model = ASR((8, 16, 24), composition="over", offsets=True, fading=True, initial=(0.5, 0.3), top_down=True)
    picture, explanation = model(image)
    objective(model, picture, explanation, image, Objective(layers=1.0, price=0.1))["loss"].backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


def test_objective_adds_its_terms():
    torch.manual_seed(0)
    model = ASR((8, 16)).eval()
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        picture, explanation = model(image)
        plain = objective(model, picture, explanation, image, Objective())["loss"]
        priced = objective(model, picture, explanation, image, Objective(price=0.5), 0.5)["loss"]
        sized = objective(model, picture, explanation, image, Objective(area=0.1))["loss"]
        layered = objective(model, picture, explanation, image, Objective(layers=2.0))["loss"]
        coarse = model.render(explanation, (32, 32), finest=1)
    assert float(priced - plain) == pytest.approx(0.25 * 0.995 * (16 + 4) / 32**2, rel=1e-3)
    areas = [s.axes.prod(-1).mean() / r**2 for s, r in zip(explanation.scales, (8, 16), strict=True)]
    assert float(sized - plain) == pytest.approx(0.1 * float(sum(areas)), rel=1e-3)
    assert float(layered - plain) == pytest.approx(2 * float((coarse - image).square().mean()), rel=1e-3)


def test_multiscale_error_weighs_coarse_differences_more():
    zero = torch.zeros(1, 1, 8, 8)
    checker = torch.ones(8, 8) - 2 * ((torch.arange(8)[:, None] + torch.arange(8)) % 2)
    assert float(pixel_error(zero, checker[None, None], "multiscale")) == pytest.approx(1 / 3)
    assert float(pixel_error(zero, zero + 1, "multiscale")) == pytest.approx(1.0)


def test_metrics_of_a_perfect_and_of_a_shifted_picture():
    image = torch.rand(2, 3, 32, 32) * 0.5
    same = reconstruction_metrics(image, image)
    off = reconstruction_metrics(image + 0.1, image)
    assert same["ssim"].tolist() == pytest.approx([1.0, 1.0])
    assert off["mae"].tolist() == pytest.approx([0.1, 0.1], rel=1e-4)
    assert off["mse"].tolist() == pytest.approx([0.01, 0.01], rel=1e-4)
    assert off["ssim"].max() < 1


def test_one_ellipse_is_recovered_ten_times_in_ten():
    rng = np.random.default_rng(0)
    size = (48, 48)
    for _ in range(10):
        axes = torch.from_numpy(rng.uniform(5, 12, 2)).float()
        if abs(float(axes[0] - axes[1])) < 2:  # a circle has no direction to recover
            axes[0] += 3
        angle = torch.tensor(rng.uniform(0, math.pi)).float()
        center = torch.from_numpy(rng.uniform(20, 28, 2)).float().reshape(1, 1, 2)
        colors, background = torch.tensor([[[0.2, 0.3, 0.8]]]), torch.tensor([[0.9, 0.7, 0.8]])
        target = ellipses(center, axes.reshape(1, 1, 2), angle.reshape(1, 1), colors, background, size)
        log_axes = (axes.log() + torch.from_numpy(np.log(rng.uniform(0.7, 1.3, 2))).float()).requires_grad_()
        turn = (angle + rng.uniform(-0.4, 0.4)).requires_grad_()
        optimizer = torch.optim.Adam([log_axes, turn], lr=0.03)
        for _ in range(200):
            shape = log_axes.exp().reshape(1, 1, 2)
            picture = ellipses(center, shape, turn.reshape(1, 1), colors, background, size)
            optimizer.zero_grad()
            (picture - target).square().mean().backward()
            optimizer.step()
        assert (log_axes.exp() / axes - 1).abs().max() < 0.1
        assert abs(math.degrees(float(turn.detach() - angle))) < 5


def test_refinement_lowers_the_error_and_leaves_the_network_alone():
    torch.manual_seed(0)
    model = ASR((8, 16), composition="over", offsets=True, fading=True, initial=(0.5, 0.3)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    image = torch.from_numpy(stand_in(2)[0])
    explanation, errors = refine(model, image, Objective(layers=0.5), 40)
    assert len(errors) == 40
    assert errors[-1] < 0.5 * errors[0]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    alone, _ = refine(model, image[:1], Objective(layers=0.5), 40)
    assert torch.allclose(pick(explanation, 0).scales[0].centers, alone.scales[0].centers, atol=1e-3)


def test_contrast_is_the_change_an_ellipse_makes():
    torch.manual_seed(0)
    model = ASR((8, 16), composition="over").eval()
    with torch.no_grad():
        explanation = model.explain(torch.rand(1, 3, 32, 32))
    fine, coarse = explanation.scales
    faint = fine._replace(opacity=torch.full_like(fine.opacity, 0.25), colors=torch.zeros_like(fine.colors))
    below, shown, contrast = appearances(model, explanation._replace(scales=(faint, coarse)), (32, 32))[0]
    assert torch.allclose(shown, 0.75 * below)
    assert torch.allclose(contrast, 0.25 * below.norm(dim=-1))
    beneath = model.render(explanation, (32, 32), finest=1)
    assert torch.equal(
        below[0, 0], beneath[0, :, 4, 4]
    )  # the first cell's centre, (3.5, 3.5), rounded to even
    outside = faint._replace(centers=faint.centers + 100)
    assert appearances(model, explanation._replace(scales=(outside, coarse)), (32, 32))[0][2].max() == 0


def test_outlines_are_those_with_contrast_in_image_coordinates():
    torch.manual_seed(0)
    model = ASR((8, 16), composition="over").eval()
    with torch.no_grad():
        explanation = model.explain(torch.rand(1, 3, 32, 32))
    fine, coarse = explanation.scales
    strong = explanation._replace(scales=(fine._replace(colors=torch.zeros_like(fine.colors)), coarse))
    rows = outlines(model, strong, (32, 32), [(100, 200)])[0]
    assert len(rows.angles) == 16
    assert rows.centers.min(axis=0).tolist() == [203.5, 103.5]
    assert (np.diff(rows.contrast) <= 0).all()
    unseen = explanation._replace(scales=(fine._replace(opacity=torch.zeros_like(fine.opacity)), coarse))
    assert len(outlines(model, unseen, (32, 32), [(0, 0)])[0].angles) == 0


def test_baseline_keeps_the_size_and_has_as_many_features_as_asr():
    model = ConvAutoencoder((8, 16, 24))
    image = torch.rand(2, 3, 48, 50)
    assert model(image).shape == image.shape
    assert model.encode(image).shape[1] == CODE
    shapes = [value.shape for value in ASR((8, 16, 24)).encoder.state_dict().values()]
    assert [value.shape for value in model.encoder.state_dict().values()] == shapes


def test_stand_in_classes_share_color_and_coverage():
    pictures, labels = stand_in(30, seed=3)
    assert pictures.shape == (30, 3, 48, 48)
    assert np.bincount(labels).tolist() == [10] * len(CLASSES)
    means = pictures.mean(axis=(2, 3))
    assert np.abs(means - np.array(MEAN_COLOR)).max() < 0.01
    assert np.array_equal(pictures, stand_in(30, seed=3)[0])
    assert not np.array_equal(pictures, stand_in(30, seed=4)[0])


def test_synthetic_volume_is_bright_inside():
    volume, truth = synthetic_volume(0)
    assert volume.shape == (1, 32, 32, 32)
    assert 0.02 < truth.mean() < 0.4
    assert volume[0][truth].mean() > 0.8
    assert volume[0][~truth].mean() < 0.2


@pytest.mark.slow
def test_network_in_three_dimensions_learns_to_find_the_structures():
    torch.manual_seed(0)
    model = VolumeASR()
    volumes = Volumes(0, 32).volumes
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for step in range(120):
        optimizer.zero_grad()
        reconstruction_loss(model, volumes[torch.arange(4 * step, 4 * step + 4) % 32])["loss"].backward()
        optimizer.step()
    scores = [judge_volume(model, 100 + seed) for seed in range(4)]
    assert np.mean([score["dice"] for score in scores]) > 0.75
    assert np.mean([score["mse"] for score in scores]) < 0.015
