"""Lip encoders: the grid, missing pictures, batches, chunks, learning."""

import pytest
import torch

from speechbrain_ext.encoders.lips import LipEncoder, LipResNet, crop_centre
from speechbrain_ext.errors import AudioError


def mouths(openings, size=88):
    """Bright pictures with a dark ellipse, as high as the opening (0 to 1)."""
    across = torch.linspace(-1, 1, size)
    height = (0.05 + 0.6 * openings)[..., None, None]
    inside = (across[:, None] / height) ** 2 + (across / 0.6) ** 2 < 1
    return torch.where(inside, 40, 160).to(torch.uint8)


def noise(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 256, shape, generator=generator).to(torch.uint8)


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return LipEncoder(channels=32, widths=(8, 16), dilations=(1, 3)).eval()


def test_default_size():
    """Stem 1x32x5x7x7 + 32 = 7872; trunk, blocks: about a million."""
    encoder = LipEncoder()
    assert encoder.output_size == 192
    assert encoder.frame_rate == 50
    assert encoder.picture_size == 88
    # 2 frames of the stem and 2 x (1 + 2 + 4 + 8 + 16 + 1).
    assert encoder.context_s == pytest.approx(66 * 0.02)
    assert sum(p.numel() for p in encoder.stem.parameters()) == 7872
    assert 0.8e6 < sum(p.numel() for p in encoder.parameters()) < 1.2e6


def test_shape_and_values(encoder):
    video = noise(2, 7, 88, 88)
    feats = encoder(video)
    assert feats.shape == (2, 7, 32)
    torch.testing.assert_close(encoder(video.float()), feats)
    # 96 x 96: four pixels on each side are not seen.
    wide = noise(2, 7, 96, 96, seed=2)
    wide[:, :, 4:92, 4:92] = video
    torch.testing.assert_close(encoder(wide), feats)


def test_crop_refuses_other_shapes():
    assert crop_centre(torch.zeros(1, 1, 88, 88)).shape == (1, 1, 88, 88)
    with pytest.raises(AudioError, match="3 dimensions"):
        crop_centre(torch.zeros(1, 88, 88))
    with pytest.raises(AudioError, match="80 x 80"):
        crop_centre(torch.zeros(1, 1, 80, 80))
    with pytest.raises(AudioError, match="96 x 88"):
        crop_centre(torch.zeros(1, 1, 96, 88))


@pytest.mark.parametrize("training", [False, True])
def test_item_alone_and_in_a_batch(encoder, training):
    short = noise(1, 20, 88, 88)
    batch = noise(2, 30, 88, 88, seed=2)
    batch[0, :20] = short[0]
    encoder.train(training)
    for block in encoder.blocks:
        block.dropout.p = 0.0
    alone = encoder(short)
    encoder.eval()
    together = encoder(batch, torch.tensor([20 / 30, 1.0]))
    torch.testing.assert_close(together[:1, :20], alone, atol=1e-5, rtol=1e-5)
    assert not together[0, 20:].any()


def test_chunks_with_context_equal_the_whole(encoder):
    video = noise(1, 60, 88, 88)
    video[:, 12:50] = 0  # longer than what a frame sees
    whole = encoder(video)
    side = round(encoder.context_s * 50)
    assert side == 10
    for first, last in ((0, 20), (20, 40), (40, 60)):
        start, stop = max(0, first - side), min(60, last + side)
        part = encoder(video[:, start:stop])[:, first - start : last - start]
        torch.testing.assert_close(
            part, whole[:, first:last], atol=1e-5, rtol=1e-5
        )
    # The stretch without pictures from 12 to 49, less 10 on each side.
    silent = ~whole[0].any(1)
    assert silent.nonzero().flatten().tolist() == list(range(22, 40))


def test_missing_pictures(encoder):
    video = noise(2, 9, 88, 88)
    video[0] = 0
    video[1, 4] = 0
    feats = encoder(video)
    assert not feats[0].any()
    assert feats[1].all(-1).any()
    present = video.amax((2, 3)) > 0
    pictures = encoder._pictures(video, present)
    assert not pictures[1, 4].any()
    assert pictures[1, 3].any()
    encoder(torch.zeros(1, 5, 88, 88)).sum().backward()
    assert all(p.grad is not None for p in encoder.stem.parameters())
    encoder.zero_grad()


def test_learns_the_opening_of_a_mouth():
    """Random openings become known within a few seconds of training."""
    torch.manual_seed(0)
    encoder = LipEncoder(channels=32, widths=(8, 16), dilations=(1,))
    head = torch.nn.Linear(32, 1)
    optimizer = torch.optim.Adam(
        [*encoder.parameters(), *head.parameters()], lr=3e-3
    )
    losses = []
    for _ in range(100):
        openings = torch.rand(4, 8)
        error = head(encoder(mouths(openings))).squeeze(2) - openings
        loss = error.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # The variance of openings, 1 / 12, is what knowing nothing gives.
    assert sum(losses[-10:]) / 10 < 0.1 / 12


# --- LipResNet -------------------------------------------------------------


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return LipResNet().eval()


def test_resnet_size(resnet):
    """Stem, then ResNet-18 without its own stem and classifier, then PReLU.

    A basic block has 9 n m + 9 m m weights and two norms of 2 m; the first of
    three stages has a shortcut of n m weights and a norm.
    """
    stem = 64 * 5 * 7 * 7 + 2 * 64 + 64
    blocks, n = 0, 64
    for m in (64, 128, 256, 512):
        blocks += 9 * n * m + 3 * 9 * m * m + 4 * (2 * m + m)
        blocks += (n * m + 2 * m) * (n != m)
        n = m
    assert stem + blocks == 11_186_688
    assert sum(p.numel() for p in resnet.parameters()) == 11_186_688


def test_resnet_shapes(resnet):
    """88 pixels: 44 after the stem, 22 after the pool, then 22, 11, 6, 3."""
    shapes = []
    parts = [resnet.stem, resnet.stem_prelu, resnet.pool, *resnet.stages]
    hooks = [
        part.register_forward_hook(lambda *args: shapes.append(args[2].shape))
        for part in parts
    ]
    video = noise(1, 3, 88, 88)
    video[0, 1] = 0
    with torch.no_grad():
        feats = resnet(video)
    for hook in hooks:
        hook.remove()
    # The trunk sees the two pictures that there are.
    assert [tuple(shape) for shape in shapes] == [
        (1, 64, 3, 44, 44),
        (2, 64, 44, 44),
        (2, 64, 22, 22),
        (2, 64, 22, 22),
        (2, 128, 11, 11),
        (2, 256, 6, 6),
        (2, 512, 3, 3),
    ]
    assert feats.shape == (1, 3, resnet.output_size)
    assert feats.any(2).tolist() == [[True, False, True]]


@torch.no_grad()
def test_resnet_item_alone_and_in_a_batch(resnet):
    assert (resnet.frame_rate, resnet.picture_size) == (50, 88)
    batch = noise(2, 5, 92, 92)
    together = resnet(batch, torch.tensor([0.6, 1.0]))
    alone = resnet(batch[:1, :3])
    torch.testing.assert_close(together[:1, :3], alone, atol=1e-4, rtol=1e-4)
    assert not together[0, 3:].any()
    # A frame sees two more on each side.
    assert resnet.context_s == 0.04
    chunk = resnet(batch[1:, 2:])
    torch.testing.assert_close(
        chunk[:, 2:], together[1:, 4:], atol=1e-4, rtol=1e-4
    )


def test_missing_pictures_leave_the_statistics_alone():
    torch.manual_seed(0)
    network = LipResNet().train()
    norm = network.stem_norm
    network(torch.zeros(1, 2, 88, 88)).sum().backward()
    assert norm.num_batches_tracked == 0
    assert not norm.running_mean.any()
    # Gradients are there, for distributed training, and zero.
    assert not any(p.grad.any() for p in network.parameters())
    video = noise(1, 4, 88, 88)
    video[0, 2:] = 0
    maps = []
    network.stem.register_forward_hook(lambda m, i, o: maps.append(o))
    network(video)
    expected = 0.1 * maps[0][:, :, :2].mean((0, 2, 3, 4))
    torch.testing.assert_close(norm.running_mean, expected)
