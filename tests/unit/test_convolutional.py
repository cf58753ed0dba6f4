"""The network of patches: sizes, padding, whole spectrograms, errors."""

import pytest
import torch
from torch.nn import functional

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.separation.convolutional import (
    PatchNetwork,
    SlidingPatches,
    patches_of,
    same_padding,
)
from speechbrain_ext.separation.unet import LEVEL_FRAMES


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def small(padded=True, patch_frames=5):
    """A network of patches."""
    return PatchNetwork(30, patch_frames, padded=padded).eval()


def test_size_of_the_published_network():
    network = PatchNetwork()
    layers = [*network.convolutions, *network.hidden, network.output]
    sizes = [sum(p.numel() for p in layer.parameters()) for layer in layers]
    assert sizes == [1184, 18448, 36928, 73760, 8849408, 1049088, 9460233]
    assert sum(sizes) == 19489049
    assert all((layer.bias == 0.1).all() for layer in layers)


@pytest.mark.parametrize(
    "size, kernel, stride, expected",
    [
        (9, 3, 1, (1, 1)),
        (2049, 12, 1, (5, 6)),
        (2049, 12, 12, (1, 2)),
        (171, 12, 12, (4, 5)),
        (24, 12, 12, (0, 0)),
    ],
)
def test_padding_keeps_the_size(size, kernel, stride, expected):
    assert same_padding(size, kernel, stride) == expected
    assert (size + sum(expected) - kernel) // stride + 1 == -(-size // stride)


def test_an_even_kernel_looks_further_ahead_than_back():
    network = PatchNetwork(n_bins=30, patch_frames=1).eval()
    patch = torch.zeros(1, 1, 30)
    patch[0, 0, 12] = 1.0
    seen = []
    network.convolutions[0].register_forward_hook(
        lambda m, i, o: seen.append((o[0] - 0.1).abs().sum((0, 1)) > 1e-7)
    )
    with torch.no_grad():
        network(patch)
    # Output k takes the bins k - 5 to k + 6.
    assert seen[0].nonzero().flatten().tolist() == list(range(6, 18))


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("patch_frames", [1, 3, 9])
def test_sliding_equals_one_patch_at_a_time(padded, patch_frames):
    network = small(padded, patch_frames)
    side = patch_frames // 2 + (0 if padded else 4)
    assert network.seen_frames == 2 * side + 1
    magnitudes = torch.rand(2, 12, 30)
    padding = functional.pad(magnitudes, (0, 0, side, side))
    with torch.inference_mode():
        one = [
            network(padding[:, k : k + network.seen_frames]) for k in range(12)
        ]
        one = torch.stack(one, dim=1)
        every = network.slide(padding, middle=False)
        middle = network.slide(padding)
    assert one.shape == (2, 12, patch_frames, 30)
    torch.testing.assert_close(every, one, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        middle, one[:, :, patch_frames // 2], atol=1e-5, rtol=1e-4
    )
    assert one.std() > 1e-3


def test_padding_of_a_patch_hides_its_neighbours():
    """So that one convolution of the whole spectrogram is not the same."""
    patch = torch.rand(1, 5, 30)
    near = torch.rand(1, 13, 30)
    near[:, 4:9] = patch
    far = near.clone()
    far[:, [3, 9]] += 1.0
    with torch.inference_mode():
        open_ended = small(padded=False)
        assert not torch.allclose(open_ended(near), open_ended(far))
        hidden = small()
        a, b = hidden.slide(near, middle=False), hidden.slide(far, middle=False)
    torch.testing.assert_close(a[:, 4], b[:, 4])


def test_patches_take_no_memory_of_their_own():
    spectrogram = torch.rand(2, 50, 8)
    patches = patches_of(spectrogram, 9)
    assert patches.shape == (2, 50, 9, 8)
    assert patches.untyped_storage().nbytes() == 2 * 58 * 8 * 4
    # Of 30 s, every eighth: as published.
    patches = patches_of(torch.zeros(2584, 1), 9, hop=8)
    assert patches.shape == (323, 9, 1)
    every = patches_of(spectrogram, 9)[:, ::8]
    assert torch.equal(patches_of(spectrogram, 9, hop=8), every)


@pytest.mark.parametrize("keep", ["middle", "mean"])
@pytest.mark.parametrize("batch_size", [3, 100])
def test_masks_of_a_batch(keep, batch_size):
    patches = small()
    network = SlidingPatches(patches, keep, batch_size=batch_size).eval()
    spec = torch.randn(2, 11, 30, dtype=torch.cfloat)
    with torch.inference_mode():
        masks = network(spec)
        each = torch.cat([network(one[None]) for one in spec])
        magnitudes = patches_of(spec.abs() / network.level(spec), 5)
        said = patches(magnitudes.flatten(0, 1)).sigmoid().unflatten(0, (2, 11))
    torch.testing.assert_close(masks, each)
    torch.testing.assert_close(masks.sum(1), torch.ones(2, 11, 30))
    # Frame 4 is in the patches around frames 2 to 6, in each elsewhere.
    expected = said[:, 4, 2]
    if keep == "mean":
        expected = sum(said[:, 2 + k, 4 - k] for k in range(5)) / 5
    torch.testing.assert_close(masks[:, 0, 4], expected, atol=1e-5, rtol=1e-4)
    # The first frame is in three patches around a frame of the recording.
    expected = said[:, 0, 2]
    if keep == "mean":
        expected = (said[:, 0, 2] + said[:, 1, 1] + said[:, 2, 0]) / 3
    torch.testing.assert_close(masks[:, 0, 0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("keep", ["middle", "mean"])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("level", ["published", "relative"])
def test_a_frame_depends_on_its_context_alone(keep, padded, level):
    network = SlidingPatches(small(padded), keep, level).eval()
    reach = network.context_frames
    side = {"middle": 2, "mean": 4}[keep] + (0 if padded else 4)
    assert reach == side + (LEVEL_FRAMES // 2 if level == "relative" else 0)
    frames = reach + 3
    spec = torch.randn(1, 2 * frames, 30, dtype=torch.cfloat)
    cut = spec[:, : frames + reach]
    with torch.inference_mode():
        whole, part = network(spec), network(cut)
    torch.testing.assert_close(whole[:, :, :frames], part[:, :, :frames])


def test_it_learns_a_mask():
    network = PatchNetwork(n_bins=24, patch_frames=3, dropout=0.0)
    patches = torch.rand(16, 3, 24)
    target = (patches > 0.5).float()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(40):
        loss = functional.binary_cross_entropy_with_logits(
            network(patches), target
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # A network that knows nothing stays at log(2) = 0.69.
    assert losses[-1] < 0.5


@pytest.mark.parametrize("frames", [0, 4])
def test_patches_have_a_middle(frames):
    with pytest.raises(ConfigError, match=f"patch_frames is {frames}: use an"):
        PatchNetwork(patch_frames=frames)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"keep": "all"}, "keep is 'all': use one of middle, mean"),
        ({"level": 3}, "level is 3: use one of relative, published"),
        ({"vocals_threshold": 15}, "a threshold is 15: masks are between"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        SlidingPatches(small(), **settings)
