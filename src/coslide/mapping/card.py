"""What a model that comes with coslide tells of itself beside what every model does."""

from pydantic import Field

from coslide.config.records import StrictModel

Interval = tuple[float, float]


class UnseenScores(StrictModel):
    """Scores on an event that had no part in a training.

    Attributes
    ----------
    event, inventory
        The event, and whose landslides it was scored on.
    average_precision, average_precision_interval
        Area under the precision-recall curve, and its 95 % interval where it is known.
    f1, f1_interval
        Of landslide pixels at the model's own threshold, which was chosen in training or from each map alone; and its
        95 % interval where it is known.
    oracle_f1
        At the threshold that is best on the event itself: a bound, never a result.
    measured
        How, in one sentence.
    """

    event: str
    inventory: str = ""
    average_precision: float | None = None
    average_precision_interval: Interval | None = None
    f1: float
    f1_interval: Interval | None = None
    oracle_f1: float | None = None
    measured: str


class Card(StrictModel):
    """What the card of a model says that its training did not record.

    Attributes
    ----------
    name
        By which the model is called for.
    unseen
        Scores on events that were unseen, if any were measured.
    limits
        What it is not to be used for, and where it fails.
    command
        That made it.
    half_precision_loss
        By how much a probability changed at most where the weights were kept in half precision; None for whole ones.
    """

    name: str
    unseen: list[UnseenScores] = Field(default_factory=list)
    limits: str
    command: str
    half_precision_loss: float | None = None
