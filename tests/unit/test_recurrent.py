"""Recurrent separators: sizes, masks, memory, errors."""

import pytest
import torch

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.separation.recurrent import RecurrentNetwork, joint_mask


def size(network):
    return sum(p.numel() for p in network.parameters())


def test_sizes_of_the_published_networks():
    gru = [3 * 256 * (n + 256 + 2) for n in (513, 256, 256)]
    assert size(RecurrentNetwork()) == sum(gru) + 2 * 257 * 513 == 1645314
    paper = RecurrentNetwork(
        hidden_size=1000,
        layers=("dense", "rnn", "dense"),
        context=3,
        output="linear",
    )
    recurrent = 1000 * (1000 + 1000 + 2)
    dense = 1000 * (3 * 513 + 1) + 1000 * 1001
    assert size(paper) == dense + recurrent + 2 * 1001 * 513


@pytest.mark.parametrize("output", ["relu", "linear", "exp"])
@pytest.mark.parametrize("sources", [1, 2, 3])
def test_masks_add_up_to_one(output, sources):
    torch.manual_seed(0)
    network = RecurrentNetwork(
        9, 8, ("dense", "rnn"), 3, n_sources=sources, output=output
    )
    levels = torch.tensor([0, 1e-6, 1, 1e4]).view(4, 1, 1)
    masks = network(torch.rand(4, 6, 9) * levels)
    assert masks.shape == (4, sources, 6, 9)
    assert (masks >= 0).all() and torch.isfinite(masks).all()
    assert torch.allclose(masks.sum(1), torch.ones(()))


def test_exponential_estimates_share_by_their_difference():
    network = RecurrentNetwork(1, 1, ("dense",), output="exp")
    with torch.no_grad():
        for head, bias in zip(network.heads, (2.0, 0.5), strict=True):
            head.weight.zero_()
            head.bias.fill_(bias)
    masks = network(torch.rand(1, 1, 1)).flatten()
    share = torch.tensor(2.0).exp() / (
        torch.tensor(2.0).exp() + torch.tensor(0.5).exp()
    )
    assert torch.allclose(masks, torch.stack([share, 1 - share]))


def test_units_that_are_dead_share_equally():
    zeros = torch.zeros(1, 2, 3, 4, requires_grad=True)
    shared = joint_mask(zeros)
    assert (shared == 0.5).all()
    shared[0, 0].sum().backward()
    assert torch.isfinite(zeros.grad).all()


@pytest.mark.parametrize(
    "layers, context, first, last",
    [
        # Frame 5 hears what lies within its context, and through a recurrent
        # layer all that came before.
        (("dense", "dense"), 1, 5, 5),
        (("dense", "dense"), 3, 4, 6),
        (("dense", "dense"), 5, 3, 7),
        (("dense", "rnn"), 3, 0, 6),
        (("gru",), 1, 0, 5),
    ],
)
def test_what_a_frame_depends_on(layers, context, first, last):
    torch.manual_seed(1)
    network = RecurrentNetwork(
        4, 32, layers, context, output="linear", normalise=False
    )
    mixture = torch.rand(1, 12, 4, requires_grad=True)
    network(mixture)[0, 0, 5].sum().backward()
    heard = mixture.grad[0].abs().sum(1).nonzero().flatten()
    assert (heard.min().item(), heard.max().item()) == (first, last)


def test_context_is_in_order_of_time():
    network = RecurrentNetwork(
        2, 6, ("dense",), 3, output="linear", normalise=False
    )
    with torch.no_grad():
        network.layers[0].weight.copy_(torch.eye(6))
        network.layers[0].bias.zero_()
    seen = []
    network.heads[0].register_forward_hook(lambda m, i, o: seen.append(i[0]))
    network(torch.arange(1.0, 7.0).view(1, 3, 2))
    assert seen[0][0].tolist() == [
        [0, 0, 1, 2, 3, 4],
        [1, 2, 3, 4, 5, 6],
        [3, 4, 5, 6, 0, 0],
    ]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"layers": ("lstm",)}, r"layers is \['lstm'\]: name at least one of"),
        ({"layers": ()}, r"layers is \[\]"),
        ({"context": 2}, "context is 2 frames: use an odd"),
        ({"context": -1}, "context is -1"),
        ({"output": "tanh"}, "output is 'tanh': use one of relu, linear, exp"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ConfigError, match=message):
        RecurrentNetwork(**options)
