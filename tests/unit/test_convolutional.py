"""The network of patches: sizes, padding, whole spectrograms, errors."""

import pytest
import torch
from torch.nn import functional

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.separation.convolutional import (
    PatchNetwork,
    patches_of,
    same_padding,
    sliding_mask,
)


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


def test_sliding_equals_one_patch_at_a_time():
    torch.manual_seed(0)
    network = PatchNetwork(n_bins=40, patch_frames=5).eval()
    spectrogram = torch.rand(13, 40)
    padded = functional.pad(
        spectrogram, (0, 0, 2, 2), value=spectrogram.min().item()
    )
    with torch.inference_mode():
        one = [
            torch.sigmoid(network(padded[k : k + 5][None])[0, 2])
            for k in range(13)
        ]
        for batch_size in (1, 4, 64):
            mask = sliding_mask(network, spectrogram, batch_size)
            assert torch.allclose(mask, torch.stack(one), atol=1e-6)
    assert mask.std() > 1e-3


def test_patches_take_no_memory_of_their_own():
    patches = patches_of(torch.rand(50, 8), 9)
    assert patches.shape == (50, 9, 8)
    assert patches.untyped_storage().nbytes() == 58 * 8 * 4


def test_it_learns_a_mask():
    torch.manual_seed(0)
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
