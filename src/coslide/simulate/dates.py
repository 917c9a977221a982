"""When a simulated earthquake happens, and when the satellite passes before and after it (UTC)."""

from datetime import UTC, datetime

EVENT_TIME = datetime(2022, 4, 28, 6, 12, 0, tzinfo=UTC)
SCENE_PRE = datetime(2020, 9, 12, 23, 36, 51, tzinfo=UTC)  # late summer; processed with baseline 02.14
SCENE_POST = datetime(2022, 5, 15, 23, 36, 51, tzinfo=UTC)  # spring; processed with baseline 04.00
SCENE_TIMES = {"pre": SCENE_PRE, "post": SCENE_POST}
