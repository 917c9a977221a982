"""The one error type that speaks to the user, and what it promises."""


class InputError(Exception):
    """What the user gave cannot be used.

    The text is one line with the file or key, what was found and what was expected. The command line prints it
    without a traceback and ends with exit code 2; everything else that is raised is a fault of coslide (exit code 1).

    Examples
    --------
    >>> raise InputError("event.toml: [dem] path: dem.tif does not exist")
    Traceback (most recent call last):
        ...
    coslide.errors.InputError: event.toml: [dem] path: dem.tif does not exist
    """
