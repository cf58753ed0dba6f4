"""Which output of a network is whose: decided once, used by everything else.

An assignment says for each source which estimate is taken for it. Estimates
brought into that order are compared with the sources place by place.
"""

from itertools import permutations

import torch
from scipy.optimize import linear_sum_assignment

from speechbrain_ext.errors import ConfigError

# Of so many estimates all orders are tried, where the costs are.
TRIED = 3

_WORST = 1e9  # in place of what is no number


def best_assignment(costs):
    """Order of the estimates with the least total cost.

    All orders are tried for two or three estimates; for more, the Hungarian
    algorithm finds it (Kuhn, Naval Research Logistics Quarterly 2, 1955).

    Arguments
    ---------
    costs : torch.Tensor (batch, estimates, sources)
        What it costs to take an estimate for a source; at least as many
        estimates as sources. What is no number costs most.

    Returns
    -------
    torch.Tensor (batch, sources) of int64
        Index of the estimate that is taken for each source.

    Raises
    ------
    ConfigError
        If there are fewer estimates than sources.

    Example
    -------
    The second estimate is of the first source, the third one of the second:

    >>> costs = torch.tensor([[9, 8, 1], [0, 9, 9], [9, 0, 9]])
    >>> best_assignment(costs.unsqueeze(0))
    tensor([[1, 2, 0]])
    """
    count, sources = costs.shape[-2:]
    if count < sources:
        raise ConfigError(
            f"{count} estimates of {sources} sources: give the network at "
            "least as many outputs"
        )
    costs = costs.detach().float()
    costs = costs.nan_to_num(_WORST, _WORST, -_WORST).clamp(-_WORST, _WORST)
    if count <= TRIED:
        orders = torch.tensor(
            list(permutations(range(count), sources)), device=costs.device
        )
        places = torch.arange(sources, device=costs.device)
        return orders[costs[:, orders, places].sum(-1).argmin(1)]
    found = [
        # Rows, the sources, come back in order.
        torch.from_numpy(linear_sum_assignment(table)[1])
        for table in costs.mT.cpu().numpy()
    ]
    return torch.stack(found).to(costs.device)


def reorder(estimates, assignment):
    """Estimates in the order of the sources.

    Arguments
    ---------
    estimates : torch.Tensor (batch, estimates, ...)
    assignment : torch.Tensor (batch, sources) of int64
        From `best_assignment`.

    Returns
    -------
    torch.Tensor (batch, sources, ...)

    Example
    -------
    >>> estimates = torch.tensor([[[3.0], [1.0], [2.0]]])
    >>> reorder(estimates, torch.tensor([[1, 2, 0]])).flatten()
    tensor([1., 2., 3.])
    """
    batch = torch.arange(len(estimates), device=estimates.device)
    return estimates[batch[:, None], assignment]
