"""Open a page in headless Chromium with the network off, and say what the browser saw."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

COMMANDS = ("chromium", "chromium-browser", "google-chrome")
"""Names under which distributions install it."""

SECONDS = 120
"""Time limit of one visit: a page takes 2 to 6 s, an installation's first start longer."""

FLAGS = (
    "--headless",
    "--no-sandbox",  # tests in containers run as root, which the sandbox refuses
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",
    "--v=0",
    "--dump-dom",
)

CONSOLE = re.compile(r':CONSOLE[:(]\d+\)?\] "(.*)", source: ')
"""A message of the page among the browser's own: `[...:INFO:CONSOLE:1] "words", source: url`."""

POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')

PROBE_ID = "what-the-browser-saw"

PROBE = """<script>
addEventListener("load", () => {
  const box = (one) => one.getBoundingClientRect();
  const root = document.documentElement;
  const seen = {
    images: [...document.images].map((one) => ({
      alt: one.alt, width: box(one).width, height: box(one).height,
      pixels: Math.min(one.naturalWidth, one.naturalHeight),
    })),
    drawings: [...document.querySelectorAll("svg")].map((one) => ({
      width: box(one).width, height: box(one).height,
    })),
    requests: performance.getEntriesByType("resource").map((one) => one.name),
    overflow: root.scrollWidth - root.clientWidth,
    cut: [...document.querySelectorAll(".wide")]
      .filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.innerText.slice(0, 60)),
    text: document.body.innerText,
  };
  const place = document.createElement("pre");
  place.id = "PROBE_ID";
  place.textContent = JSON.stringify(seen);
  document.body.append(place);
});
</script>""".replace("PROBE_ID", PROBE_ID)
"""Reports what was drawn into the page itself, whence `--dump-dom` brings it out."""


@dataclass(frozen=True)
class Seen:
    """What the browser made of a page.

    `console` are the messages of the page as it is; all else is seen of a copy without its content
    security policy, so that a forbidden request would be made and named: `images` (alt text, drawn
    width and height and smaller side in pixels), `drawings` (SVG), `requests` (addresses),
    `overflow` (CSS pixels by which the page is wider than the window), `cut` (beginnings of tables
    that must be scrolled sideways), `text`.
    """

    console: list[str]
    images: list[dict[str, Any]]
    drawings: list[dict[str, Any]]
    requests: list[str]
    overflow: int
    cut: list[str]
    text: str

    def faults(self) -> list[str]:
        """What is wrong with the page whatever it shows, in words."""
        found = [f"console: {words}" for words in self.console]
        found += [f"request: {address}" for address in self.requests if not is_local(address)]
        for one in self.images:
            if min(one["pixels"], one["width"], one["height"]) <= 0:
                found.append(f"image not drawn: {one['alt']}")
        found += ["drawing not drawn" for one in self.drawings if not one["width"] * one["height"]]
        if self.overflow > 0:
            found.append(f"{self.overflow} pixels wider than the window")
        return found


def is_local(address: str) -> bool:
    """Whether an address needs no network."""
    parts = urlsplit(address)
    return parts.scheme in ("file", "data", "") and not parts.netloc


def find_browser() -> str | None:
    """Path of an installed browser."""
    return next(filter(None, map(shutil.which, COMMANDS)), None)


def look(browser: str, page: Path, folder: Path, width: int = 1400) -> Seen:
    """Open a page twice: as it is for the console, and as a copy with a probe for the rest.

    Args:
        browser: see `find_browser`.
        page: an HTML file.
        folder: an empty folder for the copy and the browser's profile.
        width: of the window in CSS pixels.
    """
    _, log = _visit(browser, page, folder, width)
    copy = folder / "probed.html"
    text = POLICY.sub("", page.read_text(encoding="utf-8"))
    copy.write_text(text.replace("</head>", f"{PROBE}</head>", 1), encoding="utf-8")
    dom, _ = _visit(browser, copy, folder, width)
    report = re.search(f'<pre id="{PROBE_ID}">(.*?)</pre>', dom, re.DOTALL)
    assert report, f"{browser} did not run the probe in {page}:\n{dom[-2000:]}"
    return Seen(CONSOLE.findall(log), **json.loads(html.unescape(report[1])))


def _visit(browser: str, page: Path, folder: Path, width: int) -> tuple[str, str]:
    """The page's document after loading, and the browser's log."""
    places = [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},1200"]
    done = subprocess.run(
        [browser, *FLAGS, *places, page.resolve().as_uri()],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS,
    )
    assert done.returncode == 0 and "</html>" in done.stdout, done.stderr[-2000:]
    return done.stdout, done.stderr
