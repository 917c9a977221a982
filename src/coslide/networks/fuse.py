"""A network for inference alone: factors folded into the layers that they multiply."""

import copy
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from coslide.networks.cgblock import CGBlock


@torch.no_grad()
def fuse(network: nn.Module) -> nn.Module:
    """Copy a network, in evaluation mode, so that it gives the same logits with less work.

    alpha of every CGBlock is multiplied into its kernel once instead of at every call, and a batch normalisation that
    follows a convolution is folded into it.

    Parameters
    ----------
    network
        Any network; it is not changed.

    Notes
    -----
    Equal up to rounding: sums are taken in another order. The copy's parameters need no gradient and its state dict is
    not that of the original; train, save and explain the original.

    Examples
    --------
    >>> from coslide import networks
    >>> net = networks.create("egcn", bands=4, width=8).eval()
    >>> x = torch.randn(1, 4, 32, 32)
    >>> bool((fuse(net)(x) - net(x)).abs().max() < 1e-5)
    True
    """
    fused = copy.deepcopy(network).eval().requires_grad_(False)
    for module in fused.modules():
        if isinstance(module, CGBlock):
            for values in module.convolution.parameters():
                values.mul_(module.alpha)
            del module.alpha  # so that weights of the original, in which it is not folded, cannot be loaded by mistake
            module.folded = True
        elif isinstance(module, nn.Sequential):
            for number, (convolution, norm) in enumerate(pairwise(list(module))):
                if type(convolution) is nn.Conv2d and isinstance(norm, nn.BatchNorm2d):
                    module[number], module[number + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    return fused
