"""What is fetched for an earthquake: how large an area, which scenes, and which faults."""

from pathlib import Path

from pydantic import Field

from coslide.config.records import StrictModel, require


class FetchOptions(StrictModel):
    """What to fetch for an earthquake.

    Examples
    --------
    >>> from coslide import FetchOptions
    >>> FetchOptions(days_after=60).min_clear
    0.7
    """

    pga_g: float = Field(default=0.10, gt=0, le=5)
    """The area to map is the rectangle around shaking of this PGA [g] or more."""
    largest_km2: float = Field(default=10_000.0, gt=0, le=1e6)
    """Where that is larger [km2], the PGA is raised until it is not."""
    bounds_deg: tuple[float, float, float, float] | None = None
    """West, south, east and north of the area to map, in place of that of the shaking."""
    days_before: int = Field(default=90, ge=1, le=3660)
    """How long before the earthquake a scene may be from."""
    days_after: int = Field(default=30, ge=1, le=3660)
    """How long after it."""
    min_clear: float = Field(default=0.7, gt=0, le=1)
    """Share of the area that a scene must show free of clouds, shadows of clouds and snow."""
    faults: Path | None = None
    """Lines of the fault that broke, where you know it."""

    def model_post_init(self, context: object, /) -> None:
        """Check that the bounds are an area on one side of the 180th meridian."""
        if self.bounds_deg is None:
            return
        west, south, east, north = self.bounds_deg
        fits = -180 <= west < east <= 180 and -90 < south < north < 90
        require(fits, f"found {self.bounds_deg}, expected west < east and south < north, in degrees")


def describe_options() -> dict[str, str]:
    """Describe all options by their names: what each is, and its default.

    Examples
    --------
    >>> describe_options()["days_after"]
    'How long after it; default 30.'
    """
    found = {}
    for name, field in FetchOptions.model_fields.items():
        text, default = (field.description or "").rstrip("."), field.get_default()
        found[name] = f"{text}." if default is None else f"{text}; default {default:g}."
    return found
