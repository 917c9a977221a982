"""A model that is fed further bands, and begins with the map that it gave without them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from coslide import networks
from coslide.errors import InputError
from coslide.mapping.metadata import channels_of
from coslide.mapping.model import Model
from coslide.samples.encode import Encoder, Normalisation


def widen(model: Model, further: Encoder) -> Model:
    """Feed a model further bands, whose weights are 0: its map is the same until they are trained.

    Nearly the same is that of EGCN, which finds the neighbours of a node by all of its inputs, and of a model with a
    flag for a source of which a cube has the further bands alone.

    Parameters
    ----------
    model
        Its networks see the same bands as before, and those of `further`.
    further
        The further bands, none of which the model knows, how they are fed and their normalisation.

    Raises
    ------
    InputError
        If the network compares two dates, or takes its inputs otherwise than by convolutions whose weights have an axis
        for them.
    """
    old = model.metadata.encoder
    offset, scale = (np.concatenate(pair) for pair in zip(old.normalisation, further.normalisation, strict=True))
    flags = (*old.flags, *(flag for flag in further.flags if flag not in old.flags))
    encodings = (*old.encodings, *further.encodings)
    new = Encoder((*old.bands, *further.bands), encodings, flags, Normalisation(offset, scale))
    places = [new.names.index(name) for name in old.names]
    name, options = model.metadata.network, dict[str, Any](model.metadata.options)
    if networks.spec(name).two_dates:
        raise InputError(f"network {name} compares two dates, and cannot be fed further bands")
    wide = tuple(
        _widened(one, networks.create(name, len(new.names), **options), places, name) for one in model.networks
    )
    metadata = model.metadata.model_copy(update={"channels": channels_of(new), "flags": list(flags)})
    return replace(model, networks=wide, metadata=metadata)


def _widened(network: nn.Module, wide: nn.Module, places: Sequence[int], name: str) -> nn.Module:
    """Give a network with more inputs the weights of `network`, whose inputs are those at `places` of it."""
    state = wide.state_dict()
    for key, given in network.state_dict().items():
        own = state[key] = torch.zeros_like(state[key])
        if own.shape == given.shape:
            own[...] = given
        elif given.shape[1:2] == (len(places),) and own.shape[:1] + own.shape[2:] == given.shape[:1] + given.shape[2:]:
            own[:, places] = given
        else:
            raise InputError(f"network {name} cannot be fed further bands: {key} has no axis for them")
    wide.load_state_dict(state)
    return wide.eval()
