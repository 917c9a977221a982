"""The installed coslide, run in a process of its own: its lines become messages and progress, an error an exception."""

import os
import queue
import re
import shutil
import signal
import subprocess
import threading
from contextlib import suppress

from processing.core.ProcessingConfig import ProcessingConfig
from qgis.core import QgsProcessingException

EXECUTABLE = "COSLIDE_EXECUTABLE"
"""Name of the setting with the path of the program."""
_PROGRESS = re.compile(r"(?P<what>.{1,80}?): (?P<percent>\d{1,3}) ?%(?:$|[,;]| \()")  # mapping: 40 %, 2 min left
_OF_QGIS = ("PYTHON", "PROJ", "GDAL", "QT_")  # what QGIS tells its own Python and libraries would mislead another's
_LOOK_S, _PATIENCE_S = 0.2, 10


def find_executable():
    """Find the program that the setting names, or PATH."""
    setting = ProcessingConfig.getSetting(EXECUTABLE) or ""
    found = shutil.which(setting or "coslide")
    if found is None:
        missing = f"{setting}: is no program" if setting else "coslide is not found"
        hint = "install it, and give its path in Settings > Options > Processing > Providers > coslide"
        raise QgsProcessingException(f"{missing}; {hint}")
    return found


def run_coslide(arguments, feedback):
    """Run coslide to its end, and pass on what it says.

    A line such as ``mapping: 40 %`` moves the bar; every other one is a message. Cancelling ends the process and those
    that it started.

    Parameters
    ----------
    arguments : list of str
        Of the command line.
    feedback : QgsProcessingFeedback
        Where messages and progress go, and where a wish to cancel comes from.

    Raises
    ------
    QgsProcessingException
        If it cannot be started, is cancelled, or ends with an error: the line in which it tells it.
    """
    command = [find_executable(), *arguments]
    feedback.pushCommandInfo(" ".join(command))
    own = {name: value for name, value in os.environ.items() if not name.startswith(_OF_QGIS)}
    own["PYTHONUTF8"] = "1"
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    text = {"encoding": "utf-8", "errors": "replace"}
    try:
        process = subprocess.Popen(command, env=own, start_new_session=True, **pipes, **text)
    except OSError as error:
        raise QgsProcessingException(f"{command[0]}: cannot be started ({error.strerror})") from None
    last = ""
    for line in _lines_of(process, feedback):
        found = _PROGRESS.match(line)
        if found:
            feedback.setProgressText(found["what"])
            feedback.setProgress(min(100, int(found["percent"])))
        elif line:
            feedback.pushInfo(line)
            last = line
    if feedback.isCanceled():
        raise QgsProcessingException("cancelled")
    if process.wait() != 0:
        raise QgsProcessingException(last or f"coslide ended with exit code {process.returncode}, and said nothing")
    feedback.setProgress(100)


def _lines_of(process, feedback):
    """Give the lines that a process writes until it ends; end it where that is wished, whether it writes or not."""
    lines = queue.Queue()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=_LOOK_S)
        except queue.Empty:
            line = ""
        if line is None:
            return
        if feedback.isCanceled():
            _end(process)
            return
        yield line


def _read(process, lines):
    with process.stdout:
        for line in process.stdout:
            lines.put(line.rstrip())
    lines.put(None)


def _end(process):
    """Interrupt a process, as Ctrl+C does, so that it can clean up; then kill it, and what it started."""
    if not hasattr(os, "killpg"):
        process.kill()
        return
    os.killpg(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE_S)
    with suppress(ProcessLookupError):  # all have ended
        os.killpg(process.pid, signal.SIGKILL)
