"""Opens a page in headless Chromium and asks it things, over a pipe."""

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time

import pytest

_NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # Refused to root, as whom containers run.
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-pipe",
)
# It reads from descriptor 3 and writes to 4.
_LAUNCH = """
import fcntl, os, sys
pair = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]]
os.dup2(pair[0], 3)
os.dup2(pair[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""

# Draws each image on a canvas, and returns how many of its pixels are inked.
INKED = """
Promise.all([...document.images].map(async (image) => {
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const drawn = canvas.getContext("2d");
  drawn.drawImage(image, 0, 0);
  const { data } = drawn.getImageData(0, 0, canvas.width, canvas.height);
  let inked = 0;
  for (let i = 0; i < data.length; i += 4)
    inked += data[i + 3] > 0 && data[i] + data[i + 1] + data[i + 2] < 600;
  return inked / (canvas.width * canvas.height);
}))
"""


class Browser:
    """A page in Chromium, spoken to in its DevTools protocol.

    Attributes:
        events: What the page has reported so far: dictionaries with `method`
            and `params`.
    """

    def __init__(self, reads, writes):
        self._reads, self._writes = reads, writes
        self._buffer = b""
        self._number = 0
        self._session = None
        self.events = []

    def call(self, method, **params):
        """Calls a method of the protocol, and returns its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, address):
        """Opens a page and waits until all of it is there."""
        target = self.call("Target.createTarget", url="about:blank")
        self._session = self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )["sessionId"]
        for domain in ("Page", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=address)
        while not self.named("Page.loadEventFired"):
            self._next()

    def evaluate(self, expression):
        """Returns the value of a JavaScript expression."""
        answer = self.call(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"]["value"]

    def named(self, method):
        """Returns the parameters of all events of one name."""
        return [e["params"] for e in self.events if e["method"] == method]

    def _next(self, seconds=120):
        end = time.monotonic() + seconds
        while b"\0" not in self._buffer:
            left = end - time.monotonic()
            assert left > 0, "Chromium does not answer"
            if select.select([self._reads], [], [], left)[0]:
                read = os.read(self._reads, 1 << 16)
                assert read, "Chromium has ended"
                self._buffer += read
        content, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(content)
        if "method" in message:
            self.events.append(message)
        return message


@contextlib.contextmanager
def browser(folder):
    """Starts Chromium, or skips the test where there is none.

    Args:
        folder: Where it may keep its files.
    """
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(_NAMES)} is on the PATH")
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()

    theirs = (theirs_in, theirs_out)
    start = [sys.executable, "-c", _LAUNCH, *map(str, theirs), program]
    process = subprocess.Popen(
        [*start, *_FLAGS, f"--user-data-dir={folder}"],
        pass_fds=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for descriptor in theirs:
        os.close(descriptor)
    try:
        yield Browser(ours_in, ours_out)
    finally:
        for descriptor in (ours_in, ours_out):
            os.close(descriptor)
        process.terminate()
        process.wait(30)
