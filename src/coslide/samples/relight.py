"""Another sun, sky and haze over a sample: what the same landslides would look like on another day elsewhere."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from coslide.cube.band import Band
from coslide.samples.light import decode_light, encode_light

_WAVES_PX = ((5.0, 9.0, 0.5), (10.0, 18.0, 1.0), (20.0, 40.0, 1.0))  # from and to which width; share of the slopes
_SLOPE = (0.3, 0.75)  # its tangent, as a root mean square
_SUN_DEG = (25.0, 55.0)  # above the horizon
_SKY = (0.03, 0.2)  # light of the sky over that of the sun on level terrain
_SKY_COLOURS = {"B2": 1.3, "B3": 0.9, "B4": 0.7}
_INFRARED = 0.4
_STRENGTH = (0.5, 1.0)  # of the light laid over the real one
_GAIN, _BAND_GAIN, _HAZE, _BAND_HAZE, _NOISE = 0.2, 0.1, 0.1, 0.05, 0.15


class Relighting(NamedTuple):
    """A terrain that is made up, lit, and laid over the inputs of a sample that are seen in the light of their scene.

    What an optical inventory lacks is landslides in shade, where whoever mapped saw none. Here real ones, mapped in
    sunlight, come to lie in shade, and the network learns to see what is left of them: reflectance is multiplied by
    sky + (1 - sky) * cos(i) / cos(z), not below the sky alone, where i is the angle of incidence on a random terrain
    and z the zenith distance of the sun. The sky is bluer than the sun. Besides, each date gets a gain, haze and noise;
    the units are medians of the scene above its dark level.

    Attributes
    ----------
    chance
        Share of the samples that are lit anew.
    dates
        Numbers of the inputs of each date.
    sky_colours
        For each of those inputs, how much more it gets of the light of the sky than a grey band.

    Examples
    --------
    >>> bands = [Band("slope"), Band("reflectance_post_B4", date="post", channel="B4")]
    >>> relighting = Relighting.of(bands, [1], chance=1.0)
    >>> tile = np.ones((2, 64, 64), dtype=np.float32)
    >>> relighting.apply(tile, seed=1)
    >>> bool((tile[0] == 1).all()), float(np.ptp(tile[1])) > 1
    (True, True)
    """

    chance: float
    dates: Sequence[Sequence[int]]
    sky_colours: Sequence[Sequence[float]]

    @classmethod
    def of(cls, inputs: Sequence[Band], light: Sequence[int], *, chance: float) -> Self:
        """Choose from the inputs of a network those with the numbers `light`, date by date."""
        dates = [[number for number in light if inputs[number].date == date] for date in ("pre", "post", "")]
        dates = [numbers for numbers in dates if numbers]
        colours = [[_SKY_COLOURS.get(inputs[number].channel, _INFRARED) for number in numbers] for numbers in dates]
        return cls(chance, dates, colours)

    def apply(self, tile: NDArray[np.float32], seed: int) -> None:
        """Light a tile (input, row, col) anew in place, drawn from `seed`; pixels that a date lacks stay 0."""
        random = np.random.default_rng((seed, 1))  # `Jitter` draws from the seed alone
        if random.random() >= self.chance:
            return
        slopes = _made_up_slopes(tile.shape[-2:], random)
        for inputs, colours in zip(self.dates, self.sky_colours, strict=True):
            own, shape = list(inputs), (len(inputs), 1, 1)
            seen = tile[own]
            there = (seen != 0).any(axis=0)
            sky = random.uniform(*_SKY) * np.reshape(colours, shape)
            light = 1 + random.uniform(*_STRENGTH) * ((sky + (1 - sky) * _sunlight(slopes, random)) - 1)
            light *= np.exp(random.normal(0, _GAIN) + random.normal(0, _BAND_GAIN, shape))
            haze = random.normal(0, _HAZE) + random.normal(0, _BAND_HAZE, shape)
            noise = random.uniform(0, _NOISE) * random.standard_normal(seen.shape, dtype=np.float32)
            lit = decode_light(seen) * light.astype(np.float32) + haze.astype(np.float32) + noise
            tile[own] = np.where(there, encode_light(lit.astype(np.float32)), 0)


def _made_up_slopes(shape: tuple[int, ...], random: np.random.Generator) -> tuple[NDArray[np.float32], ...]:
    """Make up the slopes of a terrain of hills in three sizes, down the rows and along them."""
    frequencies = np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1]), indexing="ij")
    squared = frequencies[0] ** 2 + frequencies[1] ** 2
    amplitude = np.zeros_like(squared)
    for narrowest, widest, share in _WAVES_PX:
        hills = np.exp(-squared * (2 * math.pi * random.uniform(narrowest, widest)) ** 2 / 2)
        amplitude += share * hills / np.sqrt((squared * hills**2).sum())  # of the same slopes, whatever their size
    height = np.fft.rfft2(random.standard_normal(shape)) * amplitude
    slopes = [np.fft.irfft2(2j * math.pi * along * height, s=shape) for along in frequencies]
    steepness = random.uniform(*_SLOPE) / np.sqrt(np.mean(slopes[0] ** 2 + slopes[1] ** 2))
    return tuple((steepness * slope).astype(np.float32) for slope in slopes)


def _sunlight(slopes: tuple[NDArray[np.float32], ...], random: np.random.Generator) -> NDArray[np.float32]:
    """Compute the direct light of a sun somewhere over slopes, over that on level terrain; 0 on those turned away."""
    elevation, azimuth = math.radians(random.uniform(*_SUN_DEG)), random.uniform(0, 2 * math.pi)
    down, along = slopes
    towards = math.sin(elevation) - math.cos(elevation) * (along * math.cos(azimuth) + down * math.sin(azimuth))
    return np.asarray(np.maximum(towards, 0) / (math.sin(elevation) * np.sqrt(1 + down**2 + along**2)))
