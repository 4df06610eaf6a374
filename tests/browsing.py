"""Pages in a real browser, where there is one: what a script finds in them after it has clicked."""

import functools
import html
import http.server
import json
import re
import shutil
import subprocess
import threading

CHROMIUM = shutil.which("chromium")
ERRORS = "window.seen = []; window.onerror = (m) => window.seen.push(String(m));"
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-sync", "--disable-component-update"),
    *("--hide-scrollbars", "--virtual-time-budget=30000", "--dump-dom"),
)


class Browser:
    """Opens a page and says what a script has left in its title.

    Args:
        folder: For what the browser keeps.
    """

    def __init__(self, folder):
        self.folder = folder

    def file(self, page, script, width=1200):
        """A page that needs nothing else."""
        copy = self.folder / "page.html"
        copy.write_text(probed(page.read_text(), script))
        return self._title(copy.as_uri(), width)

    def site(self, folder, page, script, width=1200):
        """A page of a site, ``page.html?query``, from a server of its own on this machine."""
        handler = functools.partial(Probing, script, directory=str(folder))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                return self._title(f"http://127.0.0.1:{server.server_port}/{page}", width)
            finally:
                server.shutdown()

    def _title(self, address, width):
        profile = f"--user-data-dir={self.folder / 'profile'}"
        command = [CHROMIUM, *OPTIONS, profile, f"--window-size={width},900", address]
        found = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
        return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", found.stdout, re.S)[1]))


def probed(text, script):
    """A page with a script that runs when all is there; ``window.seen`` has the page's errors."""
    probe = f"<script>window.onload = () => setTimeout(() => {{ {script} }}, 500)</script>"
    text = text.replace("<head>", f"<head><script>{ERRORS}</script>", 1)
    return text.replace("</body>", f"{probe}</body>")


class Probing(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, its pages with the script."""

    def __init__(self, script, *arguments, **options):
        self.script = script
        super().__init__(*arguments, **options)

    def do_GET(self):
        path = self.translate_path(self.path)
        if not path.endswith(".html"):
            return super().do_GET()
        with open(path, encoding="utf-8") as page:
            body = probed(page.read(), self.script).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def log_message(self, *_):
        """Say nothing."""
